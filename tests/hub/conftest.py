"""A server in the place of CouchDB, that can be killed and started again, and control planes that share it."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import aiohttp
import pytest

HERE = Path(__file__).parent / "server"
ADMIN = ("admin", "correct horse")
WRITER = ("writer", "battery staple")


class Server:
    """The server's process. ``base`` is its address, the same whenever it starts; what is in it goes with the
    process."""

    def __init__(self, modules: Path) -> None:
        self._environment = {**os.environ, "NODE_PATH": str(modules)}
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            "node",
            "--no-deprecation",
            str(HERE / "server.js"),
            str(self.port),
            stdin=pipe,
            stdout=pipe,
            env=self._environment,
        )
        assert self._process.stdout is not None
        self.port = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        self._process = None

    async def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()

    async def ask(self, method: str, path: str, body: Any = None, who: tuple[str, str] = ADMIN) -> Any:
        """The decoded answer of a request that must work."""
        headers = {"Authorization": aiohttp.encode_basic_auth(*who)}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.base + path, json=body) as answer,
        ):
            assert answer.status < 300, (answer.status, await answer.text())
            return await answer.json(content_type=None)

    async def leaves(self, name: str) -> dict[str, set[str]]:
        """All leaves of a database, design documents aside."""
        answer = await self.ask("GET", f"/{name}/_changes?style=all_docs")
        found = {row["id"]: {one["rev"] for one in row["changes"]} for row in answer["results"]}
        return {identifier: revs for identifier, revs in found.items() if not identifier.startswith("_design/")}


class Wire:
    """A way to the server that can be cut and healed, with TLS at its near end where there is a ``context``."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self._far, self._context = port, context
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.passed = 0
        """Bytes that came back from the server."""
        self.cut_after: int | None = None
        """Cut, once, when so many bytes have come back."""
        self.port = 0

    async def heal(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End all connections and take no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
            back = asyncio.create_task(self._back(far_reader, writer))
            try:
                while data := await reader.read(65536):
                    far_writer.write(data)
                    await far_writer.drain()
            finally:
                back.cancel()
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # which is what a cut is for
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            self.passed += len(data)
            if self.cut_after is not None and self.passed > self.cut_after:
                self.cut_after = None
                writer.transport.abort()
                return
            writer.write(data)
            await writer.drain()


MakeWire = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def make_wire(server: Server) -> AsyncIterator[MakeWire]:
    """Lays wires to the server, with TLS where a context is given."""
    made: list[Wire] = []

    async def make(context: ssl.SSLContext | None = None) -> Wire:
        made.append(Wire(server.port, context))
        await made[-1].heal()
        return made[-1]

    yield make
    for one in made:
        await one.cut()


@pytest.fixture
async def wire(make_wire: MakeWire) -> Wire:
    return await make_wire()


@pytest.fixture(scope="session")
def hub_modules(node_packages: Callable[[Path], Path]) -> Path:
    return node_packages(HERE)


@pytest.fixture
async def server(hub_modules: Path) -> AsyncIterator[Server]:
    made = Server(hub_modules)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for the test's database."""
    return "db-" + md5(request.node.nodeid.encode()).hexdigest()[:12]


Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[None]]


@pytest.fixture
def until() -> Until:
    """Wait for what another program does."""

    async def wait(condition: Callable[[], Awaitable[Any]]) -> None:
        async with asyncio.timeout(30):
            while not await condition():  # noqa: ASYNC110 - the other side is another program
                await asyncio.sleep(0.02)

    return wait
