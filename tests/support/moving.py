"""Files that move in a replica, and what of their labels has followed."""

from __future__ import annotations

import asyncio

from mosaicfs_core.documents import ids
from mosaicfs_core.server.moves import Mover
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import NODE, file_document

PATIENCE_S = 20.0


def labels_at(store: Store, path: str) -> list[str]:
    """The labels assigned to a path."""
    found = store.reader.get(ids.label_assignment_id(NODE, path))
    return [] if found is None else list(found["labels"])


async def followed(store: Store) -> None:
    """Run a mover until no file has ``moved_from``."""
    running = asyncio.create_task(Mover(store, NODE).run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while store.reader.rows("SELECT 1 FROM documents WHERE instr(extra, '\"moved_from\"') LIMIT 1"):
                await store.wait(store.seq, 0.05)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def move(store: Store, old: str, new: str, before: str | None = None) -> None:
    """Write what the agent writes of a file that went from ``old`` to ``new``."""
    document = file_document(old)
    there = await store.get(document["_id"])
    assert there is not None
    moved = {**file_document(new), "_id": there["_id"], "_rev": there["_rev"], "inode": there["inode"]}
    await store.put({**moved, "moved_from": before or old})


async def until_labelled(store: Store, path: str, labels: list[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while labels_at(store, path) != labels:
            await store.wait(store.seq, 0.02)


async def end_at(store: Store, old: str, new: str, other: str | None = None) -> None:
    """Write what the agent writes of a file that was renamed from ``old`` onto the one at ``new``, which was at
    ``other`` before."""
    await move(store, old, new)
    onto = file_document(other or new)["_id"]
    await move(store, old, new)
    ended = {"status": "deleted", "deleted_at": "2026-01-01T00:00:00.000000Z", "renamed_onto": onto}
    await store.update(file_document(old)["_id"], lambda there: {**(there or {}), **ended})
