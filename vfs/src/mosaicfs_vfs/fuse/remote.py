"""Open files whose bytes are not on a disk of this machine: through the agent, or from its cache while it is down."""

from __future__ import annotations

import asyncio
import errno
import os
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from mosaicfs_core.content.cache.offline import CachedFile
from mosaicfs_core.content.source import pread_all

Ranges = tuple[tuple[int, int], ...]
Gate = Callable[[int], None]
"""Asked before bytes are fetched from elsewhere, with their number: raises ``OSError`` when they must not be."""

_ROUNDS: Final = 4


class Stale(OSError):
    """The file was changed by its owner while it was open: what the kernel has of it may be of either version."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The agent's answer to ``open`` or ``fetch``; see ``mosaicfs_core/agent/socket.py``.

    ``descriptor`` is given once per handle; ``lent`` bytes stand in it alone when it is not the file's.
    """

    size: int
    present: Ranges = ()
    stamp: int | None = None
    descriptor: int | None = None
    lent: int | None = None
    handle: int = 0
    version: str = ""


class RemoteFile(Protocol):
    """An open file of another node. ``gate`` is set by whoever opened it; ``version`` tells apart what is held open."""

    size: int
    version: str
    gate: Gate

    async def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; short at the end of the file only. Raises ``OSError``."""

    def close(self) -> None:
        """Give it back."""


def _open_gate(_: int) -> None:
    """Lets everything through."""


class AgentFile:
    """A file that the agent holds open: what is present is read from its descriptor, the rest is asked for.

    ``fetch(offset, length)`` has its own time limit and raises ``OSError``. ``closed`` is called once, at the end.
    """

    def __init__(
        self, opened: Fetched, fetch: Callable[[int, int], Awaitable[Fetched]], closed: Callable[[], None]
    ) -> None:
        self.size = opened.size
        self.version = opened.version
        self.gate: Gate = _open_gate
        self._fetch = fetch
        self._closed = closed
        self._descriptor: int | None = None
        self._starts: tuple[int, ...] = ()
        self._stops: tuple[int, ...] = ()
        self._stamp: int | None = None
        self.take(opened)

    async def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; short at the end of the file only."""
        for _ in range(_ROUNDS):
            end = min(offset + length, self.size)
            if offset >= end:
                return b""
            if self._has(offset, end):
                assert self._descriptor is not None
                data = os.pread(self._descriptor, end - offset, offset)
                if len(data) == end - offset:
                    return data
                self._starts = self._stops = ()  # somebody cut the file off
            self.gate(end - offset)
            fetched = await self._fetch(offset, end - offset)
            if fetched.lent is not None:
                self.size = fetched.size
                return _taken(fetched)
            self.take(fetched)
        raise OSError(errno.EIO, "The agent did not make the range present")

    def close(self) -> None:
        """Give the descriptor and the handle back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._closed()

    def take(self, fetched: Fetched) -> None:
        """Go by what the agent says now."""
        self.size = fetched.size
        self._starts = tuple(start for start, _ in fetched.present)
        self._stops = tuple(stop for _, stop in fetched.present)
        self._stamp = fetched.stamp
        if fetched.descriptor is not None:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = fetched.descriptor

    def _has(self, start: int, stop: int) -> bool:
        """Whether the range can be read now: present, and nobody but the agent has touched the file since."""
        position = bisect_right(self._starts, start) - 1
        if position < 0 or stop > self._stops[position] or self._descriptor is None:
            return False
        return self._stamp is None or os.fstat(self._descriptor).st_ctime_ns == self._stamp


class OfflineFile:
    """A file in the cache of an agent that is down: what the cache has of it can be read."""

    def __init__(self, cached: CachedFile) -> None:
        self.size = cached.size
        self.version = f"cache:{cached.id}"
        self.gate: Gate = _open_gate
        self._cached = cached

    async def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; short at the end of the file only."""
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        if not self._cached.has(offset, end):
            await asyncio.to_thread(self._cached.verify, offset, end)
        data = os.pread(self._cached.descriptor, end - offset, offset)
        if len(data) != end - offset:
            raise OSError(errno.EIO, "The cache's data file was cut off")
        return data

    def close(self) -> None:
        """Close the data file."""
        self._cached.close()


def _taken(fetched: Fetched) -> bytes:
    """The bytes that were lent."""
    assert fetched.descriptor is not None
    assert fetched.lent is not None
    try:
        return pread_all(fetched.descriptor, 0, fetched.lent)
    finally:
        os.close(fetched.descriptor)
