"""Protects the agent from errors that nobody foresaw: crawls end with an error and not in silence, its tasks go on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import Agent, disk
from mosaicfs_core.agent import agent as agent_module
from mosaicfs_core.agent.indexer import Indexer
from mosaicfs_core.agent.session import Session
from mosaicfs_core.errors import MosaicError, Unavailable
from mosaicfs_core.hooks import filesystem_id

UNCHANGING: Mapping[str, Any] = {
    "type": "agent_status",
    "node_id": "node-test-aaaa",
    "updated_at": "2026-01-01T00:00:00.000000Z",
    "overall": "healthy",
    "subsystems": {},
    "available_plugins": [],
    "recent_errors": [],
    "watch_state": {},
}
Write = Callable[[Path, Mapping[str, str]], None]


def once(real: Any) -> Any:
    """The method, raising ValueError the first time."""
    called: list[int] = []

    async def method(*arguments: Any) -> Any:
        called.append(1)
        if len(called) == 1:
            raise ValueError("unforeseen")
        return await real(*arguments)

    return method


@pytest.mark.logs("^crawl failed: unforeseen")
async def test_a_first_crawl_that_breaks_is_told_and_another_works(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(node.tree, {"f": "1"})
    monkeypatch.setattr(Session, "feed", once(Session.feed))
    await node.start()  # the first crawl is over, though it failed
    crawler = node.agent.status()["subsystems"]["crawler"]
    assert crawler["status"] == "degraded"
    assert "unforeseen" in crawler["detail"]
    await node.crawl()
    assert node.agrees()


@pytest.mark.logs("^crawl failed: unforeseen")
async def test_who_waits_for_a_broken_crawl_gets_its_error(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(node.tree, {"f": "1"})
    await node.start()
    write(node.tree, {"g": "1"})
    monkeypatch.setattr(Session, "finish", once(Session.finish))
    async with asyncio.timeout(15):
        with pytest.raises(MosaicError, match="unforeseen"):
            await node.crawl()
        await node.crawl()
    assert node.agrees()


@pytest.mark.logs("^instances failed and starts again")
async def test_the_agents_own_tasks_go_on_and_say_what_failed(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    instances = node.agent._instances.__class__
    real = instances.follow
    called: list[int] = []

    def follow(self: Any) -> Any:
        called.append(1)
        if len(called) == 1:
            raise ValueError("unforeseen")
        return real(self)

    monkeypatch.setattr(instances, "follow", follow)
    await node.start()
    failing = {"status": "degraded", "detail": "instances: ValueError: unforeseen"}
    await node.settled(lambda: node.agent.status()["subsystems"]["tasks"] == failing)
    write(node.tree, {"f": "1"})
    await node.settled(lambda: len(called) == 2)
    await node.configure(ignore=["*.x"])
    await node.settled(node.agrees)


async def test_a_failed_write_is_told_to_whose_write_it_was(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(node.tree, {"f": "1"})
    await node.start()
    runner = node.agent._runners["localfs"]
    first, second = runner._session(matching=True), runner._session(matching=True)
    write(node.tree, {"g": "1"})
    monkeypatch.setattr(Indexer, "write", once(Indexer.write))
    from mosaicfs_core.hooks import Create

    path = str(node.tree / "g")
    await first.feed([Create(export_path=path, size=1, mtime=1)])
    await second.feed([Create(export_path=str(node.tree / "h"), size=1, mtime=1)])
    await second.finish()
    with pytest.raises(ValueError, match="unforeseen"):
        await first.finish()
    first.close()
    second.close()
    assert set(node.rows()) == {"f", "h"}


def test_a_directory_that_goes_while_it_is_asked_for_its_disk_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "going").mkdir()
    device = filesystem_id(bytes(tmp_path), tmp_path.stat().st_dev)
    real = os.statvfs

    def statvfs(path: bytes) -> os.statvfs_result:
        if path.endswith(b"going"):
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert disk.is_gone(f"{tmp_path}/going/file", device)


@pytest.mark.logs("the status cannot be written: the disk is full")
async def test_a_status_that_could_not_be_written_is_written_later(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing changes meanwhile: others would go on believing what stood there before."""
    monkeypatch.setattr(agent_module, "STATUS_EVERY_S", 0.0)
    monkeypatch.setattr(agent_module, "_STATUS_LOOK_S", 0.01)
    identifier = f"status::{node.core.node_id}"
    real, refused = node.core.store.update, asyncio.Event()

    async def update(name: str, change: Any) -> Any:
        if name == identifier and not refused.is_set():
            refused.set()
            raise Unavailable("the disk is full")
        return await real(name, change)

    monkeypatch.setattr(node.core.store, "update", update)
    monkeypatch.setattr(Agent, "status", lambda _: {**UNCHANGING, "_id": identifier, "node_id": node.core.node_id})
    await node.start()
    await node.settled(lambda: node.core.store.reader.get(identifier) is not None)
    assert refused.is_set()
