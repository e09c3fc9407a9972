"""Open files whose bytes are not on a disk of this machine: through the agent, or from its cache while it is down."""

from __future__ import annotations

import asyncio
import errno
import os
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from mosaicfs_core.content.cache.offline import CachedFile
from mosaicfs_core.content.source import pread_all
from mosaicfs_vfs.fuse.checked import CheckedBlocks

Ranges = tuple[tuple[int, int], ...]
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
    kept: Ranges = ()
    stamp: int | None = None
    descriptor: int | None = None
    lent: int | None = None
    received: int = 0
    handle: int = 0
    version: str = ""
    doubted: int = 0
    sums: Mapping[int, int] = field(default_factory=dict)


class Fetch(Protocol):
    """Asks the agent for a range, which has its own time limit; ``doubt`` says that what it vouched for was wrong."""

    def __call__(self, offset: int, length: int, *, doubt: bool) -> Coroutine[Any, Any, Fetched]:
        """Raises ``OSError``."""


class Gate(Protocol):
    """What stands before another machine."""

    def admit(self) -> None:
        """Called before bytes are fetched: raises ``OSError`` when they must not be."""

    def spend(self, count: int) -> None:
        """So many bytes came."""


class OpenGate:
    """Lets everything through."""

    def admit(self) -> None:
        """Always."""

    def spend(self, count: int) -> None:
        """Nobody counts."""


class RemoteFile(Protocol):
    """An open file of another node. ``gate`` is set by whoever opened it; ``version`` tells apart what is held open.

    ``doubted`` is another number once bytes that were read before may have been wrong, and the kernel has them.
    """

    size: int
    version: str
    doubted: int
    gate: Gate

    async def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; short at the end of the file only. Raises ``OSError``."""

    def close(self) -> None:
        """Give it back."""


class AgentFile:
    """A file that the agent holds open: what is present is read from its descriptor, the rest is asked for.

    ``closed`` is called once, at the end. ``checked`` is shared by all open files.
    """

    def __init__(self, opened: Fetched, fetch: Fetch, closed: Callable[[], None], checked: CheckedBlocks) -> None:
        self.size = opened.size
        self.version = opened.version
        self.gate: Gate = OpenGate()
        self._fetch = fetch
        self._closed = closed
        self._checked = checked
        self._descriptor: int | None = None
        self._present: Ranges = ()
        self._kept: Ranges = ()
        self._stamp: int | None = None
        self._received = opened.received
        self.take(opened)

    async def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; short at the end of the file only."""
        end = min(offset + length, self.size)
        data = self._read_present(offset, end)
        for attempt in range(_ROUNDS):
            if data is not None:
                return data
            if not _covers(self._kept, offset, end):
                self.gate.admit()
            fetched = await self._fetch(offset, end - offset, doubt=attempt > 0)
            self.gate.spend(max(0, fetched.received - self._received))
            self._received = fetched.received
            if fetched.lent is not None:
                self.size = fetched.size
                return _taken(fetched)
            self.take(fetched)
            end = min(offset + length, self.size)
            data = self._read_present(offset, end)
            if data is None and self._descriptor is not None:
                # While the agent fetches on, the file's time never stands still.
                data = self._checked.read(self._descriptor, self.version, (offset, end), fetched.sums)
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
        self._present, self._kept = fetched.present, fetched.kept
        self._stamp = fetched.stamp
        self.doubted = fetched.doubted
        if fetched.descriptor is not None:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = fetched.descriptor

    def _read_present(self, start: int, stop: int) -> bytes | None:
        """A range from the descriptor; None when it is not all there, or when the file was touched by the time it was
        read."""
        if start >= stop:
            return b""
        if self._descriptor is None or not _covers(self._present, start, stop):
            return None
        data = os.pread(self._descriptor, stop - start, start)
        # Afterwards: a time that is still the agent's says that nobody wrote before the read or during it.
        if self._stamp is not None and os.fstat(self._descriptor).st_ctime_ns != self._stamp:
            return None
        return data if len(data) == stop - start else None  # or somebody cut the file off


def _covers(ranges: Ranges, start: int, stop: int) -> bool:
    position = bisect_right(ranges, start, key=_first) - 1
    return position >= 0 and stop <= ranges[position][1]


def _first(part: tuple[int, int]) -> int:
    return part[0]


class OfflineFile:
    """A file in the cache of an agent that is down: what the cache has of it can be read."""

    def __init__(self, cached: CachedFile) -> None:
        self.size = cached.size
        self.version = f"cache:{cached.id}"
        self.doubted = 0
        self.gate: Gate = OpenGate()
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
