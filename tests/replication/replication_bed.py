"""What is replicated in these tests, and how it is compared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import assignment, file_document, rule


async def leaves(store: Store) -> dict[str, tuple[str, ...]]:
    """All leaves of every document, the winner first."""
    changes = await store.read(lambda reader: reader.changes(0, 1_000_000))
    return {change.id: change.revs for change in changes}


async def revisions(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Every leaf of every document with its body and history."""
    return {identifier: await store.open_revs(identifier) for identifier in await leaves(store)}


async def eventually(condition: Callable[[], Any]) -> None:
    """Until the condition holds; what it waits for happens in this process."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event for what any condition looks at
            await asyncio.sleep(0.002)


def branch(document: dict[str, Any], *ids: str, **fields: Any) -> dict[str, Any]:
    """A revision made elsewhere; ``ids`` newest first."""
    return {**document, **fields, "_rev": f"{len(ids)}-{ids[0]}", "_revisions": {"start": len(ids), "ids": list(ids)}}


def digest(number: int) -> str:
    return f"{number:032x}"


async def of_every_kind(store: Store) -> None:
    """Files, an edited one, a deleted one, one in conflict, one in quarantine, other types, long histories."""
    await store.bulk([file_document(f"/many/{number}.txt", size=number) for number in range(40)])
    edited = file_document("/edited")
    rev = await store.put(edited)
    for size in range(2, 30):
        rev = await store.put({**edited, "_rev": rev, "size": size})
    gone = file_document("/gone")
    rev = await store.put(gone)
    await store.put({"_id": gone["_id"], "_rev": rev, "_deleted": True, "type": "file", "source": gone["source"]})
    disputed = file_document("/disputed")
    made = [branch(disputed, digest(number), digest(1), size=number) for number in (5, 6, 7)]
    made.append(branch({**disputed, "_deleted": True}, digest(9), digest(8), digest(1)))
    await store.bulk(made, new_edits=False)
    await store.bulk([branch(file_document("/broken", size="big"), digest(1))], new_edits=False)
    await store.bulk([branch({"_id": "future::1", "type": "future", "x": 1}, digest(3), digest(2))], new_edits=False)
    await store.bulk([assignment("/many/1.txt", "red"), rule("/many/", "blue")])
