"""A queue over a replica of its own, with a clock that stands until it is moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mosaicfs_core.hooks import StepOp
from mosaicfs_core.jobs import Job, JobQueue, Subscription
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import EPOCH, NODE, file_document

ALL = ("file.added", "file.modified", "file.deleted", "sync.started", "sync.completed")
FILES = ALL[:3]
SECOND = 1_000_000


class Bed:
    """A store and its queue, which may be closed or left in the middle of everything, and opened again."""

    def __init__(self, path: Path, step_ops: Mapping[str, StepOp] | None = None) -> None:
        self.path = path
        self.step_ops = step_ops
        self.now = EPOCH + 10**12
        self.store: Store
        self.queue: JobQueue

    async def open(self) -> None:
        self.store = await Store.open(self.path)
        self.queue = JobQueue(self.store, NODE, self.step_ops, clock=lambda: self.now, chance=lambda: 1.0)
        await self.queue.open()

    async def close(self) -> None:
        await self.queue.close()
        await self.store.close()

    async def crash(self) -> None:
        """Open the file again as it is: what was in flight was never given back."""
        self.queue._closed = True
        if self.queue._purging is not None:
            self.queue._purging.cancel()
        await self.store.close()
        await self.open()

    async def subscribe(self, **subscriptions: Subscription | tuple[str, ...]) -> list[str]:
        """Subscriptions by instance; a tuple stands for one to these events of all files. No full sync is begun."""
        made = {
            name: Subscription(events=given) if isinstance(given, tuple) else given
            for name, given in subscriptions.items()
        }
        return await self.queue.subscribe(made)

    async def write(self, path: str, **fields: Any) -> dict[str, Any]:
        """Write the document that the file at a path got first, whatever it says now; returns it as it is then."""
        document = file_document(path, **fields)
        written = await self.store.update(document["_id"], lambda present: document)
        assert written is not None
        return written

    async def move(self, document: Mapping[str, Any], path: str, **fields: Any) -> dict[str, Any]:
        """Give a file another place."""
        there = file_document(path)
        moved = {**document, "name": there["name"], "source": there["source"], **fields}
        written = await self.store.update(document["_id"], lambda present: moved)
        assert written is not None
        return written

    async def delete(self, document: Mapping[str, Any]) -> None:
        """Mark a file as gone."""
        await self.store.update(document["_id"], lambda present: {**(present or {}), "status": "deleted"})

    async def take(self, instance: str = "one", limit: int = 100, **more: Any) -> list[Job]:
        return await self.queue.take(instance, limit, **more)

    async def told(self, instance: str = "one") -> list[tuple[str, str | None]]:
        """Take all there is and be done with it: events with the paths."""
        jobs = await self.take(instance)
        for job in jobs:
            assert await self.queue.done(job)
        return seen(jobs)

    async def annotation(self, path: str, instance: str = "one") -> dict[str, Any] | None:
        found = self.store.reader.documents_of("annotation", (NODE, path, instance))
        return found[0] if found else None


def seen(jobs: list[Job]) -> list[tuple[str, str | None]]:
    return [(job.event, None if job.file is None else job.file.export_path) for job in jobs]
