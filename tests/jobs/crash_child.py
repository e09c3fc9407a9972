"""The child of the crash test: writes files and works on their jobs for ever, until it is killed.

Argument: the replica's path. Every file is written with a size that counts its changes, and gone now and then. Each
answer says which change it was of. A line is printed once the thing it tells of is durable: ``file PATH SIZE`` (0:
gone), ``done SEQUENCE PATH SIZE`` and ``failed SEQUENCE``.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from mosaicfs_core.jobs import Job, JobQueue, Subscription
from mosaicfs_core.store import Store, WriteTransaction
from mosaicfs_core.testing.store import NODE, file_document

INSTANCE = "one"
FILES = 40
EVENTS = ("file.added", "file.modified", "file.deleted", "sync.started", "sync.completed")


async def write(store: Store, chance: random.Random) -> None:
    while True:
        numbers = chance.sample(range(FILES), chance.randint(1, 6))
        changed: list[tuple[str, int]] = []

        def change(
            tx: WriteTransaction, numbers: list[int] = numbers, changed: list[tuple[str, int]] = changed
        ) -> None:
            for number in numbers:
                path = f"/{number}"
                present = tx.get(file_document(path)["_id"]) or {"size": 0}
                gone = chance.random() < 0.2
                made = file_document(path, size=present["size"] + 1, status="deleted" if gone else "active")
                tx.update(made["_id"], lambda _, made=made: made)
                changed.append((path, 0 if gone else made["size"]))

        await store.transaction(change)
        print("\n".join(f"file {path} {size}" for path, size in changed), flush=True)
        await asyncio.sleep(0)


async def work(queue: JobQueue, chance: Callable[[], float]) -> None:
    while True:
        await queue.wait(INSTANCE)
        jobs = await queue.take(INSTANCE, 8)
        await asyncio.gather(*(answer(queue, job, chance()) for job in jobs))


async def answer(queue: JobQueue, job: Job, luck: float) -> None:
    if luck < 0.1:
        await queue.failed(job, "no luck")
        print(f"failed {job.sequence}", flush=True)
    elif luck < 0.2:
        await queue.released([job])
    elif job.file is None:
        assert await queue.done(job)
    else:
        size = 0 if job.event == "file.deleted" else job.file.size
        assert await queue.done(job, {"size": size} if size else None)
        print(f"done {job.sequence} {job.file.export_path} {size}", flush=True)


async def main(path: str) -> None:
    chance = random.Random()
    store = await Store.open(Path(path))
    queue = JobQueue(store, NODE, chance=lambda: 0.0)
    await queue.open()
    for name in await queue.subscribe({INSTANCE: Subscription(events=EVENTS, max_attempts=1_000)}):
        await queue.sync(name, "scheduled")
    print("open", flush=True)
    await asyncio.gather(write(store, chance), *(work(queue, chance.random) for _ in range(3)))
