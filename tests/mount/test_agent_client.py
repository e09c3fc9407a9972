"""Protects the mount's side of the agent's socket: pings, descriptors, errors, broken connections, time limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_vfs.fuse.agent import AgentClient

Answer = Callable[[dict[str, Any]], tuple[dict[str, Any] | None, int | None]]


class Agent:
    """The other end: greets, notes what it is sent and answers by ``answer``."""

    def __init__(self, path: Path) -> None:
        self.received: list[dict[str, Any]] = []
        self.answer: Answer = lambda _: (None, None)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.setblocking(False)
        self._clients: list[socket.socket] = []
        self._serving = asyncio.create_task(self._serve())

    def send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        data = json.dumps(message).encode() + b"\n"
        socket.send_fds(self._clients[-1], [data], [] if descriptor is None else [descriptor])

    def hang_up(self) -> None:
        self._clients[-1].shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        for client in self._clients:
            client.close()
        self._listener.close()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            client.setblocking(False)
            self._clients.append(client)
            self.send({"hello": {"node_id": "n", "version": 1}, "seq": 1})
            with contextlib.suppress(OSError):
                while data := await loop.sock_recv(client, 65536):
                    for line in data.splitlines():
                        self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        self.received.append(message)
        answer, descriptor = self.answer(message)
        if answer is not None:
            self.send({"id": message["id"], **answer}, descriptor)


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    made = Agent(tmp_path / "agent.sock")
    yield made
    await made.close()


@pytest.fixture
async def client(agent: Agent, tmp_path: Path) -> AsyncIterator[AgentClient]:
    made = AgentClient(tmp_path / "agent.sock", Path("/mnt/tree"))
    running = asyncio.create_task(made.run())
    await asyncio.wait_for(made.changed.wait(), 5)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a condition over there, which tells nobody
            await asyncio.sleep(0.005)


async def test_it_registers_its_mount_point_and_hears_of_changes(agent: Agent, client: AgentClient) -> None:
    await until(lambda: agent.received)
    assert agent.received == [{"mounts": ["/mnt/tree"]}]
    client.changed.clear()
    agent.send({"seq": 2})
    await asyncio.wait_for(client.changed.wait(), 5)


async def test_a_file_by_descriptor_with_a_missing_range_fetched(
    agent: Agent, client: AgentClient, tmp_path: Path
) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)

    def answer(message: dict[str, Any]) -> tuple[dict[str, Any] | None, int | None]:
        if "open" in message:
            return {"size": 10, "present": [[0, 4]]}, descriptor
        if "fetch" in message:
            return {"present": [[0, 4], [6, 10]]}, None
        return None, None

    agent.answer = answer
    file = await client.open("node.uuid")
    os.close(descriptor)
    assert await file.read(0, 4) == b"0123"
    assert not any("fetch" in message for message in agent.received)
    assert await file.read(7, 100) == b"789"
    assert agent.received[-1] == {"id": 2, "fetch": "node.uuid", "offset": 7, "length": 3}
    assert await file.read(10, 5) == b""
    with pytest.raises(OSError, match="did not make the range present"):
        await file.read(4, 2)
    file.close()


@pytest.mark.parametrize(("code", "kind"), [("not_found", FileNotFoundError), ("unavailable", OSError)])
async def test_the_agents_refusal(agent: Agent, client: AgentClient, code: str, kind: type[OSError]) -> None:
    agent.answer = lambda message: ({"error": {"code": code, "message": "no"}} if "open" in message else None, None)
    with pytest.raises(kind, match="no"):
        await client.open("node.uuid")


async def test_a_broken_connection_fails_what_waits_and_is_made_again(agent: Agent, client: AgentClient) -> None:
    opening = asyncio.create_task(client.open("node.uuid"))
    await until(lambda: any("open" in message for message in agent.received))
    client.changed.clear()
    agent.hang_up()
    with pytest.raises(OSError, match="broke"):
        await opening
    assert client.changed.is_set()
    await until(lambda: client.connected and len(agent.received) == 3)
    assert agent.received[-1] == {"mounts": ["/mnt/tree"]}


async def test_nobody_there(tmp_path: Path) -> None:
    client = AgentClient(tmp_path / "nothing.sock", Path("/mnt"))
    running = asyncio.create_task(client.run())
    await asyncio.sleep(0)
    assert not client.connected
    with pytest.raises(OSError, match="not running"):
        await client.open("node.uuid")
    client.reindex("node.uuid")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
