"""Protects labels of files that move while several control planes share a hub: one of them at a time follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from moving import PATIENCE_S, labels_at, move, until_labelled

from mosaicfs_core.server import moves
from mosaicfs_core.server.moves import Mover
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import NODE, assignment, file_document


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path / "replica.db") as opened:
        yield opened


class Switch:
    """A lease that a test gives and takes."""

    def __init__(self) -> None:
        self._given = asyncio.Event()

    def held(self) -> bool:
        return self._given.is_set()

    async def wait(self) -> None:
        await self._given.wait()

    def give(self) -> None:
        self._given.set()

    def take(self) -> None:
        self._given.clear()


def without_moved_from(document: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (document or {}).items() if key != "moved_from"}


async def test_own_moves_do_not_wait_for_the_lease(store: Store) -> None:
    await store.bulk([file_document("/a"), assignment("/a", "x")])
    await move(store, "/a", "/b")
    mover = Mover(store, NODE, lease=Switch())
    assert await mover._round(0, {}) is not None
    assert labels_at(store, "/b") == ["x"]
    assert "moved_from" not in (await store.get(file_document("/a")["_id"]) or {"moved_from": 1})


async def test_other_nodes_moves_wait_for_the_lease(store: Store) -> None:
    await store.bulk([file_document("/a"), file_document("/b"), assignment("/a", "x"), assignment("/b", "y")])
    lease = Switch()
    foreign = asyncio.create_task(Mover(store, "node-other", lease=lease).run())
    try:
        await move(store, "/a", "/new/a")
        await noted(store, {file_document("/a")["_id"]: "/a"})
        assert (labels_at(store, "/a"), labels_at(store, "/new/a")) == (["x"], [])
        lease.give()
        await until_labelled(store, "/new/a", ["x"])
        await noted(store, {})
        lease.take()
        await move(store, "/b", "/new/b")
        await noted(store, {file_document("/b")["_id"]: "/b"})
        await store.update(file_document("/b")["_id"], without_moved_from)  # another control plane has followed it
        lease.give()
        await noted(store, {})
        assert (labels_at(store, "/b"), labels_at(store, "/new/b")) == (["y"], [])  # as it is here, until that arrives
    finally:
        foreign.cancel()
        await asyncio.gather(foreign, return_exceptions=True)


async def test_a_move_that_waits_is_remembered_over_a_restart(store: Store) -> None:
    await store.bulk([file_document("/a"), assignment("/a", "x")])
    first = asyncio.create_task(Mover(store, "node-other", lease=Switch()).run())
    await move(store, "/a", "/b")
    await noted(store, {file_document("/a")["_id"]: "/a"})
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(Mover(store, "node-other").run())
    await until_labelled(store, "/b", ["x"])
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)


async def test_a_lease_that_is_lost_in_between_leaves_the_move_to_the_next_holder(store: Store) -> None:
    await store.bulk([file_document("/a"), assignment("/a", "x")])
    await move(store, "/a", "/b")
    asked: list[bool] = []

    class Lost(Switch):
        def held(self) -> bool:
            asked.append(not asked)
            return asked[-1]

    mover = Mover(store, "node-other", lease=Lost())
    assert await mover._round(0, {}) is None
    assert labels_at(store, "/a") == ["x"]
    assert await mover._round(0, {}) is not None
    assert mover._waiting == {file_document("/a")["_id"]: "/a"}


async def noted(store: Store, waiting: dict[str, str]) -> None:
    """Until the checkpoint of a mover says that these moves wait."""
    async with asyncio.timeout(PATIENCE_S):
        while ((await store.local_get(moves.CHECKPOINT)) or {}).get("waiting") != waiting:
            await store.wait(store.seq, 0.02)
