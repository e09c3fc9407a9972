"""The one outgoing connection to the control plane: kept up for as long as the agent runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from mosaicfs_core.backoff import Backoff
from mosaicfs_core.errors import MosaicError, Unavailable
from mosaicfs_core.link import BrokenLink, Method, Peer, converse
from mosaicfs_core.supervision import end_tasks

logger = logging.getLogger(__name__)

PATH: Final = "/api/agent/link"
PING_S: Final = 20.0
"""Seconds between questions whether the other side is there, and the longest wait for the answer."""
CONNECT_S: Final = 20.0
REFUSED: Final = 4000
"""Close codes from here on are this plus an HTTP status."""
STEADY_S: Final = 60.0
"""A connection that held for so long was no failure."""


class Socket(Protocol):
    """An open connection that carries messages."""

    async def send(self, text: str) -> None:
        """Send a message. Raises ``OSError`` when the connection is gone."""

    async def receive(self) -> str | bytes | None:
        """The next message, None once the connection has ended."""


Connect = Callable[[], AbstractAsyncContextManager[Socket]]
"""Opens a connection, or raises a ``MosaicError``."""


class LinkState(msgspec.Struct, frozen=True, kw_only=True):
    """How the connection is. ``since`` (seconds since 1970) is when it came about or was lost, ``problem`` why there is
    none, ``retry_s`` how long the present pause is."""

    connected: bool = False
    since: float | None = None
    problem: str | None = None
    retry_s: float | None = None


class WebSocket:
    """A ``Socket`` over aiohttp's."""

    def __init__(self, inner: aiohttp.ClientWebSocketResponse) -> None:
        self._inner = inner

    async def send(self, text: str) -> None:
        """As ``Socket.send``."""
        try:
            await self._inner.send_str(text)
        except (aiohttp.ClientError, ConnectionError, RuntimeError) as error:
            raise OSError(str(error) or type(error).__name__) from error

    async def receive(self) -> str | bytes | None:
        """As ``Socket.receive``; a frame that is too long or broken ends the connection. Raises ``BrokenLink`` with the
        reason when the other side gave one for closing it."""
        message = await self._inner.receive()
        if message.type == aiohttp.WSMsgType.CLOSE and int(message.data or 0) >= REFUSED:
            raise BrokenLink(str(message.extra or "the control plane refused the connection"))
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        return None


class Link:
    """Connects, tells ``up`` each time it has, answers by ``methods``, and connects again when the connection ends.

    ``up`` gets whether a connection was there before in this process's life. ``run`` goes on until cancelled.
    """

    def __init__(
        self,
        connect: Connect,
        methods: Mapping[str, Method],
        up: Callable[[bool], Awaitable[None]] | None = None,
        *,
        backoff: Backoff | None = None,
        ping_s: float = PING_S,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._methods = methods
        self._up = up
        self._backoff = backoff or Backoff()
        self._ping_s = ping_s
        self._pause = pause
        self._peer: Peer | None = None
        self._again = False
        self.state = LinkState()

    async def call(self, method: str, params: Mapping[str, Any] | None = None, timeout: float = 30.0) -> Any:
        """Ask the control plane. Raises its ``MosaicError``, or ``Unavailable`` when it is not connected."""
        if self._peer is None:
            raise Unavailable(self.state.problem or "the control plane is not connected")
        return await self._peer.call(method, params, timeout)

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        while True:
            begun = time.monotonic()
            try:
                problem = await self._once()
            except MosaicError as error:
                problem = error.message
            if time.monotonic() - begun >= STEADY_S:
                self._backoff.reset()
            retry = self._backoff.next()
            self._tell(problem, retry)
            await self._pause(retry)

    async def _once(self) -> str:
        """One connection, from its begin to its end; why it ended."""
        async with self._connect() as socket:
            peer = Peer(socket.send, self._methods, "control plane")
            conversation = asyncio.create_task(converse(peer, socket.receive, 3 * self._ping_s), name="link")
            beside: list[asyncio.Task[None]] = []
            try:
                try:
                    await peer.call("ping", {}, CONNECT_S)  # a proxy may have taken the connection for nobody
                except Unavailable:
                    if peer.broken.is_set():
                        return await conversation  # which waits for the other side's last word
                    raise
                self._peer, self.state = peer, LinkState(connected=True, since=time.time())
                logger.info("connected to the control plane", extra={"operation": "link"})
                beside += [
                    asyncio.create_task(self._ping(peer), name="link ping"),
                    asyncio.create_task(self._tell_up(peer, self._again), name="link up"),
                ]
                self._again = True
                return await conversation
            finally:
                self._peer = None
                await peer.close("the connection was closed")
                await end_tasks(conversation, *beside)

    async def _ping(self, peer: Peer) -> None:
        while True:
            await asyncio.sleep(self._ping_s)
            try:
                await peer.call("ping", {}, self._ping_s)
            except MosaicError as error:
                await peer.close(error.message)
                return

    async def _tell_up(self, peer: Peer, again: bool) -> None:
        if self._up is None:
            return
        try:
            await self._up(again)
        except MosaicError as error:
            if peer.broken.is_set():
                return  # the connection ended meanwhile, which is told as such; the next one does it again
            logger.warning("what follows a connection failed: %s", error, extra={"operation": "link"})
        except Exception:
            logger.exception("what follows a connection failed", extra={"operation": "link"})

    def _tell(self, problem: str, retry: float) -> None:
        # The log gets a line when the link is lost and when the reason changes, not one for each attempt of a night.
        if self.state.connected or problem != self.state.problem:
            logger.info("no connection to the control plane: %s", problem, extra={"operation": "link"})
        since = time.time() if self.state.connected or self.state.since is None else self.state.since
        self.state = LinkState(problem=problem, retry_s=round(retry, 1), since=since)
