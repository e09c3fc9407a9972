"""Stores to replicate between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mosaicfs_core.replication import Peer, Replicator, Status, StorePeer
from mosaicfs_core.store import Store
from mosaicfs_core.testing.peers import Time

OpenStore = Callable[[str], Awaitable[Store]]


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens a store by name; all are closed at the end."""
    opened: list[Store] = []

    async def open_one(name: str) -> Store:
        opened.append(await Store.open(tmp_path / f"{name}.db"))
        return opened[-1]

    yield open_one
    for store in opened:
        if store.writable:
            await store.close()


@pytest.fixture
async def near(open_store: OpenStore) -> Store:
    return await open_store("near")


@pytest.fixture
async def far(open_store: OpenStore) -> Store:
    return await open_store("far")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def push(time: Time) -> Callable[[Store | Peer, Store | Peer], Awaitable[Status]]:
    """One replication from the first to the second."""

    async def once(source: Store | Peer, target: Store | Peer) -> Status:
        sides = [StorePeer(side) if isinstance(side, Store) else side for side in (source, target)]
        return await Replicator(*sides, direction="push", surroundings=time.surroundings).run_once()

    return once
