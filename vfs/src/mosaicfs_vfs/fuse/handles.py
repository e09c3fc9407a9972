"""The handles of open files: a local descriptor that is read in place, or a file of another machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mosaicfs_vfs.fuse.remote import RemoteFile
from mosaicfs_vfs.fuse.tree import Entry

# Handles of local files are their descriptors; all others count from here.
REMOTE_HANDLES: Final = 1 << 32


class NotHere(Exception):
    """The bytes of a file are not on this machine (or not where they may be opened directly)."""


class FileOpener(Protocol):
    """Finds a file's bytes."""

    def open_local(self, entry: Entry) -> int:
        """A descriptor of the file on this machine. Raises ``NotHere`` or ``OSError``; never waits for a network."""

    async def open_elsewhere(self, entry: Entry) -> RemoteFile:
        """A file that is not on this machine. Raises ``OSError`` within a bounded time; asks no other machine."""

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
        self.elsewhere: dict[int, RemoteFile] = {}
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

    def add_elsewhere(self, file: RemoteFile, inode: int, attributes: Any, version: object) -> int:
        """A handle for a file that is not on this machine."""
        handle = self._next
        self._next += 1
        self.elsewhere[handle] = file
        self._use(handle, inode, attributes, file.version, version)
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
