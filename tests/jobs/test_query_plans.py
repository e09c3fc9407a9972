"""Protects speed at scale: nothing that the queue runs for a job, a count or a page goes through a table, or through
all jobs of an instance, however many there are."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from job_bed import ALL, FILES, Bed

from mosaicfs_core.jobs import Subscription
from mosaicfs_core.jobs.schema import READY
from mosaicfs_core.testing.store import annotation

SMALL = {"i", "job_instances", "job_syncs", "s", "job_state", "wanted", "v", "nodes", "sqlite_master", "json_each"}
"""Tables of few rows, and lists of what is asked for."""
MILLION = 1_000_000


class Tracing:
    """Every statement that the store's writer and reader run."""

    def __init__(self, bed: Bed) -> None:
        self.seen: set[str] = set()
        self._connections = (bed.store._writer._connection, bed.store.reader._connection)

    def __enter__(self) -> set[str]:
        for connection in self._connections:
            connection.set_trace_callback(self.seen.add)
        return self.seen

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.set_trace_callback(None)


def bad_steps(path: Path, seen: set[str]) -> dict[str, list[str]]:
    """Of each statement the steps of its plan that go through a table, through all of an
    instance's jobs, or sort what they found."""
    connection = sqlite3.connect(path)
    found = {}
    for sql in seen:
        if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", sql):
            plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql)]
            bad = [step for step in plan if _is_bad(step, bounded="LIMIT" in sql)]
            if bad:
                found[sql] = bad
    connection.close()
    return found


def _is_bad(step: str, *, bounded: bool) -> bool:
    if re.match(r"SEARCH (jobs|j|job_ledger|l) .*\(instance=\?\)$", step):
        return not bounded
    scanned = re.match(r"SCAN (\S+)", step)
    return "TEMP B-TREE FOR ORDER BY" in step or (
        scanned is not None and scanned[1] not in SMALL and "CONSTANT ROW" not in step
    )


async def everything(bed: Bed) -> None:
    a, _, c = await bed.write("/a"), await bed.write("/b"), await bed.write("/d/c")
    await bed.store.put(annotation("/a", "one", {"n": 1}))
    await bed.subscribe(one=ALL, two=Subscription(events=FILES, scope="instance", reprocess=True, version="2"))
    for _ in range(3):
        await bed.queue.sync("one", "manual")
        for job in await bed.take(limit=2):
            await bed.queue.done(job, {"n": 2})
    await bed.write("/b", size=5)
    a = await bed.move(a, "/d/a")
    await bed.delete(c)
    jobs = await bed.take()
    await bed.queue.failed(jobs[0], "no")
    await fails_for_good(bed)
    await bed.queue.released(jobs[1:])
    await bed.queue.retry("one")
    await bed.queue.retry("one", [1])
    await bed.queue.standing("one")
    await bed.queue.standings()
    await bed.queue.wait("one", 0)
    await bed.queue.jobs("one", "pending")
    await bed.queue.pause("one")
    await bed.subscribe(two=FILES)
    await bed.queue.close()
    await bed.queue.open()


async def fails_for_good(bed: Bed) -> None:
    await bed.subscribe(one=ALL, two=FILES, bad=Subscription(events=FILES, max_attempts=1))
    for number in range(5):
        await bed.write(f"/bad{number}")
    for job in await bed.take("bad"):
        await bed.queue.failed(job, "no")
    assert [one.failed for one in bed.queue.failures()] == [5]


async def test_nothing_goes_through_a_table(bed: Bed) -> None:
    with Tracing(bed) as seen:
        await everything(bed)
    assert len(seen) > 60
    assert bad_steps(bed.path, seen) == {}


async def fill(bed: Bed, count: int, status: int = READY) -> None:
    """So many jobs of files that there is no need to write, as the queue itself would have them."""

    def insert(tx: Any) -> None:
        tx.execute(
            """INSERT INTO jobs(instance, doc, sequence, event, status, attempts, due, delivered, created_at)
            WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= ?1)
            SELECT 1, 1000 + i, i, 1, ?2, 0, 0, 0, 1 FROM n""",
            (count, status),
        )
        tx.execute("UPDATE job_instances SET ready = ready + ?, sequence = ? WHERE name = 'one'", (count, count + 1))

    await bed.store.transaction(insert)


async def test_a_million_jobs_are_taken_from_by_a_walk_along_an_index(bed: Bed) -> None:
    await bed.subscribe(one=FILES)
    await bed.write("/first")
    await fill(bed, MILLION)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection = bed.store._writer._connection
    connection.set_progress_handler(count, 100)
    with Tracing(bed) as seen:
        (job,) = await bed.take(limit=1)
        await bed.queue.failed(job, "no")
        assert (await bed.queue.standing("one")).counts.pending == MILLION + 1
        await bed.write("/second")
        await bed.write("/second", size=2)
        bed.now += 10**10
        (job,) = await bed.take(limit=1)
        await bed.queue.done(job, {"n": 1})
        assert (await bed.queue.jobs("one", "pending", after=MILLION, limit=2)).total == MILLION + 1
    connection.set_progress_handler(None, 0)
    assert job.file is not None
    assert job.file.export_path == "/first"
    assert steps * 100 < 100_000  # SQLite's own instructions: of all that, not one per ten jobs
    assert bad_steps(bed.path, seen) == {}
