"""Protects the folders that an agent is started with: they are watched in the end, although it ends before it reaches
the control plane whose they are to write down, and they are not asked for again once they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.link import Uplink
from mosaicfs_core.agent.link.wanted import WantedFolders
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.store import Store
from mosaicfs_core.testing.harness import Harness

NODE = "node-laptop-aaaa"
WATCHER = ids.plugin_document_id(NODE, "localfs")


@asynccontextmanager
async def agent(plane: Any, home: Path, connect: Callable[..., Any]) -> AsyncIterator[Uplink]:
    """An agent with this way to its control plane."""
    async with Harness.start(home, safe_mode=True) as harness:
        core = harness.core
        core.node_id, core.control, core.control_url = NODE, False, plane.url
        registered = await plane.store.get(ids.node_document_id(NODE))
        await harness.store.update(
            registered["_id"], lambda now: {**registered, **({"_rev": now["_rev"]} if now else {})}
        )
        core.agent = Agent(core)
        requests = plane.requests(NODE)
        async with core.agent, Uplink(core, core.agent, requests, connect) as link:
            yield link
        await requests.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The agent's, which is there before it runs."""
    path = tmp_path / "home"
    path.mkdir()
    return path


def folders_of(plane: Any) -> list[str]:
    """The folders that the control plane has written down for the node."""
    document = plane.store.reader.get(WATCHER) or {}
    return list((document.get("settings") or {}).get("paths", []))


async def test_they_are_kept_in_their_order_and_none_twice(tmp_path: Path) -> None:
    for folders, expected in ((["/b", "/a"], ["/b", "/a"]), (["/a", "/c"], ["/b", "/a", "/c"]), ([], None)):
        async with await Store.open(tmp_path / "replica.db") as store:
            wanted = WantedFolders(store)
            await wanted.add(folders)
            assert await wanted.waiting() == (expected or ["/b", "/a", "/c"])
    async with await Store.open(tmp_path / "replica.db") as store:
        wanted = WantedFolders(store)
        await wanted.told(["/b", "/elsewhere"])
        assert await wanted.waiting() == ["/a", "/c"]
        await wanted.told(["/a", "/c"])
        assert await WantedFolders(store).waiting() == []
        assert await store.local_get("folders-to-watch") is not None
        assert store.seq == 0, "nobody else is told of it"


async def test_an_agent_that_ended_before_its_first_link_is_started_again_without_them(
    control_plane: Any, home: Path, tmp_path: Path, eventually: Any
) -> None:
    trees = [str(tmp_path / name) for name in ("one", "two")]
    tried = asyncio.Event()

    @asynccontextmanager
    async def away() -> AsyncIterator[Any]:
        tried.set()
        raise Unavailable("nobody is there")
        yield

    for tree in trees:
        Path(tree).mkdir()
        async with await Store.open(home / "replica.db") as store:
            await WantedFolders(store).add([tree])
        tried.clear()
        async with agent(control_plane, home, away):
            await tried.wait()
    assert folders_of(control_plane) == []
    async with agent(control_plane, home, control_plane.connect(NODE)) as link:
        await eventually(lambda: folders_of(control_plane) == trees)
        await eventually(lambda: _none_waits(link))
    # What was removed since does not come back with the next start.
    await control_plane.store.update(WATCHER, lambda document: {**(document or {}), "settings": {"paths": trees[:1]}})
    async with agent(control_plane, home, control_plane.connect(NODE)) as link:
        await eventually(lambda: link.link.state.connected)
        await link.link.call("seed", {})  # behind what follows the connection
        assert folders_of(control_plane) == trees[:1]


async def _none_waits(link: Uplink) -> bool:
    return not await link._wanted.waiting()


@pytest.mark.logs("not indexed, as the control plane refuses it")
async def test_what_is_refused_is_told_once_and_takes_nothing_along(
    control_plane: Any, home: Path, eventually: Any, caplog: Any
) -> None:
    async with await Store.open(home / "replica.db") as store:
        await WantedFolders(store).add(["/good", "relative", "/better"])
    async with agent(control_plane, home, control_plane.connect(NODE)) as link:
        await eventually(lambda: folders_of(control_plane) == ["/good", "/better"])
        await eventually(lambda: _none_waits(link))
        store = link._core.store
        await eventually(lambda: "storage" in (store.reader.get(ids.node_document_id(NODE)) or {}))
    told = [record.getMessage() for record in caplog.records if "refuses it" in record.getMessage()]
    assert [("relative" in text, "good" in text) for text in told] == [(True, False)]
