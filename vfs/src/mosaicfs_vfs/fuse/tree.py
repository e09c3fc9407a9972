"""What the mount needs from the namespace, and nothing more.

The adapter is written against these protocols (``mosaicfs_vfs.namespace`` fits them): the namespace knows nothing of
FUSE, and another backend, or a test with a tree of plain files, can stand on either side.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol


class Entry(Protocol):
    """One name in a directory. ``mtime`` is microseconds since the epoch, ``size`` bytes, ``name`` in written form.

    ``file`` is what a ``FileOpener`` needs to find the bytes, None for a directory. ``identity`` tells a file from
    every other, whatever its inode, and is None for a directory. ``derived`` is true for a directory that exists
    because files do.
    """

    @property
    def name(self) -> str: ...
    @property
    def inode(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime(self) -> int: ...
    @property
    def file(self) -> Any: ...
    @property
    def identity(self) -> Hashable: ...
    @property
    def derived(self) -> bool: ...


class Listing(Protocol):
    """A directory as it was when listed."""

    @property
    def path(self) -> str: ...
    @property
    def inode(self) -> int: ...
    @property
    def entries(self) -> Sequence[Entry]: ...


class Changes(Protocol):
    """What a refresh found: the sequence it reached, paths whose listing may differ, paths at and below which any
    may, changed files' inodes."""

    @property
    def seq(self) -> int: ...

    @property
    def directories(self) -> AbstractSet[str]: ...
    @property
    def subtrees(self) -> AbstractSet[str]: ...
    @property
    def inodes(self) -> AbstractSet[int]: ...


class Tree(Protocol):
    """The virtual tree, synchronous, used by one thread at a time."""

    def list(self, path: str) -> Listing:
        """The directory at a virtual path. Raises ``NotFound``."""

    def refresh(self) -> Changes:
        """Read the changes since the last call."""

    def seq(self) -> int:
        """The update sequence that listings are as of, at least."""

    def next_expiry(self) -> int | None:
        """When age alone changes a listing next (microseconds), or None."""

    def data_version(self) -> int:
        """A number that changes when another process commits to the replica."""

    def extended_attributes(self, file: Any) -> Mapping[bytes, bytes]:
        """The extended attributes of a file, by full name."""

    def close(self) -> None:
        """Release what it holds."""
