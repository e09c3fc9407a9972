"""The job queue while it grows to a million jobs: files written with a job each, jobs taken and done, and memory.

``python -m benchmarks.jobs JOBS`` prints one round as JSON. Each round has a process of its own, so that its memory is
its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, medians, rounds_at
from benchmarks.store import BATCH, NODE, fill, memory_megabytes
from mosaicfs_core.jobs import JobQueue, Subscription
from mosaicfs_core.store import Store

FULL = 1_000_000
ROUNDS = 3
"""A round takes a minute or two."""
TAKEN = 20_000
WINDOW = 64
"""Jobs in flight at once, as of a program that listens."""
INSTANCE = "bench"


async def per_second(queue: JobQueue, jobs: int) -> float:
    """Jobs taken and done, by the window."""
    begun, done = time.perf_counter(), 0
    while done < jobs:
        taken = await queue.take(INSTANCE, min(WINDOW, jobs - done))
        if not taken:
            raise RuntimeError(f"{jobs - done} of {jobs} jobs are not there")
        await asyncio.gather(*(queue.done(job) for job in taken))
        done += len(taken)
    return jobs / (time.perf_counter() - begun)


async def measure(jobs: int) -> dict[str, float]:
    """One round: a tenth of the jobs first, of which some are done, then all the others; and as many files in a store
    that nobody takes jobs from."""
    few, taken = jobs // 10, min(TAKEN, jobs // 20)
    async with stored() as store:
        queue = JobQueue(store, NODE)
        await queue.open()
        await queue.subscribe({INSTANCE: Subscription(events=("file.added",))})
        await queue.sync(INSTANCE, "manual")
        found = {"written of few": await filled(store, few, 1)}
        found |= {"taken of few": await per_second(queue, taken), "memory of few": memory_megabytes()}
        await filled(store, jobs - 2 * few, 2)
        found |= {"written of many": await filled(store, few, 3), "taken of many": await per_second(queue, taken)}
        found["memory of many"] = memory_megabytes()
        await queue.close()
    async with stored() as store:
        await filled(store, jobs - few, 2)
        found["written alone"] = await filled(store, few, 3)
    return found


@contextlib.asynccontextmanager
async def stored() -> AsyncIterator[Store]:
    """A store of its own."""
    with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-") as place:
        async with await Store.open(Path(place) / "replica.db") as store:
            yield store


async def filled(store: Store, count: int, seed: int) -> float:
    """Files per second, each written with its job."""
    per_second: float = (await fill(store, count, seed))["per_second"]
    return per_second


def one_round(jobs: int) -> Mapping[str, float]:
    """A round in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.jobs", str(jobs)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def run(scale: float = 1.0) -> list[Row]:
    """The promises about the queue: what a job costs, and memory, do not grow with the jobs that wait."""
    jobs, rounds = max(20 * BATCH, round(FULL * scale)), rounds_at(scale, ROUNDS)
    found = medians([one_round(jobs) for _ in range(rounds)])
    few, many = f"among {jobs // 10:,}", f"{jobs:,}"
    written, alone = found["written of many"], found["written alone"]
    taken, before = found["taken of many"], found["taken of few"]
    growth = found["memory of many"] - found["memory of few"]
    return [
        Row(
            f"files written with a job each, the last of {many}",
            written,
            "files/s",
            {"without jobs": alone, few: found["written of few"]},
            "≥ 0.7 × without jobs",
            written >= 0.7 * alone,
            rounds=rounds,
        ),
        Row(
            f"jobs taken and done, of {many}",
            taken,
            "jobs/s",
            {few: before},
            "≥ 0.8 × of a tenth",
            taken >= 0.8 * before,
            rounds=rounds,
        ),
        Row(f"memory of {many} jobs beyond a tenth", growth, "MB", {}, "≤ 20 MB", growth <= 20, rounds=rounds),
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
