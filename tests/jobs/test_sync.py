"""Protects full syncs: everything that an instance should know is told once, whatever happens on the way."""

from __future__ import annotations

from job_bed import ALL, FILES, Bed

from mosaicfs_core.jobs import Subscription
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import EPOCH, file_document


async def test_what_the_ledger_does_not_show_is_told_between_start_and_end(bed: Bed) -> None:
    for path in ("/a", "/b"):
        await bed.write(path)
    await bed.subscribe(one=ALL)
    assert await bed.queue.sync("one", "manual")
    assert not await bed.queue.sync("one", "scheduled")  # joins the one under way
    (started,) = await bed.take()
    assert (started.event, started.trigger, started.file) == ("sync.started", "manual", None)
    assert await bed.take() == []
    standing = await bed.queue.standing("one")
    assert standing.sync is not None
    assert standing.sync.phase == "starting"
    await bed.queue.done(started)
    jobs = await bed.take()
    assert [job.event for job in jobs] == ["file.added", "file.added"]
    standing = await bed.queue.standing("one")
    assert standing.sync is not None
    assert (standing.sync.phase, standing.sync.enqueued) == ("finishing", 2)
    await bed.queue.done(jobs[0])
    assert await bed.take() == []
    await bed.queue.done(jobs[1], {"n": 1})
    assert await bed.told() == [("sync.completed", None)]
    standing = await bed.queue.standing("one")
    assert (standing.sync, standing.last_sync) == (None, bed.now)


async def test_one_whose_last_files_go_before_they_are_told_is_completed(bed: Bed) -> None:
    documents = [await bed.write(f"/{number}") for number in range(3)]
    await bed.subscribe(one=ALL)
    await bed.queue.sync("one", "manual")
    assert await bed.told() == [("sync.started", None)]
    (job,) = await bed.take(limit=1)
    await bed.queue.done(job)
    for document in documents[1:]:
        await bed.delete(document)
    assert await bed.told() == [("sync.completed", None)]
    assert (await bed.queue.standing("one")).sync is None
    assert await bed.queue.sync("one", "manual")


async def test_one_whose_last_jobs_were_given_back_and_whose_files_are_gone_is_completed(bed: Bed) -> None:
    await bed.subscribe(one=("file.added", "sync.completed"))
    document = await bed.write("/a")
    jobs = await bed.take()
    await bed.delete(document)  # nobody is told of that
    await bed.queue.sync("one", "manual")
    assert await bed.take() == []
    await bed.queue.released(jobs)
    assert await bed.told() == [("sync.completed", None)]
    assert (await bed.queue.standing("one")).sync is None


async def test_one_that_was_left_behind_without_jobs_ends_when_another_begins(bed: Bed) -> None:
    await bed.write("/a")
    await bed.subscribe(one=ALL)
    await bed.queue.sync("one", "manual")
    await bed.told()
    assert len(await bed.take()) == 1
    await bed.store.transaction(lambda tx: tx.execute("DELETE FROM jobs"))
    assert await bed.queue.sync("one", "manual")
    assert await bed.told() == [("sync.completed", None)]
    assert await bed.told() == [("sync.started", None)]


async def test_a_second_one_tells_nothing_and_a_change_meanwhile_only_itself(bed: Bed) -> None:
    for number in range(20):
        await bed.write(f"/{number}")
    await bed.subscribe(one=FILES)
    await bed.queue.sync("one", "manual")
    assert len(await bed.told()) == 20
    await bed.queue.sync("one", "manual")
    assert await bed.told() == []
    assert (await bed.queue.standing("one")).sync is None
    await bed.write("/3", size=9)
    await bed.queue.sync("one", "manual")
    assert await bed.told() == [("file.modified", "/3")]


async def test_files_touched_while_nobody_watched_are_told_once(bed: Bed) -> None:
    documents = [await bed.write(f"/{number}") for number in range(6)]
    await bed.subscribe(one=ALL)
    await bed.queue.sync("one", "manual")
    for _ in range(3):
        await bed.told()
    await bed.close()
    store = await Store.open(bed.path)
    await store.put({**documents[0], "size": 7})
    await store.put({**documents[1], "mtime": file_document("/1", mtime=EPOCH + 1)["mtime"]})
    await store.put({**documents[2], "status": "deleted"})
    await store.close()
    await bed.open()
    assert await bed.subscribe(one=ALL) == ["one"]
    await bed.queue.sync("one", "scheduled")
    told = [one for _ in range(3) for one in await bed.told()]
    assert told == [
        ("sync.started", None),
        ("file.added", "/0"),
        ("file.added", "/1"),
        ("file.deleted", "/2"),
        ("sync.completed", None),
    ]


