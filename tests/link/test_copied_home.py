"""Protects a node whose home was copied: one of the two is the node, and the other harms nothing and is told why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent.link import Link
from mosaicfs_core.agent.replication import Replication
from mosaicfs_core.backoff import Backoff
from mosaicfs_core.home import Home
from mosaicfs_core.security import presence
from mosaicfs_core.security.presence import Process
from mosaicfs_core.store import Store
from mosaicfs_core.supervision import end_tasks
from mosaicfs_core.testing.store import file_document

NODE = "node-laptop-aaaa"
FIRST, SECOND = Process(name="first"), Process(name="second")
MOVED = Process(name="moved", moved=True)


async def never(_: dict[str, Any]) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def linked(plane: Any, process: Process, **methods: Any) -> AsyncIterator[Link]:
    connect = plane.connect(NODE, process.name, moved=process.moved)
    link = Link(connect, methods, backoff=Backoff(first_s=0.01, longest_s=0.05))
    running = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        await end_tasks(running)


async def beat(plane: Any, process: Process) -> tuple[int, str]:
    """A heartbeat of a process: the status of the answer, and what is wrong."""
    requests = plane.requests(NODE, process)
    headers = {"Content-Type": "application/json"}
    try:
        async with requests.request("POST", "/api/agent/heartbeat", body=b"{}", headers=headers) as answer:
            return answer.status, (await answer.json()).get("error", {}).get("message", "")
    finally:
        await requests.close()


@pytest.mark.logs("two machines run as node-laptop-aaaa")
async def test_the_copy_neither_replicates_nor_counts_and_is_told_what_to_do(
    control_plane: Any, eventually: Any, tmp_path: Path
) -> None:
    far: Store = control_plane.store
    requests = [control_plane.requests(NODE, one) for one in (FIRST, SECOND)]
    async with await Store.open(tmp_path / "first.db") as here, await Store.open(tmp_path / "copy.db") as copy:
        original, second = (Replication(*of) for of in zip((here, copy), (NODE, NODE), requests, strict=True))
        async with linked(control_plane, FIRST) as link:
            await eventually(lambda: link.state.connected)
            tasks = [asyncio.create_task(original.run()), asyncio.create_task(second.run())]
            await here.put(file_document("/original", node_id=NODE))
            await copy.put(file_document("/copy", node_id=NODE))
            await eventually(lambda: far.get(file_document("/original", node_id=NODE)["_id"]))
            told = await eventually(lambda: second.subsystem()["detail"])
            assert "another machine runs as this node" in told
            assert "Stop one of them" in told
            assert original.subsystem()["detail"] == ""
            assert await far.get(file_document("/copy", node_id=NODE)["_id"]) is None
            status, message = await beat(control_plane, SECOND)
            assert (status, "it is at 127.0.0.1" in message, "mosaicfs agent init" in message) == (409, True, True)
            assert (await beat(control_plane, FIRST))[0] == 200
            # It may enrol all the same: that is how it becomes a machine of its own.
            async with requests[1].request("GET", "/api/auth/whoami") as answer:
                assert answer.status == 200
        # Once the original is gone for good, what was its copy is the machine.
        second.reconnected()
        await eventually(lambda: far.get(file_document("/copy", node_id=NODE)["_id"]))
        await end_tasks(*tasks)
    for one in requests:
        await one.close()


@pytest.mark.logs("two machines run as node-laptop-aaaa")
async def test_a_home_where_it_was_enrolled_goes_before_its_copy(control_plane: Any, eventually: Any) -> None:
    """The copy was there first, while the laptop slept: that locks nobody out."""
    async with linked(control_plane, MOVED) as copy:
        await eventually(lambda: copy.state.connected)
        assert (await beat(control_plane, MOVED))[0] == 200
        assert (await beat(control_plane, FIRST))[0] == 200
        async with linked(control_plane, FIRST) as original:
            await eventually(lambda: original.state.connected)
            await eventually(lambda: copy.state.problem and "another machine" in copy.state.problem)
            assert [(await beat(control_plane, one))[0] for one in (FIRST, MOVED)] == [200, 409]
            assert original.state.connected
        await eventually(lambda: copy.state.connected)


async def test_a_restored_home_is_not_kept_out_by_the_machine_that_died(
    control_plane: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection may hang for a minute; a home from a backup, at another place, is the machine nevertheless."""
    monkeypatch.setattr("mosaicfs_core.server.link.links.ALIVE_S", 0.05)
    async with linked(control_plane, FIRST, ping=never) as dead:
        await eventually(lambda: dead.state.connected)
        assert (await beat(control_plane, MOVED))[0] == 200
        async with linked(control_plane, MOVED) as restored:
            await eventually(lambda: restored.state.connected)
            assert (await beat(control_plane, MOVED))[0] == 200


def test_how_a_process_is_named() -> None:
    for process in (Process.new(), Process.new(moved=True)):
        assert presence.parse(process.header) == process
    assert Process.new() != Process.new()
    for header in ("", ";moved", "a b", "x" * 65, "a;moved;moved", "a\n", "\u00e9"):
        assert presence.parse(header) == presence.UNTOLD


def test_a_copy_lies_at_another_place(tmp_path: Path) -> None:
    one, other = Home(tmp_path / "one").prepare(), Home(tmp_path / "other").prepare()
    (tmp_path / "same").symlink_to(tmp_path / "one")
    assert presence.place_of(one) == presence.place_of(Home(tmp_path / "same"))
    assert presence.place_of(one) != presence.place_of(other)
