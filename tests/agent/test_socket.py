"""Protects the agent's socket: pings after commits, descriptors by SCM_RIGHTS, mounts that crawls keep out of, and no
harm from clients that speak nonsense."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import handles
from mosaicfs_core.content import ByteSource

Write = Callable[[Path, Mapping[str, str]], None]


class Client:
    """A blocking client, used through a thread."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._buffer = b""
        self.descriptors: list[int] = []

    async def send(self, message: Any) -> None:
        data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
        await asyncio.to_thread(self._socket.sendall, data)

    async def line(self) -> dict[str, Any] | None:
        return await asyncio.to_thread(self._line)

    def _line(self) -> dict[str, Any] | None:
        while b"\n" not in self._buffer:
            data, descriptors, _, _ = socket.recv_fds(self._socket, 65536, 4)
            self.descriptors += descriptors
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))

    async def answer(self, number: int) -> dict[str, Any]:
        while True:
            line = await self.line()
            assert line is not None, "the agent hung up"
            if line.get("id") == number:
                return line

    def close(self) -> None:
        self._socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


@pytest.fixture
async def started(node: Any, write: Write) -> Any:
    write(node.tree, {"f": "the bytes"})
    await node.start()
    return node


@asynccontextmanager
async def connected(node: Any) -> AsyncIterator[Client]:
    client = await asyncio.to_thread(Client, node.core.home.agent_socket)
    try:
        hello = await client.line()
        assert hello is not None
        assert hello["hello"]["node_id"] == node.core.node_id
        assert isinstance(hello["seq"], int)
        yield client
    finally:
        client.close()


async def test_it_is_for_its_owner_alone(started: Any) -> None:
    assert stat.S_IMODE(started.core.home.agent_socket.stat().st_mode) == 0o600


async def test_a_commit_is_told(started: Any, write: Write) -> None:
    async with connected(started) as client:
        write(started.tree, {"g": "more"})
        await started.crawl()
        line = await client.line()
        assert line is not None
        assert line["seq"] > 0


async def test_a_file_is_opened_and_its_descriptor_travels(started: Any) -> None:
    file_id = started.rows()["f"].file_id
    async with connected(started) as client:
        await client.send({"id": 7, "open": file_id})
        answer = await client.answer(7)
        assert (answer["size"], answer["present"]) == (9, [[0, 9]])
        (descriptor,) = client.descriptors
        assert os.pread(descriptor, 100, 4) == b"bytes"
        await client.send({"id": 8, "fetch": answer["handle"], "offset": 0, "length": 4})
        assert (await client.answer(8))["present"] == [[0, 9]]
        assert len(client.descriptors) == 1
        await client.send({"close": answer["handle"]})
        await client.send({"id": 9, "fetch": answer["handle"], "offset": 0, "length": 4})
        assert (await client.answer(9))["error"]["code"] == "not_found"


async def test_what_cannot_be_opened_is_said(started: Any) -> None:
    file_id = started.rows()["f"].file_id
    async with connected(started) as client:
        for number, wanted, code in [
            (1, "node-x.00000000-0000-4000-8000-000000000000", "not_found"),
            (2, "nonsense", "not_found"),
            (3, 17, "invalid"),
        ]:
            await client.send({"id": number, "open": wanted})
            assert (await client.answer(number))["error"]["code"] == code
        (started.tree / "f").unlink()
        await client.send({"id": 4, "open": file_id})
        assert (await client.answer(4))["error"]["code"] == "not_found"


async def test_mounts_count_while_the_connection_lives(started: Any) -> None:
    async with connected(started) as client:
        await client.send({"mounts": ["/somewhere/mounted"]})
        await client.send({"id": 1, "open": "nonsense"})
        await client.answer(1)
        assert Path("/somewhere/mounted") in started.core.mounts
    await started.settled(lambda: not started.core.mounts)


async def test_a_mount_that_two_connections_name_is_known_until_both_are_gone(started: Any) -> None:
    async with connected(started) as staying:
        async with connected(started) as leaving:
            for number, client in enumerate((staying, leaving)):
                await client.send({"mounts": ["/both", f"/only/{number}"]})
                await client.send({"id": 1, "open": "nonsense"})
                await client.answer(1)
        await started.settled(lambda: Path("/only/1") not in started.core.mounts)
        assert started.core.mounts == {Path("/both"), Path("/only/0")}
    await started.settled(lambda: not started.core.mounts)


async def test_a_mount_that_tells_what_it_shows_is_waited_for_until_it_hangs_up(started: Any) -> None:
    async with connected(started) as client:
        await client.send({"shown": started.core.store.seq - 1})
        await client.send({"id": 1, "open": "nonsense"})
        await client.answer(1)
        waiting = asyncio.create_task(started.core.shown_by_mounts())
        await asyncio.sleep(0)
        assert not waiting.done()
        await client.send({"shown": started.core.store.seq})
        await asyncio.wait_for(waiting, 1)
        await client.send({"shown": 0})
        await client.send({"id": 2, "open": "nonsense"})
        await client.answer(2)
    await asyncio.wait_for(started.core.shown_by_mounts(), 1)


async def test_reindex_looks_at_the_file_again(started: Any) -> None:
    file_id = started.rows()["f"].file_id
    (started.tree / "f").write_text("changed behind the back")
    async with connected(started) as client:
        await client.send({"reindex": file_id})
        await started.settled(started.agrees)