async def test_a_kill_at_any_point_goes_on_where_it_was(bed: Bed) -> None:
    for number in range(4):
        await bed.write(f"/{number}")
    await bed.subscribe(one=ALL)
    await bed.queue.sync("one", "manual")
    told: list[str] = []
    for _ in range(40):
        await bed.take()
        await bed.crash()
        jobs = await bed.take(limit=1)
        if not jobs:
            break
        await bed.queue.done(jobs[0])
        told.append(jobs[0].event)
    assert told == ["sync.started", *["file.added"] * 4, "sync.completed"]


async def test_another_version_is_processed_again_only_where_that_is_asked_for(bed: Bed) -> None:
    await bed.write("/a")
    for version, reprocess, told in (("1", False, 1), ("2", False, 0), ("3", True, 1), ("3", True, 0)):
        await bed.subscribe(one=Subscription(events=FILES, version=version, reprocess=reprocess))
        await bed.queue.sync("one", "manual")
        assert len(await bed.told()) == told


async def test_a_new_version_tries_again_what_the_former_failed_at(bed: Bed) -> None:
    await bed.subscribe(one=Subscription(events=FILES, version="1", reprocess=True, max_attempts=1))
    await bed.write("/a")
    (job,) = await bed.take()
    await bed.queue.failed(job, "no")
    await bed.queue.sync("one", "manual")
    assert await bed.told() == []  # left to who looks into it
    await bed.subscribe(one=Subscription(events=FILES, version="2", reprocess=True, max_attempts=1))
    assert await bed.told() == [("file.added", "/a")]


async def test_a_sync_event_that_fails_for_good_ends_it(bed: Bed) -> None:
    await bed.write("/a")
    await bed.subscribe(one=Subscription(events=ALL, max_attempts=1))
    await bed.queue.sync("one", "manual")
    (job,) = await bed.take()
    assert await bed.queue.failed(job, "no") == "failed"
    standing = await bed.queue.standing("one")
    assert (standing.sync, standing.counts.failed) == (None, 1)
    await bed.queue.sync("one", "manual")
    assert (await bed.queue.standing("one")).counts.failed == 0
    assert [await bed.told() for _ in range(3)] == [
        [("sync.started", None)],
        [("file.added", "/a")],
        [("sync.completed", None)],
    ]


async def test_sync_events_are_never_parted_from_one_another(bed: Bed) -> None:
    await bed.subscribe(one=ALL)
    await bed.queue.sync("one", "manual")
    assert await bed.told() == [("sync.started", None)]
    (completed,) = await bed.take()
    assert await bed.queue.sync("one", "scheduled")
    assert await bed.take() == []  # the next one begins when the last one has ended
    await bed.queue.done(completed)
    assert (await bed.queue.standing("one")).last_sync == bed.now
    assert [await bed.told() for _ in range(3)] == [[("sync.started", None)], [("sync.completed", None)], []]


async def test_what_was_missed_in_the_middle_of_one_is_looked_for_again(bed: Bed) -> None:
    await bed.write("/a.pdf", mime_type="application/pdf")
    await bed.write("/b.txt", mime_type="text/plain")
    await bed.subscribe(one=Subscription(events=FILES, mime_globs=("text/*",)))
    await bed.queue.sync("one", "manual")
    (job,) = await bed.take()
    assert await bed.subscribe(one=Subscription(events=FILES)) == ["one"]
    assert not await bed.queue.sync("one", "scheduled")
    assert await bed.told() == [("file.added", "/a.pdf")]
    await bed.queue.done(job)
    assert (await bed.queue.standing("one")).sync is None


async def test_a_file_that_went_while_the_instance_was_off_is_told_by_the_sync(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    document, other = await bed.write("/a"), await bed.write("/b")
    await bed.told()
    await bed.subscribe(one=Subscription(events=FILES, enabled=False))
    await bed.delete(document)
    await bed.delete(other)
    await bed.write("/b")  # as it was: but its annotation is gone
    assert await bed.subscribe(one=FILES) == ["one"]
    await bed.queue.sync("one", "scheduled")
    assert sorted(await bed.told()) == [("file.added", "/b"), ("file.deleted", "/a")]
    assert (await bed.queue.standing("one")).sync is None
