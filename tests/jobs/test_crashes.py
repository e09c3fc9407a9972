"""Protects the promise of the queue against SIGKILL at any moment: no job is lost, none is acknowledged without its
result stored, and nothing is acknowledged twice. Twenty kills, or as many as ``MOSAICFS_JOB_CRASH_ROUNDS`` says."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

from job_bed import ALL

from mosaicfs_core.jobs import JobQueue, Subscription
from mosaicfs_core.jobs.schema import STATUS_COLUMNS
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import NODE

ROUNDS = int(os.environ.get("MOSAICFS_JOB_CRASH_ROUNDS", "20"))
CHILD = Path(__file__).parent / "crash_child.py"
INSTANCE = "one"


class Witness:
    """What the child said, over all its lives."""

    def __init__(self) -> None:
        self.acknowledged: set[int] = set()
        self.done: dict[str, int] = {}
        self.files: dict[str, int] = {}

    def hear(self, lines: list[str]) -> None:
        for line in lines:
            match line.split():
                case ["file", path, size]:
                    self.files[path] = int(size)
                case ["done", sequence, path, size]:
                    assert int(sequence) not in self.acknowledged, "acknowledged twice"
                    self.acknowledged.add(int(sequence))
                    self.done[path] = int(size)


def check(path: Path, witness: Witness) -> None:
    """What was killed: whole, its counts true, and every file either processed as it is or about to be."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    rows = connection.execute("SELECT sequence, doc, status, event FROM jobs").fetchall()
    assert not witness.acknowledged & {sequence for sequence, *_ in rows}, "an acknowledged job is there still"
    counts = connection.execute(f"SELECT {', '.join(STATUS_COLUMNS)} FROM job_instances").fetchone()
    if counts is None:
        assert not witness.done
        return
    assert list(counts) == [sum(row[2] == status for row in rows) for status in range(5)]
    busy = {doc for _, doc, _, _ in rows}
    ledger = dict(connection.execute("SELECT doc, size FROM job_ledger").fetchall())
    annotations = annotated(path)
    listing = connection.execute("SELECT count(*) FROM job_syncs WHERE phase < 2").fetchone()[0]
    needs = connection.execute("SELECT needs_sync FROM job_instances").fetchone()[0]
    for doc, name, size, shown in connection.execute(
        "SELECT doc, name, size, shown FROM documents WHERE name NOT NULL"
    ):
        if doc in busy:
            continue
        if shown:
            assert ledger.get(doc) == size or listing or needs, f"the job of {name} is lost"
            assert ledger.get(doc) in (None, annotations.get(f"/{name}")), "done without its result"
        else:
            assert doc not in ledger, f"nobody is told that {name} is gone"
            assert f"/{name}" not in annotations
    connection.close()


def annotated(path: Path) -> dict[str, int]:
    async def read() -> dict[str, int]:
        async with await Store.open(path) as store:
            found = store.reader.documents_of("annotation")
        return {document["export_path"]: document["data"]["size"] for document in found}

    return asyncio.run(read())


async def finish(path: Path) -> dict[str, int]:
    """Work until nothing is left; every file's annotation is of its last state."""
    later = 10**16
    async with await Store.open(path) as store:
        queue = JobQueue(store, NODE)
        await queue.open()
        for name in await queue.subscribe({INSTANCE: Subscription(events=ALL)}):
            await queue.sync(name, "scheduled")
        while jobs := await queue.take(INSTANCE, 100, later):
            for job in jobs:
                size = job.file.size if job.file is not None and job.event != "file.deleted" else 0
                assert await queue.done(job, {"size": size} if size else None)
        standing = await queue.standing(INSTANCE)
        assert (standing.counts.pending, standing.counts.in_flight, standing.sync) == (0, 0, None)
        await queue.sync(INSTANCE, "manual")
        assert [job.event for job in await queue.take(INSTANCE, 100, later)] == ["sync.started"]
        shown = store.reader.rows("SELECT name, size FROM documents WHERE shown = 1")
        await queue.close()
    return {f"/{name}": size for name, size in shown}


def test_kills_lose_and_repeat_nothing(fork_server: Any, tmp_path: Path) -> None:
    path, chance, witness = tmp_path / "replica.db", random.Random(), Witness()
    child = fork_server(CHILD)
    for _ in range(ROUNDS):
        child.start(str(path))
        heard = [child.line() for _ in range(chance.choice([0, 1, 20, 60, 200]))]
        time.sleep(chance.random() * 0.02)  # in the middle of whatever it does by then
        witness.hear(heard + child.kill())
        if path.exists() and path.stat().st_size:
            check(path, witness)
    shown = asyncio.run(finish(path))
    assert annotated(path) == shown
    assert len(witness.acknowledged) > ROUNDS
