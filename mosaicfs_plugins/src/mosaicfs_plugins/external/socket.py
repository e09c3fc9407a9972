"""Plugins of the type ``socket``: programs that stay and listen; we connect to them, again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from mosaicfs_core.hooks import (
    CrawlRequest,
    FileEvent,
    FileOperation,
    HealthReport,
    KindContext,
    Program,
    QueryRequest,
    ResultEnvelope,
    Unavailable,
    hooks_asked,
)
from mosaicfs_core.hooks.wire import REQUESTS, WINDOW, BrokenWire, Channel, connect, hello_of
from mosaicfs_plugins.external.programs import SOCKET_SUFFIX, find_socket, names_in

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
_STABLE_S: Final = 60.0


class SocketKind:
    """Programs that listen in the directory of sockets."""

    name = "socket"

    def programs(self, plugin_dirs: Sequence[Path], socket_dir: Path) -> Sequence[Program]:
        """Every socket that lies there."""
        return [
            Program(name=name, plugin_type=self.name, problem=find_socket(name, socket_dir).problem)
            for name in names_in(socket_dir, SOCKET_SUFFIX)
        ]

    def run(self, context: KindContext) -> SocketPlugin:
        """An instance of the program that the context names."""
        return SocketPlugin(context)


class SocketPlugin:
    """A ``RunningPlugin`` at the other end of a socket. What it did not acknowledge when the connection ended is given
    back without an attempt, and comes again in the order of sequence once it is there."""

    def __init__(self, context: KindContext) -> None:
        self._context = context
        self._name = context.plugin.instance
        self._channel: Channel | None = None
        self._problem: str | None = "it is being connected to"
        self._living: asyncio.Task[None] | None = None

    @property
    def hooks(self) -> frozenset[str]:
        """What its document asks for, and what it says itself that it answers."""
        hello = self._channel.hello if self._channel is not None else None
        said = {REQUESTS[name] for name in hello.answers if name in REQUESTS} if hello is not None else set[str]()
        return hooks_asked(self._context.document) | said

    @property
    def problem(self) -> str | None:
        """Why it is not connected."""
        return self._problem

    @property
    def window(self) -> int | None:
        """What may be unacknowledged."""
        return WINDOW

    async def start(self) -> None:
        """Connect, and again whenever the connection ends."""
        self._living = asyncio.create_task(self._live(), name=f"connection to {self._name}")

    async def stop(self) -> None:
        """Disconnect."""
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)

    def configure(self) -> None:
        """Tell it of settings and limits."""
        if self._channel is not None:
            self._channel.configure(hello_of(self._context))

    async def file_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """Send it the event."""
        return await self._connected().file_event(event)

    async def query(self, request: QueryRequest) -> ResultEnvelope:
        """Ask it."""
        return await self._connected().query(request)

    async def health(self) -> HealthReport:
        """Ask how it is."""
        return await self._connected().health()

    async def crawl(self, request: CrawlRequest) -> AsyncGenerator[Sequence[FileOperation], None]:
        """Have it crawl."""
        async with aclosing(self._connected().crawl(request)) as parts:
            async for part in parts:
                yield part

    async def watch(self, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        """Have it watch."""
        await self._connected().watch(emit)

    async def run(self) -> None:
        """Have it work."""
        await self._connected().work()

    def _connected(self) -> Channel:
        if self._channel is None:
            raise Unavailable(f"plugin {self._name} is not connected: {self._problem}")
        return self._channel

    async def _live(self) -> None:
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_S
        while True:
            begun = loop.time()
            try:
                reason = await self._once()
            except Exception as error:
                # Nobody else would connect again.
                logger.exception(
                    "the connection to %s", self._name, extra={"plugin": self._name, "operation": "socket"}
                )
                reason = f"{type(error).__name__}: {error}"
            if loop.time() - begun > _STABLE_S:
                pause = FIRST_PAUSE_S
            self._say(reason)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _once(self) -> str:
        """One connection; why there is none any more."""
        found = find_socket(self._context.package, self._context.socket_dir)
        if found.path is None:
            return found.problem or "nothing listens"
        try:
            lines = await connect(found.path)
        except OSError as error:
            return f"{found.path} cannot be connected to: {error.strerror}"
        channel = Channel(lines, self._context)
        channel.greet(hello_of(self._context))
        self._channel = channel
        self._say(None)
        try:
            await channel.run()
        except BrokenWire as error:
            return error.message
        finally:
            self._channel = None
        return "it closed the connection"

    def _say(self, problem: str | None) -> None:
        if problem != self._problem:
            self._problem = problem
            self._context.changed()
