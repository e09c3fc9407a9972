"""Protects annotations that are taken away: they are made anew, and those of others stay."""

from __future__ import annotations

from typing import Any

import pytest
from job_bed import FILES, Bed, seen

from mosaicfs_core.jobs import Subscription, WhichAnnotations, forgetting
from mosaicfs_core.testing.store import NODE, annotation

OTHER = "node-other-bbbb"


async def test_an_annotation_that_is_taken_away_is_made_anew(bed: Bed) -> None:
    await bed.subscribe(one=FILES, two=FILES)
    for name in ("/a", "/b"):
        await bed.write(name)
    for name in ("one", "two"):
        for job in await bed.take(name):
            assert await bed.queue.done(job, {"by": name})
    assert await bed.queue.forget(WhichAnnotations(node_id=NODE, path="/a", plugin="one")) == 1
    assert await bed.annotation("/a") is None
    (job,) = await bed.take()
    assert seen([job]) == [("file.added", "/a")]
    # While it is under way there is nothing that could be taken away, and nothing more to do.
    assert await bed.queue.forget(WhichAnnotations(node_id=NODE, path="/a", plugin="one")) == 0
    assert await bed.queue.done(job, {"by": "one"})
    assert await bed.told() == []
    assert await bed.told("two") == []
    assert await bed.queue.forget(WhichAnnotations(plugin="two")) == 2
    assert await bed.told("two") == [("file.added", "/a"), ("file.added", "/b")]
    assert await bed.annotation("/b") is not None


async def test_what_is_taken_away_while_nothing_is_taken_in_comes_with_the_next_full_sync(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.queue.sync("one", "scheduled")
    await bed.write("/a")
    for job in await bed.take():
        assert await bed.queue.done(job, {"n": 1})
    off = Subscription(events=FILES, enabled=False)
    await bed.subscribe(one=off)
    assert await bed.queue.forget(WhichAnnotations(plugin="one")) == 1
    assert await bed.subscribe(one=FILES) == ["one"]
    await bed.queue.sync("one", "scheduled")
    assert await bed.told() == [("file.added", "/a")]
    assert await bed.told() == []


async def test_only_what_this_node_made_is_taken_away_page_by_page(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PAGE", 2)
    await bed.subscribe(one=FILES)
    for number in range(5):
        await bed.write(f"/{number}")
        other = annotation(f"/{number}", "one", {"n": 1})
        await bed.store.put({**other, "_id": f"{other['_id']}@{OTHER}", "annotated_by": OTHER})
    for job in await bed.take():
        assert await bed.queue.done(job, {"n": 1})
    assert await bed.queue.forget(WhichAnnotations(plugin="one")) == 5
    left = bed.store.reader.documents_of("annotation")
    assert [document["annotated_by"] for document in left] == [OTHER] * 5
    assert len(await bed.told()) == 5


async def test_what_is_made_anew_meanwhile_is_not_taken_away_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PAGE", 2)
    await bed.subscribe(one=FILES)
    for number in range(6):
        await bed.write(f"/{number}")
    jobs = await bed.take()
    for job in jobs[:5]:
        assert await bed.queue.done(job, {"n": 1})
    transaction, again = bed.store.transaction, 0

    async def quick(work: Any) -> Any:
        """A plugin that is as fast as the taking away, and ends what was in flight when that began."""
        nonlocal again
        taken = await transaction(work)
        with monkeypatch.context() as patch:
            patch.setattr(bed.store, "transaction", transaction)
            made = await bed.take()
            for job in [*made, *jobs[5:]]:
                assert await bed.queue.done(job, {"n": 2})
            jobs[5:] = []
            again += len(made)
        return taken

    with monkeypatch.context() as patch:
        patch.setattr(bed.store, "transaction", quick)
        assert await bed.queue.forget(WhichAnnotations(plugin="one")) == 5
    assert again == 5
    assert await bed.take() == []
    made = bed.store.reader.documents_of("annotation")
    assert [document["data"] for document in made] == [{"n": 2}] * 6
