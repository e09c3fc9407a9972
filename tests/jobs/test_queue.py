"""Protects what a plugin is told of files: which events, collapsed how, in which order, and what becomes of each."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from job_bed import ALL, FILES, SECOND, Bed, seen

from mosaicfs_core.errors import MosaicError, UserError
from mosaicfs_core.jobs import JobQueue, Subscription, finishing
from mosaicfs_core.jobs.finishing import FIRST_PAUSE_S
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import NODE, assignment, file_document


async def test_a_written_file_is_a_job_and_its_answer_an_annotation(bed: Bed) -> None:
    assert await bed.subscribe(one=FILES) == ["one"]
    await bed.write("/a/x.pdf", mime_type="application/pdf", size=7)
    (job,) = await bed.take()
    assert (job.event, job.sequence, job.attempts, job.previous_export_path) == ("file.added", 1, 0, None)
    assert job.file is not None
    assert (job.file.export_path, job.file.size, job.file.mime_type) == ("/a/x.pdf", 7, "application/pdf")
    assert await bed.take() == []
    assert await bed.queue.done(job, {"title": "X"})
    assert not await bed.queue.done(job, {"title": "Y"})
    made = await bed.annotation("/a/x.pdf")
    assert made is not None
    assert (made["data"], made["status"], made["source_size"], made["annotated_by"]) == ({"title": "X"}, "ok", 7, NODE)
    standing = await bed.queue.standing("one")
    assert (standing.counts.pending, standing.counts.in_flight, standing.usage.jobs, standing.usage.bytes) == (
        0,
        0,
        1,
        7,
    )


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (["new", "change"], [("file.added", "/f")]),
        (["new", "change", "delete"], []),
        (["new", "delete", "new"], [("file.added", "/f")]),
        (["new", "take", "change"], [("file.modified", "/f")]),
        (["new", "take", "change", "change"], [("file.modified", "/f")]),
        (["new", "take", "delete"], [("file.deleted", "/f")]),
        (["new", "take", "change", "delete"], [("file.deleted", "/f")]),
        (["new", "take", "delete", "new"], [("file.added", "/f")]),
        (["new", "take", "delete", "new", "delete"], [("file.deleted", "/f")]),
        (["new", "take", "change", "give back"], [("file.added", "/f")]),
        (["new", "take", "delete", "give back"], [("file.deleted", "/f")]),
        (["new", "take", "give back", "delete"], [("file.deleted", "/f")]),
        (["new", "done", "delete"], [("file.deleted", "/f")]),
        (["new", "done", "change", "delete"], [("file.deleted", "/f")]),
        (["new", "done", "change", "change"], [("file.modified", "/f")]),
        (["new", "done", "delete", "new"], [("file.added", "/f")]),
        (["new", "done", "delete", "new", "delete"], [("file.deleted", "/f")]),
        (["new", "done", "delete", "done", "new", "delete"], []),
        (["new", "done", "same again"], [("file.modified", "/f")]),
        (["new", "done", "touch another field"], []),
    ],
)
async def test_what_waits_of_one_file_collapses(bed: Bed, steps: list[str], told: list[tuple[str, str]]) -> None:
    await bed.subscribe(one=FILES)
    size, taken = 1, []
    for step in steps:
        if step == "new":
            document = await bed.write("/f", size=size)
        elif step == "change":
            size += 1
            document = await bed.write("/f", size=size)
        elif step == "same again":
            await bed.write("/f", size=size)
        elif step == "touch another field":
            await bed.write("/f", size=size, provider="mail")
        elif step == "delete":
            await bed.delete(document)
        elif step == "take":
            taken = await bed.take()
        elif step == "give back":
            assert await bed.queue.released(taken) == 1
            taken = []
        else:
            await bed.told()
    assert not taken or await bed.take() == []  # never two jobs of a file at once
    for job in taken:
        assert await bed.queue.done(job)
    assert await bed.told() == told
    assert await bed.take() == []


async def test_a_move_tells_where_the_plugin_knows_the_file(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    document = await bed.write("/a")
    assert await bed.told() == [("file.added", "/a")]
    document = await bed.move(document, "/b")
    document = await bed.move(document, "/c")
    (job,) = await bed.take()
    assert (job.event, job.previous_export_path) == ("file.modified", "/a")
    document = await bed.move(document, "/d")
    await bed.queue.released([job])
    (job,) = await bed.take()
    assert seen([job]) == [("file.modified", "/d")]
    assert job.previous_export_path == "/a"
    await bed.queue.done(job)
    await bed.move(document, "/e")
    await bed.move(document, "/d")
    (job,) = await bed.take()
    assert job.previous_export_path is None


async def test_a_tombstone_is_told_as_the_file_was_known_last(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    plain, odd = await bed.write("/a/b", size=3, mime_type="text/plain"), await bed.write("/a/c")
    await bed.told()
    await bed.store.put({"_id": plain["_id"], "_rev": plain["_rev"], "_deleted": True, "type": "file"})
    await bed.delete(odd)
    odd = await bed.store.get(odd["_id"]) or {}
    await bed.store.put({"_id": odd["_id"], "_rev": odd["_rev"], "_deleted": True, "type": "file"})
    jobs = await bed.take()
    assert seen(jobs) == [("file.deleted", "/a/b"), ("file.deleted", "/a/c")]
    assert jobs[0].file is not None
    assert jobs[0].file.file_id == plain["_id"].removeprefix("file::").replace("::", ".")
    assert (jobs[0].file.size, jobs[0].file.mime_type, jobs[0].file.status) == (3, "text/plain", "deleted")


async def test_a_failed_job_comes_again_later_and_stays_at_last(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.write("/a")
    await bed.write("/b")
    first, _ = await bed.take()
    assert await bed.queue.failed(first, "no") == "pending"
    assert await bed.queue.failed(first, "no") is None
    standing = await bed.queue.standing("one")
    assert standing.counts.retrying == 1
    assert standing.next_due == bed.now + FIRST_PAUSE_S * SECOND
    assert await bed.take() == []
    page = await bed.queue.jobs("one", "pending")
    assert (page.total, page.items[0].last_error, page.items[0].export_path) == (1, "no", "/a")
    assert "again" in page.items[0].why
    bed.now += int(FIRST_PAUSE_S * SECOND)
    (again,) = await bed.take()
    assert (again.sequence, again.attempts) == (first.sequence, 1)
    await bed.queue.failed(again, "no")
    bed.now += int(3600 * SECOND)
    (last,) = await bed.take()
    assert await bed.queue.failed(last, "never" * 1000) == "failed"
    made = await bed.annotation("/a")
    assert made is not None
    assert (made["status"], made["error"][:5]) == ("failed", "never")
    failed = await bed.queue.jobs("one", "failed")
    assert [(row.sequence, row.attempts) for row in failed.items] == [(first.sequence, 3)]
    assert await bed.queue.retry("one", [77]) == 0
    assert await bed.queue.retry("one") == 1
    (job,) = await bed.take()
    assert (job.sequence, job.attempts) == (first.sequence, 0)
    await bed.queue.done(job)
    assert await bed.annotation("/a") is None  # it says nothing now, so nothing is said of a failure either


async def test_what_cannot_be_done_at_present_costs_no_attempt_for_about_a_day(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finishing, "MOST_POSTPONED", 2)
    await bed.subscribe(one=Subscription(events=FILES, max_attempts=2))
    await bed.write("/a")
    for pause in (5, 10, 5):
        (job,) = await bed.take()
        assert await bed.queue.failed(job, "the server is away", unavailable=True) == "pending"
        (row,) = (await bed.queue.jobs("one", "pending")).items
        assert (row.not_before, row.last_error) == (bed.now + pause * SECOND, "the server is away")
        assert await bed.annotation("/a") is None
        assert await bed.take() == []
        bed.now += pause * SECOND
    (job,) = await bed.take()
    assert job.attempts == 1
    assert await bed.queue.failed(job, "the server is away", unavailable=True) == "failed"
    await bed.queue.retry("one")
    (job,) = await bed.take()
    await bed.queue.failed(job, "the server is away", unavailable=True)
    bed.now += 5 * SECOND
    await bed.write("/b")
    (new,) = await bed.take(limit=1, fresh=True)
    assert (new.file and new.file.name, new.attempts) == ("b", 0)
    (old,) = await bed.take(limit=1, fresh=True)
    assert (old.file and old.file.name, old.attempts) == ("a", 0)
    assert await bed.queue.failed(old, "it is broken") == "pending"
    assert await bed.queue.failed(old, "it is not in flight", unavailable=True) is None


async def test_a_change_of_a_failed_file_is_a_new_chance(bed: Bed) -> None:
    await bed.subscribe(one=Subscription(events=FILES, max_attempts=1))
    await bed.write("/a")
    (job,) = await bed.take()
    assert await bed.queue.failed(job, "no") == "failed"
    await bed.write("/a", size=2)
    (again,) = await bed.take()
    assert (again.event, again.attempts) == ("file.added", 0)
    assert again.sequence > job.sequence
    await bed.write("/a", size=3)
    assert await bed.queue.failed(again, "no") == "pending"  # the newer one is in its place
    assert await bed.told() == [("file.added", "/a")]


async def test_bytes_and_limits_bound_what_is_taken(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    for number in range(6):
        await bed.write(f"/{number}", size=10)
    assert len(await bed.take(max_bytes=25)) == 2
    assert len(await bed.take(max_bytes=1)) == 1
    assert len(await bed.take(limit=2, day="2026-01-02")) == 2
    assert await bed.take(limit=0) == []
    usage = (await bed.queue.standing("one")).usage
    assert (usage.day, usage.jobs, usage.bytes, usage.last_at) == ("2026-01-02", 2, 20, bed.now)


async def test_what_is_given_back_was_not_used(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    for number in range(3):
        await bed.write(f"/{number}", size=10)
    today = await bed.take(limit=2, day="2026-01-02")
    await bed.queue.released(today[:1])
    await bed.queue.failed(today[1], "no")
    usage = (await bed.queue.standing("one")).usage
    assert (usage.day, usage.jobs, usage.bytes) == ("2026-01-02", 1, 10)
    late = await bed.take(limit=1, day="2026-01-02")
    tomorrow = await bed.take(limit=1, day="2026-01-03")
    await bed.queue.released(late)  # of another day
    usage = (await bed.queue.standing("one")).usage
    assert (usage.day, usage.jobs, usage.bytes) == ("2026-01-03", 1, 10)
    await bed.queue.released([*late, *tomorrow])
    usage = (await bed.queue.standing("one")).usage
    assert (usage.jobs, usage.bytes) == (0, 0)


async def test_who_waits_is_woken(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    waiting = asyncio.ensure_future(bed.queue.wait("one", 60))
    await bed.write("/a")
    assert await waiting
    (job,) = await bed.take()
    waiting = asyncio.ensure_future(bed.queue.wait("one", 60))
    await bed.queue.released([job])
    assert await waiting
    await bed.take()
    waiting = asyncio.ensure_future(bed.queue.wait("one", 60))
    await asyncio.sleep(0)
    await bed.queue.close()
    assert not await waiting


async def test_a_replica_of_the_former_layout_gets_the_tables_in_place(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    await store.put(file_document("/old"))
    await store.close()
    bed = Bed(tmp_path / "replica.db")
    await bed.open()
    assert await bed.subscribe(one=FILES) == ["one"]
    await bed.queue.sync("one", "scheduled")
    assert await bed.told() == [("file.added", "/old")]
    await bed.close()


async def test_tables_of_the_former_version_are_brought_up_to_date(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.write("/a")
    statements = ("ALTER TABLE jobs DROP COLUMN postponed", "UPDATE job_state SET value = 1 WHERE key = 'layout'")
    for statement in statements:
        await bed.store.transaction(lambda tx, sql=statement: tx.execute(sql) and None)
    await bed.crash()
    (job,) = await bed.take()
    assert await bed.queue.failed(job, "the server is away", unavailable=True) == "pending"
    await bed.crash()
    assert (await bed.queue.standing("one")).counts.retrying == 1


async def test_tables_of_another_version_are_refused(bed: Bed) -> None:
    await bed.store.transaction(lambda tx: tx.execute("UPDATE job_state SET value = 9 WHERE key = 'layout'") and None)
    with pytest.raises(MosaicError, match="layout 9"):
        await JobQueue(bed.store, NODE).open()


async def test_files_written_while_nobody_watched_want_a_sync(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.queue.sync("one", "scheduled")
    await bed.close()
    store = await Store.open(bed.path)
    await store.put(assignment("/a", "red"))
    await store.close()
    await bed.open()
    assert await bed.subscribe(one=FILES) == []
    await bed.close()
    store = await Store.open(bed.path)
    await store.put(file_document("/a"))
    await store.close()
    await bed.open()
    assert await bed.subscribe(one=FILES) == ["one"]


async def test_pages_of_jobs(bed: Bed) -> None:
    await bed.subscribe(one=ALL)
    for number in range(5):
        await bed.write(f"/{number}")
    page = await bed.queue.jobs("one", "pending", limit=2)
    assert ([row.export_path for row in page.items], page.total, page.cursor) == (["/0", "/1"], 5, 2)
    page = await bed.queue.jobs("one", "pending", after=4, limit=2)
    assert ([row.export_path for row in page.items], page.cursor) == (["/4"], None)
    with pytest.raises(UserError):
        await bed.queue.jobs("one", "pending", limit=0)


async def test_jobs_that_nobody_waits_for_any_more_are_given_back(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.write("/a")
    taking = asyncio.ensure_future(bed.queue.take("one", 5))
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    await asyncio.wait(bed.queue._returning)
    assert await bed.told() == [("file.added", "/a")]
