"""Open files: a local descriptor read in place, or bytes that the agent makes present first."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from mosaicfs_vfs.fuse.tree import Entry

# Handles of local files are their descriptors; all others count from here.
REMOTE_HANDLES: Final = 1 << 32
Ranges = tuple[tuple[int, int], ...]


class NotHere(Exception):
    """The bytes of a file are not on this machine (or not where they may be opened directly)."""


@dataclass(slots=True)
class AgentFile:
    """A file whose bytes the agent holds or fetches.

    ``present`` are sorted, disjoint, half-open byte ranges that ``descriptor`` can serve now. ``fetch(offset, length)``
    makes a range present and returns the ranges then present; it has its own time limit and raises ``OSError``.
    """

    descriptor: int
    size: int
    present: Ranges
    fetch: Callable[[int, int], Awaitable[Ranges]]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; short at the end of the file only."""
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        if not self._has(offset, end):
            async with self.lock:
                if not self._has(offset, end):
                    self.present = await self.fetch(offset, end - offset)
        if not self._has(offset, end):
            raise OSError("The agent did not make the range present")
        return os.pread(self.descriptor, end - offset, offset)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)

    def _has(self, start: int, end: int) -> bool:
        return any(first <= start and end <= last for first, last in self.present)


class FileOpener(Protocol):
    """Finds a file's bytes."""

    def open_local(self, entry: Entry) -> int:
        """A descriptor of the file on this machine. Raises ``NotHere`` or ``OSError``; never waits for a network."""

    async def open_elsewhere(self, entry: Entry) -> AgentFile:
        """The file through the agent. Raises ``OSError`` within a bounded time."""


@dataclass(slots=True)
class OpenFiles:
    """The handles given to the kernel. Facts of an open file outlive its name: ``attributes`` by inode."""

    inodes: dict[int, int] = field(default_factory=dict)
    elsewhere: dict[int, AgentFile] = field(default_factory=dict)
    attributes: dict[int, Any] = field(default_factory=dict)
    _uses: dict[int, int] = field(default_factory=dict)
    _next: int = REMOTE_HANDLES

    def add_local(self, descriptor: int, inode: int, attributes: Any) -> int:
        """A handle for a local descriptor: the descriptor itself."""
        self._use(descriptor, inode, attributes)
        return descriptor

    def add_elsewhere(self, file: AgentFile, inode: int, attributes: Any) -> int:
        """A handle for a file served through the agent."""
        handle = self._next
        self._next += 1
        self.elsewhere[handle] = file
        self._use(handle, inode, attributes)
        return handle

    def close(self, handle: int) -> None:
        """Close a handle and what it holds open."""
        inode = self.inodes.pop(handle, None)
        if inode is None:
            return
        uses = self._uses[inode] - 1
        if uses:
            self._uses[inode] = uses
        else:
            del self._uses[inode], self.attributes[inode]
        if handle < REMOTE_HANDLES:
            os.close(handle)
        else:
            self.elsewhere.pop(handle).close()

    def close_all(self) -> None:
        """Close every handle: the session is over."""
        for handle in list(self.inodes):
            self.close(handle)

    def _use(self, handle: int, inode: int, attributes: Any) -> None:
        self.inodes[handle] = inode
        self.attributes[inode] = attributes
        self._uses[inode] = self._uses.get(inode, 0) + 1
