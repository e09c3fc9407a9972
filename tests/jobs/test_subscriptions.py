"""Protects what an instance asks to be told of: what is subscribed to and passes its steps, while it is switched on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from job_bed import FILES, Bed

from mosaicfs_core.errors import NotFound
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.jobs import Subscription
from mosaicfs_core.testing.store import annotation, assignment, file_document


async def test_only_what_is_subscribed_to_is_told(bed: Bed) -> None:
    await bed.subscribe(
        one=("file.deleted",),
        two=("file.modified",),
        pdf=Subscription(events=FILES, mime_globs=("application/pdf", "image/*")),
        deep=Subscription(events=FILES, steps=({"op": "glob", "pattern": "/deep/**"},)),
        small=Subscription(events=FILES, budget_steps=({"op": "size", "max_bytes": 5},)),
        all=Subscription(events=FILES, scope="instance"),
        off=Subscription(events=FILES, enabled=False),
    )
    await bed.write("/a", size=9)
    await bed.write("/deep/b.PDF", mime_type="Application/PDF")
    await bed.write("/elsewhere", node_id="node-other-bbbb")
    await bed.write("/a", size=8)
    await bed.delete(await bed.write("/c"))
    assert await bed.told("one") == [("file.deleted", "/c")]
    assert await bed.told("two") == [("file.modified", "/a")]
    assert await bed.told("pdf") == [("file.added", "/deep/b.PDF")]
    assert await bed.told("deep") == [("file.added", "/deep/b.PDF")]
    assert await bed.told("small") == [("file.added", "/deep/b.PDF")]
    assert [path for _, path in await bed.told("all")] == ["/a", "/deep/b.PDF", "/elsewhere"]
    assert await bed.told("off") == []


async def test_what_passes_no_more_is_gone_to_who_knows_it(bed: Bed) -> None:
    await bed.subscribe(one=Subscription(events=FILES, steps=({"op": "glob", "pattern": "/in/**"},)))
    known, unknown = await bed.write("/in/a"), await bed.write("/out/b")
    assert await bed.told() == [("file.added", "/in/a")]
    known = await bed.move(known, "/out/a")
    unknown = await bed.move(unknown, "/in/b")
    assert await bed.told() == [("file.deleted", "/out/a"), ("file.added", "/in/b")]
    new = await bed.write("/in/c")
    await bed.move(new, "/out/c")
    assert await bed.told() == []


async def test_labels_and_annotations_decide_where_steps_ask_for_them(bed: Bed) -> None:
    await bed.subscribe(
        one=Subscription(events=FILES, steps=({"op": "label", "labels": ["red"]},)),
        two=Subscription(events=FILES, steps=({"op": "annotation", "plugin_name": "sum", "key": "x"},)),
    )
    await bed.store.bulk([assignment("/a", "red"), annotation("/b", "sum", {"x": 1})])
    await bed.write("/a")
    await bed.write("/b")
    assert await bed.told("one") == [("file.added", "/a")]
    assert await bed.told("two") == [("file.added", "/b")]


async def test_the_ops_of_plugins_are_asked(tmp_path: Path) -> None:
    op = StepOp(name="even", description="", compile=lambda fields: lambda facts: facts.size % 2 == 0)
    bed = Bed(tmp_path / "replica.db", {"even": op})
    await bed.open()
    await bed.subscribe(one=Subscription(events=FILES, steps=({"op": "even"},)))
    await bed.write("/a", size=1)
    await bed.write("/b", size=2)
    assert await bed.told() == [("file.added", "/b")]
    await bed.close()


async def test_the_ops_of_plugins_are_compiled_aside(tmp_path: Path) -> None:
    threads: set[threading.Thread] = set()

    def compile_step(fields: Mapping[str, Any]) -> Callable[[Any], bool]:
        threads.add(threading.current_thread())
        return lambda facts: True

    bed = Bed(tmp_path / "replica.db", {"slow": StepOp(name="slow", description="", compile=compile_step)})
    await bed.open()
    await bed.subscribe(one=Subscription(events=FILES, steps=({"op": "slow"},)))
    assert threads
    assert threading.current_thread() not in threads
    await bed.queue.sync("one", "manual")
    await bed.told()  # which lists them
    assert threading.current_thread() not in threads
    await bed.close()


@pytest.mark.logs("the subscription of one: ")
async def test_what_cannot_be_understood_of_a_subscription_hinders_nobody(bed: Bed) -> None:
    await bed.subscribe(one=Subscription(events=(*FILES, "file.dreamt"), mime_globs=("", "text/*")), two=FILES)
    await bed.write("/a", mime_type="text/plain")
    assert len(await bed.take("one")) == len(await bed.take("two")) == 1


async def test_files_that_arrive_by_replication_are_told(bed: Bed) -> None:
    await bed.subscribe(one=Subscription(events=FILES, scope="instance"))
    there = file_document("/r", node_id="node-other-bbbb")
    sent = {**there, "_rev": "1-" + "a" * 32}
    await bed.store.bulk([sent], new_edits=False)
    await bed.store.bulk([sent], new_edits=False)
    assert await bed.told() == [("file.added", "/r")]
    history = {"_rev": "2-" + "b" * 32, "_revisions": {"start": 2, "ids": ["b" * 32, "a" * 32]}}
    await bed.store.bulk([{**there, "size": 5, **history}], new_edits=False)
    assert await bed.told() == [("file.modified", "/r")]
    losing = {"_rev": "2-" + "a" * 32, "_revisions": {"start": 2, "ids": ["a" * 32, "a" * 32]}}
    await bed.store.bulk([{**there, "size": 6, **losing}], new_edits=False)
    assert await bed.told() == []
    worse = {"_rev": "3-" + "c" * 32, "_revisions": {"start": 3, "ids": ["c" * 32, "b" * 32, "a" * 32]}}
    await bed.store.bulk([{**there, "size": -5, **worse}], new_edits=False)  # goes into quarantine
    assert await bed.told() == [("file.deleted", "/r")]


async def test_pausing_and_disabling(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    document = await bed.write("/a")
    other = await bed.write("/b")
    await bed.queue.pause("one")
    assert await bed.take() == []
    assert not await bed.queue.wait("one", 0)
    await bed.write("/c")
    await bed.queue.resume("one")
    assert len(await bed.take(limit=1)) == 1
    await bed.subscribe(one=Subscription(events=FILES, enabled=False))
    assert await bed.take() == []
    await bed.write("/d")
    await bed.delete(other)  # keeps what waits true
    await bed.write("/a", size=2)
    assert (await bed.queue.standing("one")).counts.pending == 1
    assert await bed.subscribe(one=FILES) == ["one"]
    assert await bed.told() == [("file.added", "/c")]
    await bed.delete(document)


async def test_an_instance_that_is_gone_loses_all_it_had(bed: Bed) -> None:
    await bed.subscribe(one=FILES, two=FILES)
    await bed.write("/a")
    (job,) = await bed.take()
    await bed.subscribe(two=FILES)
    assert not await bed.queue.done(job, {"n": 1})
    assert await bed.annotation("/a") is None
    with pytest.raises(NotFound):
        await bed.queue.standing("one")
    with pytest.raises(NotFound):
        await bed.queue.pause("one")
    assert await bed.subscribe(one=FILES, two=FILES) == ["one", "two"]
    assert not await bed.queue.done(job, {"n": 1})
    assert (await bed.queue.standing("one")).counts.pending == 0
    assert [standing.instance for standing in await bed.queue.standings()] == ["one", "two"]
    while bed.queue._purging is not None and not bed.queue._purging.done():
        await bed.queue._purging
    assert bed.store.reader.rows("SELECT name FROM job_instances ORDER BY name") == [("one",), ("two",)]


async def test_what_widens_a_subscription_wants_a_sync_until_it_has_one(bed: Bed) -> None:
    text = Subscription(events=FILES, mime_globs=("text/*", "image/*"))
    await bed.subscribe(one=text)
    await bed.queue.sync("one", "scheduled")
    narrower = Subscription(events=FILES[:2], mime_globs=("text/*",))
    assert await bed.subscribe(one=narrower) == []
    for wider in (
        Subscription(events=FILES, mime_globs=("text/*",)),
        Subscription(events=FILES),
        Subscription(events=FILES, scope="instance"),
        Subscription(events=FILES, scope="instance", steps=({"op": "size", "min_bytes": 1},)),
        Subscription(events=FILES, scope="instance", reprocess=True, version="2"),
    ):
        assert await bed.subscribe(one=wider) == ["one"]
        await bed.crash()
        assert await bed.subscribe(one=wider) == ["one"]
        await bed.queue.sync("one", "scheduled")
        assert await bed.subscribe(one=wider) == []


async def test_an_instance_that_nothing_is_known_of_at_present_keeps_all_it_had(bed: Bed) -> None:
    text = Subscription(events=FILES, mime_globs=("text/*",), version="1", reprocess=True, max_attempts=1)
    await bed.subscribe(one=text)
    await bed.write("/done", mime_type="text/plain")
    (job,) = await bed.take()
    await bed.queue.done(job, {"n": 1})
    await bed.write("/failed", mime_type="text/plain")
    (job,) = await bed.take()
    await bed.queue.failed(job, "no")
    await bed.write("/waits", mime_type="text/plain")
    await bed.queue.sync("one", "scheduled")
    assert await bed.queue.subscribe({}, kept=["one", "never-seen"]) == []
    await bed.crash()
    assert await bed.queue.subscribe({}, kept=["one", "never-seen"]) == []
    assert [standing.instance for standing in await bed.queue.standings()] == ["one"]
    standing = await bed.queue.standing("one")
    assert (standing.enabled, standing.counts.pending, standing.counts.failed) == (False, 1, 1)
    assert await bed.take() == []
    await bed.write("/missed", mime_type="text/plain")
    assert await bed.subscribe(one=text) == ["one"]
    await bed.queue.sync("one", "scheduled")
    assert sorted(await bed.told() + await bed.told()) == [("file.added", "/missed"), ("file.added", "/waits")]
    assert (await bed.queue.standing("one")).counts.failed == 1