@pytest.mark.logs("plugin odd: step op odd failed")
async def test_a_failure_in_the_mounts_process_is_among_the_agents(started: Any) -> None:
    failed = {"plugin": "odd", "hook": "step op odd", "message": "plugin odd: step op odd failed: it is odd"}
    async with connected(started) as client:
        await client.send({"failed": {**failed, "lasting": True}})
        for number in range(60):
            await client.send({"failed": {**failed, "message": f"{failed['message']}, again {number}"}})
        await client.send({"id": 1, "mounts": []})
        await client.answer(1)
        plugins = started.agent.status()["subsystems"]["plugins"]
        assert (plugins["status"], failed["message"] in plugins["detail"]) == ("degraded", True)
    told = [error["message"] for error in started.agent.status()["recent_errors"]]
    assert told[-1] == f"{failed['message']}, again 59"
    await started.settled(lambda: started.agent.status()["subsystems"]["plugins"]["status"] == "healthy")


async def test_a_mount_says_that_it_is_there_until_it_is_gone(started: Any) -> None:
    place, showing = Path("/mnt/here"), started.core.showing
    async with connected(started) as client:
        await client.send({"id": 1, "mounts": [str(place)]})
        await client.answer(1)
        assert showing.last_heard(place) is None
        await client.send({"alive": True})
        await client.send({"id": 2, "mounts": [str(place)]})
        await client.answer(2)
        assert showing.last_heard(place) is not None
    await started.settled(lambda: showing.last_heard(place) is None)


@pytest.mark.parametrize("nonsense", [b"no json\n", b"[1]\n", b"x" * (2 << 20)])
async def test_nonsense_ends_the_connection_and_nothing_else(started: Any, nonsense: bytes) -> None:
    async with connected(started) as client:
        try:
            await client.send(nonsense)
            while await client.line() is not None:
                pass
        except ConnectionError:
            pass
    async with connected(started) as client:
        await client.send({"id": 1, "open": started.rows()["f"].file_id})
        assert (await client.answer(1))["size"] == 9


async def test_a_long_home_path_works(make_node: Any, tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    async with make_node(home, tmp_path / "tree") as node:
        await node.start()
        assert node.core.home.agent_socket.exists()


class Slow(ByteSource):
    """Bytes that come in drops: ``received`` grows until all are there, and they can be kept nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tier, self.size, self.mtime, self.etag = "slow", 4, 0, '"1"'
        self.drops = asyncio.Queue[None]()

    async def read(self, offset: int, length: int, executor: Any = None) -> bytes:
        while self.received < 4:
            await self.drops.get()
            self.received += 1
        return b"slow"[offset : offset + length]


async def test_progress_is_told_and_bytes_that_are_kept_nowhere_are_lent(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "_PROGRESS_S", 0.02)
    source = Slow()

    class Anywhere:
        async def open(self, file: Any) -> ByteSource:
            return source

    started.core.content = Anywhere()
    async with connected(started) as client:
        await client.send({"id": 1, "open": started.rows()["f"].file_id})
        answer = await client.answer(1)
        assert (answer["size"], answer["present"], client.descriptors) == (4, [], [])
        await client.send({"id": 2, "fetch": answer["handle"], "offset": 1, "length": 3})
        for _ in range(3):
            source.drops.put_nowait(None)
            assert (await client.answer(2)).get("progress")
        source.drops.put_nowait(None)
        while (answer := await client.answer(2)).get("progress"):
            pass
        assert answer["lent"] == 3
        assert os.pread(client.descriptors[0], 100, 0) == b"low"


class Ended(ByteSource):
    """Work that is cancelled by others than who asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.tier, self.size, self.mtime, self.etag = "ended", 4, 0, '"1"'

    async def read(self, offset: int, length: int, executor: Any = None) -> bytes:
        raise asyncio.CancelledError


async def test_whoever_asked_is_answered_even_when_the_work_was_cancelled(started: Any) -> None:
    class Anywhere:
        async def open(self, file: Any) -> ByteSource:
            return Ended()

    started.core.content = Anywhere()
    async with connected(started) as client:
        await client.send({"id": 1, "open": started.rows()["f"].file_id})
        handle = (await client.answer(1))["handle"]
        for number in range(2, 5):
            await client.send({"id": number, "fetch": handle, "offset": 0, "length": 4})
            assert (await client.answer(number))["error"]["code"] == "unavailable"


class Failing(ByteSource):
    """A disk that fails beneath the work, or descriptors that have run out."""

    def __init__(self) -> None:
        super().__init__()
        self.tier, self.size, self.mtime, self.etag = "failing", 4, 0, '"1"'

    async def ensure(self, offset: int, length: int) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/cache/ab")


@pytest.mark.logs("^a request to the agent's socket failed: .*(No such file|Too many open files)")
async def test_whoever_asked_is_answered_when_the_disk_fails(started: Any) -> None:
    class Anywhere:
        opened = False

        async def open(self, file: Any) -> ByteSource:
            if self.opened:
                raise OSError(errno.EMFILE, "Too many open files")
            self.opened = True
            return Failing()

    started.core.content = Anywhere()
    async with connected(started) as client:
        wanted = {"open": started.rows()["f"].file_id}
        await client.send({"id": 1, **wanted})
        handle = (await client.answer(1))["handle"]
        await client.send({"id": 2, "fetch": handle, "offset": 0, "length": 4})
        error = (await client.answer(2))["error"]
        assert (error["code"], error["message"]) == (
            "unavailable",
            "the agent cannot do it now: No such file or directory",
        )
        await client.send({"id": 3, **wanted})
        assert (await client.answer(3))["error"]["message"].endswith("Too many open files")


def test_of_very_many_ranges_the_nearest_are_told() -> None:
    ranges = tuple((start, start + 1) for start in range(0, 100_000, 2))
    near = handles._nearest(ranges, 50_000)
    assert (50_000, 50_001) in near
    assert len(near) == 256
    assert handles._nearest(ranges, 0)[0] == (0, 1)
    assert handles._nearest(ranges[:5], 0) == ranges[:5]
