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

    def differs(self, entry: Entry) -> None:
        """A file on this machine is not what its entry says: it should be indexed again."""


@dataclass(slots=True)
class _Uses:
    """The open handles of an inode: how many, its attributes, and which file and version the first of them has open."""

    count: int
    attributes: Any
    identity: object
    version: object
    mixed: bool = False


class OpenFiles:
    """The handles given to the kernel. What is known of an open file outlives its name."""

    def __init__(self) -> None:
        self.elsewhere: dict[int, AgentFile] = {}
        self._inodes: dict[int, int] = {}
        self._uses: dict[int, _Uses] = {}
        self._next = REMOTE_HANDLES

    def attributes(self, inode: int) -> Any:
        """The attributes of an open inode, None for others."""
        uses = self._uses.get(inode)
        return None if uses is None else uses.attributes

    def inode_of(self, handle: int) -> int:
        """The inode a handle was opened for."""
        return self._inodes[handle]

    def replaced(self, inode: int, identity: object) -> bool:
        """Whether the inode is open with another file behind it: the kernel's pages are then the other one's."""
        uses = self._uses.get(inode)
        return uses is not None and (uses.mixed or uses.identity != identity)

    def add_local(self, descriptor: int, inode: int, attributes: Any, identity: object, version: object) -> int:
        """A handle for a local descriptor: the descriptor itself.

        ``identity`` tells files on disk apart, ``version`` the states of an inode that the kernel was told of.
        """
        self._use(descriptor, inode, attributes, identity, version)
        return descriptor

    def add_elsewhere(self, file: AgentFile, inode: int, attributes: Any, version: object) -> int:
        """A handle for a file served through the agent."""
        handle = self._next
        self._next += 1
        self.elsewhere[handle] = file
        self._use(handle, inode, attributes, None, version)
        return handle

    def close(self, handle: int, version: object) -> bool:
        """Close a handle and what it holds open.

        True when it was the inode's last one and the kernel's pages may not be those of ``version``, the present one.
        """
        inode = self._inodes.pop(handle, None)
        if inode is None:
            return False
        if handle < REMOTE_HANDLES:
            os.close(handle)
        else:
            self.elsewhere.pop(handle).close()
        uses = self._uses[inode]
        uses.count -= 1
        if uses.count:
            return False
        del self._uses[inode]
        return uses.mixed or uses.version != version

    def close_all(self) -> None:
        """Close every handle: the session is over."""
        for handle in list(self._inodes):
            self.close(handle, None)

    def _use(self, handle: int, inode: int, attributes: Any, identity: object, version: object) -> None:
        self._inodes[handle] = inode
        uses = self._uses.get(inode)
        if uses is None:
            self._uses[inode] = _Uses(1, attributes, identity, version)
        else:
            uses.count += 1
            uses.attributes = attributes
            uses.mixed = uses.mixed or uses.identity != identity
