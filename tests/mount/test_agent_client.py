"""Protects the mount's side of the agent's socket: pings, descriptors, errors, broken connections, time limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import PluginError
from mosaicfs_vfs.fuse.agent import AgentClient
from mosaicfs_vfs.fuse.remote import Stale

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
    await until(lambda: len(agent.received) == 2)
    assert agent.received == [{"id": 0, "mounts": ["/mnt/tree"]}, {"alive": True}]
    client.changed.clear()
    agent.send({"seq": 2})
    await asyncio.wait_for(client.changed.wait(), 5)


async def test_every_agent_is_told_what_the_mount_shows(agent: Agent, client: AgentClient) -> None:
    client.shown(7)
    await until(lambda: agent.received[-1:] == [{"shown": 7}])
    agent.received.clear()
    agent.hang_up()
    await until(lambda: {"shown": 7} in agent.received)
    assert "mounts" in agent.received[0]


async def test_every_agent_is_told_which_plugins_failed_here(agent: Agent, client: AgentClient) -> None:
    error = PluginError("plugin odd: step op odd failed", "odd", "step op odd")
    await asyncio.to_thread(client.failed, error)
    message = f"{error.message} (seen by the mount at /mnt/tree)"
    told = {"failed": {"plugin": "odd", "hook": "step op odd", "message": message, "lasting": False}}
    await until(lambda: agent.received[-1:] == [told])
    agent.received.clear()
    agent.hang_up()
    await until(lambda: told in agent.received)


async def test_a_file_by_descriptor_with_a_missing_range_fetched(
    agent: Agent, client: AgentClient, tmp_path: Path
) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)

    def answer(message: dict[str, Any]) -> tuple[dict[str, Any] | None, int | None]:
        if "open" in message:
            return {"size": 10, "handle": 3, "version": "v", "present": [[0, 4]], "descriptor": True}, descriptor
        if "fetch" in message:
            return {"size": 10, "present": [[0, 4], [6, 10]]}, None
        return None, None

    agent.answer = answer
    file = await client.open("node.uuid")
    os.close(descriptor)
    assert await file.read(0, 4) == b"0123"
    assert not any("fetch" in message for message in agent.received)
    assert await file.read(7, 100) == b"789"
    assert agent.received[-1] == {"id": 2, "fetch": 3, "offset": 7, "length": 3}
    assert await file.read(10, 5) == b""
    with pytest.raises(OSError, match="did not make the range present"):
        await file.read(4, 2)
    file.close()
    await until(lambda: agent.received[-1] == {"close": 3})


async def test_a_descriptor_that_comes_later_and_bytes_that_are_lent(
    agent: Agent, client: AgentClient, tmp_path: Path
) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    answers: list[tuple[dict[str, Any], int | None]] = [
        ({"size": 10, "handle": 3, "present": []}, None),
        ({"size": 10, "lent": 4, "descriptor": True}, descriptor),
        ({"size": 10, "present": [[0, 10]], "descriptor": True}, descriptor),
    ]
    agent.answer = lambda message: answers.pop(0) if "id" in message else (None, None)
    file = await client.open("node.uuid")
    before = len(os.listdir("/proc/self/fd"))
    assert await file.read(5, 4) == b"0123", "what is lent stands at the beginning of its descriptor"
    assert len(os.listdir("/proc/self/fd")) == before
    assert await file.read(5, 4) == b"5678"
    assert await file.read(0, 10) == b"0123456789"
    file.close()
    os.close(descriptor)


async def test_a_file_that_others_write_to_is_asked_for_again(
    agent: Agent, client: AgentClient, tmp_path: Path
) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    fetches = 0

    def answer(message: dict[str, Any]) -> tuple[dict[str, Any] | None, int | None]:
        nonlocal fetches
        told: dict[str, Any] = {"size": 10, "present": [[0, 10]], "stamp": os.fstat(descriptor).st_ctime_ns}
        if "open" in message:
            return {**told, "handle": 1, "descriptor": True}, descriptor
        if "fetch" in message:
            fetches += 1
            path.write_bytes(b"0123456789")  # mended
            return {**told, "stamp": os.fstat(descriptor).st_ctime_ns}, None
        return None, None

    agent.answer = answer
    file = await client.open("node.uuid")
    assert await file.read(0, 10) == b"0123456789"
    assert fetches == 0
    path.write_bytes(b"0123x56789")
    assert await file.read(0, 10) == b"0123456789"
    assert fetches == 1
    file.close()
    os.close(descriptor)


class Disturbed:
    """A data file of which an agent tells; somebody writes ``wrong`` to it at the moment of each read of the mount,
    ``times`` over. Every ``fetch`` is noted and mends it."""

    def __init__(self, path: Path, agent: Agent, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.right, self.wrong = b"0123456789", b"0123x56789"
        path.write_bytes(self.right)
        self.descriptor = os.open(path, os.O_RDONLY)
        self.times = 0
        self.fetches: list[dict[str, Any]] = []
        self.restless = False
        self._pread = os.pread
        agent.answer = self._answer
        patch.setattr(os, "pread", self._read)

    def _read(self, descriptor: int, length: int, offset: int) -> bytes:
        if self.times:
            self.times -= 1
            self._write(self.wrong)
        return self._pread(descriptor, length, offset)

    def _write(self, data: bytes) -> None:
        """At a change time of its own, however coarse the clock is."""
        before = os.fstat(self.descriptor).st_ctime_ns
        while os.fstat(self.descriptor).st_ctime_ns == before:
            self.path.write_bytes(data)

    def _answer(self, message: dict[str, Any]) -> tuple[dict[str, Any] | None, int | None]:
        if "fetch" in message:
            self.fetches.append(message)
            self._write(self.right)
        stamp = 1 if self.restless else os.fstat(self.descriptor).st_ctime_ns
        told = {"size": 10, "present": [[0, 10]], "stamp": stamp}
        if "open" in message:
            return {**told, "handle": 1, "version": "v", "descriptor": True}, self.descriptor
        return {**told, "sums": [[0, zlib.crc32(self.right)]]} if "fetch" in message else None, None


@pytest.fixture
def disturbed(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disturbed]:
    made = Disturbed(tmp_path / "bytes", agent, monkeypatch)
    yield made
    os.close(made.descriptor)


async def test_what_others_write_while_it_is_read_is_not_handed_out(client: AgentClient, disturbed: Disturbed) -> None:
    file = await client.open("node.uuid")
    disturbed.times = 1
    assert await file.read(0, 10) == disturbed.right
    assert len(disturbed.fetches) == 1
    assert await file.read(0, 10) == disturbed.right
    assert len(disturbed.fetches) == 1, "nobody wrote"
    file.close()


async def test_a_file_that_is_written_to_all_the_time_is_read_by_its_checksums(
    client: AgentClient, disturbed: Disturbed
) -> None:
    """As while the agent downloads it: one answer is enough, and a block that was checked is not read again."""
    disturbed.restless = True
    file = await client.open("node.uuid")
    assert await file.read(0, 10) == disturbed.right
    disturbed.times = 10
    assert await file.read(2, 5) == disturbed.right[2:7]
    assert [message.get("doubt") for message in disturbed.fetches] == [None, None]
    file.close()


async def test_damage_that_the_agent_does_not_see_is_told_to_it(client: AgentClient, disturbed: Disturbed) -> None:
    disturbed.restless = True
    file = await client.open("node.uuid")
    disturbed.times = 3  # once for the range in vain before the question, and for range and block after it
    assert await file.read(0, 10) == disturbed.right
    assert [message.get("doubt") for message in disturbed.fetches] == [None, True]
    file.close()


async def test_a_file_that_is_damaged_at_every_moment_is_an_error_in_the_end(
    client: AgentClient, disturbed: Disturbed
) -> None:
    file = await client.open("node.uuid")
    disturbed.times = 1000
    with pytest.raises(OSError, match="did not make the range present"):
        await file.read(0, 10)
    assert 1 < len(disturbed.fetches) < 10
    file.close()


async def test_a_handle_is_opened_again_after_the_agent_was_away(
    agent: Agent, client: AgentClient, tmp_path: Path
) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"0123456789")
    version = "v1"

    def answer(message: dict[str, Any]) -> tuple[dict[str, Any] | None, int | None]:
        if "open" in message:
            return {"size": 10, "handle": 1, "version": version, "present": []}, None
        if "fetch" in message:
            descriptor = os.open(path, os.O_RDONLY)
            opened.append(descriptor)
            return {"size": 10, "present": [[0, 10]], "descriptor": True}, descriptor
        return None, None

    opened: list[int] = []
    agent.answer = answer
    same, other = await client.open("node.uuid"), await client.open("node.uuid")
    agent.hang_up()
    await until(lambda: not client.connected)
    with pytest.raises(OSError, match="not running"):
        await same.read(0, 4)
    await until(lambda: client.connected)
    assert await same.read(0, 4) == b"0123"
    version = "v2"
    with pytest.raises(Stale):
        await other.read(0, 4)
    assert await same.read(0, 4) == b"0123"
    for file in (same, other):
        file.close()
    for descriptor in opened:
        os.close(descriptor)


async def test_progress_gives_a_request_more_time(
    agent: Agent, client: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaicfs_vfs.fuse.agent._ANSWER_S", 0.3)

    async def slowly(number: int) -> None:
        for _ in range(8):
            await asyncio.sleep(0.1)
            agent.send({"id": number, "progress": True})
        agent.send({"id": number, "size": 10, "handle": 1})

    sending: list[asyncio.Task[None]] = []

    def answer(message: dict[str, Any]) -> tuple[dict[str, Any] | None, int | None]:
        if "open" in message:
            sending.append(asyncio.create_task(slowly(message["id"])))
        return None, None

    agent.answer = answer
    file = await client.open("node.uuid")
    assert file.size == 10
    agent.answer = lambda _: (None, None)
    with pytest.raises(TimeoutError):
        await file.read(0, 1)


@pytest.mark.parametrize(("code", "kind"), [("not_found", FileNotFoundError), ("unavailable", OSError)])
async def test_the_agents_refusal(agent: Agent, client: AgentClient, code: str, kind: type[OSError]) -> None:
    agent.answer = lambda message: ({"error": {"code": code, "message": "no"}} if "open" in message else None, None)
    with pytest.raises(kind, match="no"):
        await client.open("node.uuid")


async def test_a_broken_connection_fails_what_waits_and_is_made_again(agent: Agent, client: AgentClient) -> None:
    opening = asyncio.create_task(client.open("node.uuid"))
    await until(lambda: any("open" in message for message in agent.received))
    client.changed.clear()
    agent.received.clear()
    agent.hang_up()
    with pytest.raises(OSError, match="broke"):
        await opening
    assert client.changed.is_set()
    await until(lambda: client.connected and agent.received)
    assert agent.received[0] == {"id": 0, "mounts": ["/mnt/tree"]}


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
