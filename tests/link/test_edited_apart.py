"""Two machines edit the same documents while they are apart: what each of them did is there on both once they meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent.replication import Replication
from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.notifications import Condition, raised, resolved
from mosaicfs_core.replication import ConflictResolver
from mosaicfs_core.store import Store
from mosaicfs_core.supervision import end_tasks

NODE = "node-laptop-aaaa"
PATH = "/home/me/essay.txt"
LABELS = ids.label_assignment_id(NODE, PATH)
FULL = Condition(NODE, "cache", "cache_near_capacity", "warning", "The cache is nearly full")
NOTIFICATION = ids.notification_document_id(NODE, FULL.key)
MINUTE = 60 * times.MICROS_PER_SECOND
BEGUN = times.parse_time("2026-01-01T00:00:00Z")

Edit = Callable[[dict[str, Any]], dict[str, Any] | None]


def at(minute: int) -> str:
    return times.format_time(BEGUN + minute * MINUTE)


def labelled(minute: int, *, add: str = "", remove: str = "") -> Edit:
    """The edit that the plugin ``labels`` makes of an assignment."""

    def edit(present: dict[str, Any]) -> dict[str, Any]:
        labels, known = set(present["labels"]), dict(present["label_times"])
        if add:
            labels, known[add] = labels | {add}, {**known.get(add, {}), "added": at(minute)}
        if remove:
            labels, known[remove] = labels - {remove}, {**known.get(remove, {}), "removed": at(minute)}
        return {**present, "labels": sorted(labels), "label_times": known, "updated_at": at(minute)}

    return edit


def acknowledged(minute: int) -> Edit:
    return lambda present: {**present, "status": "acknowledged", "acknowledged_at": at(minute)}


def true_again(minute: int) -> Edit:
    return lambda present: raised(present, FULL, BEGUN + minute * MINUTE)


def over(minute: int) -> Edit:
    return lambda present: resolved(present, BEGUN + minute * MINUTE)


@asynccontextmanager
async def replicating(store: Store, control_plane: Any) -> AsyncIterator[None]:
    """The laptop's replication, as its agent runs it; the control plane settles what is its own."""
    requests = control_plane.requests(NODE)
    resolver = ConflictResolver.for_writer(control_plane.store, ids.CONTROL_PLANE)
    tasks = [asyncio.create_task(work()) for work in (Replication(store, NODE, requests).run, resolver.run)]
    try:
        yield
    finally:
        await end_tasks(*tasks)
        await requests.close()


async def leaves(store: Store) -> dict[str, Any]:
    """Every revision at an end of the two documents, once both are there."""
    there = [name for name in (LABELS, NOTIFICATION) if await store.get(name)]
    return {name: await store.open_revs(name) for name in there} if len(there) == 2 else {}


async def edit(store: Store, document_id: str, *edits: Edit) -> None:
    for one in edits:
        await store.update(document_id, lambda present, one=one: one(present or {}))


@pytest.mark.parametrize(
    ("here", "there", "merged"),
    [
        # Still true, and acknowledged: that holds.
        ([true_again(90)], [acknowledged(30)], ("acknowledged", 1, at(90))),
        # Acknowledged, and gone meanwhile.
        ([over(20)], [acknowledged(30)], ("resolved", 1, at(0))),
        # Who acknowledged did not know that it had come back.
        ([over(20), true_again(25)], [acknowledged(30)], ("active", 2, at(25))),
    ],
    ids=["still-true", "over", "came-back"],
)
async def test_labels_and_a_notification_edited_apart(
    control_plane: Any, eventually: Any, tmp_path: Path, here: list[Edit], there: list[Edit], merged: Any
) -> None:
    async with await Store.open(tmp_path / "laptop.db") as laptop:
        far: Store = control_plane.store

        async def met() -> bool:
            found = await leaves(laptop)
            live = {name: [leaf for leaf in known if not leaf.get("_deleted")] for name, known in found.items()}
            return bool(found) and found == await leaves(far) and all(len(known) == 1 for known in live.values())

        async with replicating(laptop, control_plane):
            await laptop.put(raised(None, FULL, BEGUN) or {})
            await far.put(
                {
                    "_id": LABELS,
                    "type": "label_assignment",
                    "node_id": NODE,
                    "export_path": PATH,
                    "labels": ["draft", "old"],
                    "label_times": {name: {"added": at(0)} for name in ("draft", "old")},
                    "updated_at": at(0),
                    "updated_by": ids.CONTROL_PLANE,
                }
            )
            await eventually(met)

        # Apart: labels come and go on both sides, one is taken off here and given again there later.
        await edit(laptop, LABELS, labelled(10, add="train"), labelled(15, remove="draft"), labelled(16, remove="old"))
        await edit(far, LABELS, labelled(12, add="home"), labelled(20, remove="draft"), labelled(21, add="draft"))
        await edit(laptop, NOTIFICATION, *here)
        await edit(far, NOTIFICATION, *there)
        assert await leaves(laptop) != await leaves(far)

        async with replicating(laptop, control_plane):
            await eventually(met)
        labels, notification = await laptop.get(LABELS) or {}, await laptop.get(NOTIFICATION) or {}
        assert labels["labels"] == ["draft", "home", "train"]
        assert (notification["status"], notification["occurrence_count"], notification["last_seen"]) == merged
        assert notification["acknowledged_at"] == at(30)
        for store in (laptop, far):
            assert (await store.info()).conflicts == 0
