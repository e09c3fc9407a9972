"""Protects what becomes of answers: annotations of the file as it was, where it goes, stored alone or together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from job_bed import FILES, SECOND, Bed

from mosaicfs_core.errors import InvalidDocument, Unavailable
from mosaicfs_core.jobs import Subscription, annotating, finishing
from mosaicfs_core.testing.store import EPOCH, NODE, annotation, file_document


async def test_an_answer_says_of_which_state_of_the_file_it_is(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    document = await bed.write("/a", size=1)
    (job,) = await bed.take()
    document = await bed.write("/a", size=2, mtime=EPOCH + 5)
    document = await bed.move(document, "/b")
    await bed.queue.done(job, {"n": 1})
    made = await bed.annotation("/b")
    assert made is not None
    assert made["source_size"] == 1
    (job,) = await bed.take()
    assert (job.event, job.previous_export_path) == ("file.modified", "/a")
    await bed.delete(document)
    assert await bed.annotation("/b") is None
    assert await bed.queue.done(job, {"n": 2})
    assert await bed.annotation("/b") is None  # the file is gone
    assert await bed.told() == [("file.deleted", "/b")]


async def test_the_same_answer_again_writes_nothing(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.write("/a")
    (job,) = await bed.take()
    await bed.queue.done(job, {"n": 1})
    first = await bed.annotation("/a")
    await bed.write("/a")
    bed.now += SECOND
    (job,) = await bed.take()
    await bed.queue.done(job, {"n": 1})
    assert await bed.annotation("/a") == first
    await bed.write("/a")
    (job,) = await bed.take()
    await bed.queue.done(job, {"n": 2})
    second = await bed.annotation("/a")
    assert first is not None
    assert second is not None
    assert (second["annotated_at"], second["updated_at"] > first["updated_at"]) == (first["annotated_at"], True)


async def test_an_answer_that_cannot_be_stored_is_refused_alone(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.write("/a")
    await bed.write("/b")
    bad, good = await bed.take()
    with pytest.raises(InvalidDocument):
        await bed.queue.done(bad, {"n": object()})
    assert await bed.queue.done(good, {"n": 1})
    assert (await bed.queue.standing("one")).counts.in_flight == 1
    assert await bed.queue.failed(bad, "not JSON") == "pending"


@pytest.mark.parametrize("at", [0, 3, 6])
async def test_an_answer_that_nobody_foresaw_takes_no_other_along(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """It ends the transaction that all of them share, and then its own alone."""
    await bed.subscribe(one=FILES)
    await bed.store.bulk([file_document(f"/{number}") for number in range(7)])
    jobs = await bed.take()
    real = annotating.document_of

    def document_of(tx: Any, node_id: str, said: Any, now: int) -> Any:
        if said.data == {"n": at}:
            raise ZeroDivisionError("nobody foresaw this")
        return real(tx, node_id, said, now)

    monkeypatch.setattr(annotating, "document_of", document_of)
    stored = [asyncio.ensure_future(bed.queue.done(job, {"n": number})) for number, job in enumerate(jobs)]
    outcomes = await asyncio.gather(*stored, return_exceptions=True)
    assert isinstance(outcomes.pop(at), ZeroDivisionError)
    assert outcomes == [True] * 6
    assert (await bed.queue.standing("one")).counts.in_flight == 1
    for number in range(7):
        made = await bed.annotation(f"/{number}")
        assert (made is None) == (number == at)
        assert made is None or made["data"] == {"n": number}
    assert await bed.queue.done(jobs[at], None)  # it is in flight still, and may end otherwise


async def test_while_the_replica_takes_nothing_answers_are_not_tried_one_by_one(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bed.subscribe(one=FILES)
    await bed.store.bulk([file_document(f"/{number}") for number in range(5)])
    jobs = await bed.take()
    tried: list[int] = []

    def full(_: Any, answers: Any) -> Any:
        tried.append(len(answers))
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(finishing, "finish", full)
        stored = [asyncio.ensure_future(bed.queue.done(job, {"n": 1})) for job in jobs]
        outcomes = await asyncio.gather(*stored, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 5
    assert tried == [5]
    assert (await bed.queue.standing("one")).counts.in_flight == 5
    assert await asyncio.gather(*(bed.queue.done(job, {"n": 1}) for job in jobs)) == [True] * 5


async def test_annotations_go_where_their_file_goes(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    a, b, c = await bed.write("/a"), await bed.write("/b"), await bed.write("/c")
    for job in await bed.take():
        assert job.file is not None
        await bed.queue.done(job, {"of": job.file.export_path})
    await bed.store.put(
        {**annotation("/a", "theirs", {}), "annotated_by": "node-other-bbbb"}
        | {"_id": annotation("/a", "theirs", {})["_id"] + "@node-other-bbbb"}
    )
    moved = [{**a, **place(b)}, {**b, **place(a)}, {**c, "status": "deleted"}]
    assert all(result.error is None for result in await bed.store.bulk(moved))
    assert {path: (await bed.annotation(path) or {"data": None})["data"] for path in ("/a", "/b", "/c")} == {
        "/a": {"of": "/b"},
        "/b": {"of": "/a"},
        "/c": None,
    }
    assert await bed.annotation("/a", "theirs") is not None


async def test_a_file_that_takes_the_place_of_another_brings_its_annotation(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    old, new = await bed.write("/old"), await bed.write("/new")
    for job in await bed.take():
        assert job.file is not None
        await bed.queue.done(job, {"of": job.file.export_path})
    await bed.move(new, "/old")
    assert (await bed.annotation("/old") or {})["data"] == {"of": "/new"}
    await bed.delete(old)  # a crawl learns of it only later
    assert (await bed.annotation("/old") or {})["data"] == {"of": "/new"}


def place(document: dict[str, Any]) -> dict[str, Any]:
    return {"name": document["name"], "source": document["source"]}


async def test_files_of_other_nodes_are_annotated_beside_their_own_node(bed: Bed) -> None:
    await bed.subscribe(one=Subscription(events=FILES, scope="instance"))
    there = file_document("/a", node_id="node-other-bbbb")
    await bed.store.bulk([{**there, "_rev": "1-" + "a" * 32}], new_edits=False)
    (job,) = await bed.take()
    await bed.queue.done(job, {"n": 1})
    moved = {**there, "name": "b", "source": file_document("/b", node_id="node-other-bbbb")["source"]}
    history = {"_rev": "2-" + "b" * 32, "_revisions": {"start": 2, "ids": ["b" * 32, "a" * 32]}}
    await bed.store.bulk([{**moved, **history}], new_edits=False)
    (made,) = bed.store.reader.documents_of("annotation")
    assert (made["node_id"], made["export_path"], made["annotated_by"]) == ("node-other-bbbb", "/b", NODE)
    assert made["_id"].endswith(f"::one@{NODE}")


async def test_answers_given_together_are_stored_together(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.store.bulk([file_document(f"/{number}") for number in range(50)])
    jobs = await bed.take()
    before = bed.store.seq
    stored = asyncio.gather(*(bed.queue.done(job, {"n": job.sequence}) for job in jobs))
    await bed.queue.close()  # waits for what was given
    assert await stored == [True] * 50
    assert bed.store.reader.seq() == before + 50
    assert (await bed.queue.standing("one")).counts.in_flight == 0
