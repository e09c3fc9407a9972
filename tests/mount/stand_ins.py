"""What the namespace tells the mount, with just the fields that the mount reads."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True):
    name: str
    inode: int
    size: int = 0
    mtime: int = 0
    file: object = True
    derived: bool = False
    known_as: str = ""

    @property
    def identity(self) -> object:
        """A file is what has its inode, unless a test says otherwise."""
        return None if self.file is None else self.known_as or self.inode


class Listing(msgspec.Struct, frozen=True):
    path: str
    inode: int
    entries: tuple[Entry, ...]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    seq: int = 0
    directories: frozenset[str] = frozenset()
    subtrees: frozenset[str] = frozenset()
    inodes: frozenset[int] = frozenset()
