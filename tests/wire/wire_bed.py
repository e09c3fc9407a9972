"""Both sides of the wire: a served package, a program that speaks for itself, and a host's channel to either."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mosaicfs_core.errors import NotFound, PluginError
from mosaicfs_core.hooks import HOOK_API, FileEvent, FileQuery, FileRecord, Notice, Page
from mosaicfs_core.hooks.wire import Channel, HostHello, PluginHello, connect, serve
from mosaicfs_core.hooks.wire.lines import LINE_LIMIT

FILE = FileRecord(
    file_id="node-a.u", node_id="node-a", export_path="/a b.pdf", name="a b.pdf", size=3, mtime=1_000_001, inode=1001
)


def event(sequence: int = 1, name: Any = "file.added") -> FileEvent:
    return FileEvent(
        event=name,
        sequence=sequence,
        timestamp="2026-02-16T09:22:00.000000Z",
        node_id="node-a",
        file=FILE,
        local_path="/a b.pdf",
    )


class HostContext:
    """The context that the host's side has of the instance: what a plugin calls ends here."""

    instance, node_id = "tester", "node-a"

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.closed = asyncio.Event()

    async def find_files(self, query: FileQuery) -> Page[FileRecord]:
        self.asked.append(query)
        return Page(items=(FILE,), total=1, offset=0, limit=query.limit)

    async def read_document(self, document_id: str) -> dict[str, Any] | None:
        raise NotFound(f"{document_id} does not exist")

    async def open_file(self, file: FileRecord, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        try:
            for number in range(20):
                yield bytes([number, 255, 10]) * 1000
        finally:
            self.closed.set()


class HostKind:
    """A ``KindContext``."""

    package = "tester"
    plugin_dirs: Sequence[Path] = ()
    socket_dir = Path("/nowhere")

    def __init__(self) -> None:
        self.plugin: Any = HostContext()
        self.timeout_s = 30.0
        self.notices: list[Notice] = []
        self.changes = 0

    async def notify(self, notice: Notice) -> None:
        self.notices.append(notice)

    def changed(self) -> None:
        self.changes += 1


class Package:
    """A ``Served`` whose hooks are functions given by a test."""

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        self._hooks = {f"mosaicfs_{name}": function for name, function in hooks.items()}
        self.hello = PluginHello(hook_api=HOOK_API, name="tester", version="1")

    async def call(self, hook: str, timeout: float | None, **arguments: Any) -> Any:
        try:
            async with asyncio.timeout(timeout):
                return await self._hooks[hook](**arguments)
        except (ValueError, TimeoutError) as error:
            raise PluginError(f"plugin tester: {hook} failed: {error}", "tester", hook) from error

    def iterate(self, hook: str, **arguments: Any) -> AsyncGenerator[Any, None]:
        items: AsyncGenerator[Any, None] = self._hooks[hook](**arguments)
        return items


HELLO = HostHello(hook_api=HOOK_API, node_id="node-a", instance="tester", package="tester", config={"n": 1}, workers=2)


@asynccontextmanager
async def connected(tmp_path: Path, package: Package) -> AsyncIterator[tuple[Channel, HostKind]]:
    """A host's channel to a served package."""
    stop, up = asyncio.Event(), asyncio.Event()
    path = tmp_path / "s.sock"
    serving = asyncio.create_task(serve(path, package, up.set, stop))
    await up.wait()
    assert path.stat().st_mode & 0o777 == 0o600
    kind = HostKind()
    channel = Channel(await connect(path), kind)
    channel.greet(HELLO)
    running = asyncio.create_task(channel.run())
    try:
        yield channel, kind
    finally:
        stop.set()
        await serving
        await running
        assert not path.exists()


Script = Callable[[asyncio.StreamReader, Callable[[Any], None]], Awaitable[None]]


@asynccontextmanager
async def scripted(tmp_path: Path, script: Script) -> AsyncIterator[tuple[Channel, HostKind, asyncio.Task[None]]]:
    """A host's channel to a program that speaks for itself: ``script(reader, say)``."""
    done = asyncio.Event()

    async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(message: Any) -> None:
            writer.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")

        try:
            await script(reader, say)
            await writer.drain()
        except ConnectionError:
            pass  # the host had enough
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_unix_server(program, tmp_path / "s.sock", limit=LINE_LIMIT)
    kind = HostKind()
    channel = Channel(await connect(tmp_path / "s.sock"), kind)
    channel.greet(HELLO)
    running = asyncio.create_task(channel.run())
    try:
        yield channel, kind, running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await done.wait()
        server.close()


async def said(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next line of the host."""
    return dict(json.loads(await reader.readline()))
