"""An agent without the rest: its socket, its cache and an owner on loopback, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from tests.content.bed import Bed

from mosaicfs_core.agent.socket import AgentSocket
from mosaicfs_core.content import Content
from mosaicfs_core.content.cache import CacheTier
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.showing import Showing
from mosaicfs_core.store import Reader

T = TypeVar("T")


class ReadOnlyStore:
    """What the socket needs of a store that another thread writes to."""

    seq = 0

    def __init__(self, home: Home) -> None:
        self.reader = Reader.open(home.replica)

    async def wait(self, after: int, timeout: float | None = None) -> bool:
        """No commit is ever told of: the mount finds out by itself."""
        await asyncio.Event().wait()
        return False


class RemoteAgent:
    """``start`` and ``stop`` it like an agent; the owner and the cache's files outlive it. ``run`` runs in its loop."""

    def __init__(self, home: Home, cache: Path, **settings: Any) -> None:
        self._home = home
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._socket: AgentSocket | None = None
        self.bed = self.run(self._make(cache, settings))
        self.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the agent's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def call(self, work: Callable[[], T]) -> T:
        """Run a function in the agent's loop."""

        async def do() -> T:
            return work()

        return self.run(do())

    def start(self) -> None:
        """Listen."""
        self.run(self._start())

    def stop(self) -> None:
        """Be gone; what the cache has stays."""
        self.run(self._stop())

    def close(self) -> None:
        """End everything."""
        if self._socket is not None:
            self.stop()
        self.run(self.bed.owner.stop())
        self.run(self._close_routes())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _make(self, cache: Path, settings: dict[str, Any]) -> Bed:
        bed = Bed(cache, **settings)
        await bed.start()
        await bed.cache.close()
        return bed

    async def _start(self) -> None:
        await self.bed.open_cache()
        content = Content([CacheTier("node-me", self.bed.cache)])
        self._store = ReadOnlyStore(self._home)
        core = SimpleNamespace(
            home=self._home,
            store=self._store,
            content=content,
            node_id="node-me",
            mounts=frozenset(),
            showing=Showing(),
            failing={},
        )
        self._socket = AgentSocket(cast(CoreServices, core), lambda file: None)
        await self._socket.start()

    async def _stop(self) -> None:
        assert self._socket is not None
        await self._socket.stop()
        self._socket = None
        await self.bed.cache.close()
        self._store.reader.close()

    async def _close_routes(self) -> None:
        for route in self.bed.routes:
            await route.requests.close()
