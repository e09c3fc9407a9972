"""Which inode a mount gives an entry: the one it asks for, unless another has it.

Inodes come out of ids by a hash, so two can be the same, by chance or because somebody looked for an id that makes them
so. The kernel takes an inode for a file: whoever had another's would be read, and answer, in its place. So here an
inode belongs to one entry at a time, the one that was shown first; another that asks for it gets one of its own, of a
range that no document's and no derived directory's inode is in, and keeps that for as long as the mount lasts. Nothing
is remembered of entries that do not clash, which is almost certainly all of them. No I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mosaicfs_vfs.fuse.tree import Entry

_FIRST_OWN: Final = 1 << 61


@dataclass(frozen=True, slots=True)
class _Renumbered:
    """An entry under another inode."""

    entry: Entry
    inode: int

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def size(self) -> int:
        return self.entry.size

    @property
    def mtime(self) -> int:
        return self.entry.mtime

    @property
    def file(self) -> Any:
        return self.entry.file

    @property
    def identity(self) -> Hashable:
        return self.entry.identity

    @property
    def derived(self) -> bool:
        return self.entry.derived


class Inodes:
    """Tells entries apart that ask for one inode. ``files`` and ``paths`` are what a table holds, by inode: files, and
    the paths of directories."""

    def __init__(self, files: Mapping[int, Entry], paths: Mapping[int, str]) -> None:
        self._files = files
        self._paths = paths
        # By what tells an entry apart: the identity of a file, the inode that a directory asks for.
        self._own: dict[Hashable, int] = {}
        self._instead: dict[int, list[int]] = {}

    def settled(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries of a listing, each under an inode that no other file or directory has."""
        settled = list(entries)
        for number in self._clashing(entries):
            entry = entries[number]
            settled[number] = _Renumbered(entry, self._own_of(entry))
        return settled

    def of_directory(self, inode: int) -> int:
        """The inode of a directory that asks for this one."""
        return self._own.get((None, inode), inode)

    def all_of(self, inodes: Collection[int]) -> Iterable[int]:
        """These inodes, and those that were given instead of one of them."""
        yield from inodes
        for inode, instead in self._instead.items():
            if inode in inodes:
                yield from instead

    def _clashing(self, entries: Sequence[Entry]) -> Iterator[int]:
        """The positions of entries that cannot have, or once could not have, the inode they ask for."""
        files, paths, own = self._files, self._paths, self._own
        here: dict[int, Entry] = {}
        for number, entry in enumerate(entries):
            inode = entry.inode
            if (own and _key(entry) in own) or (inode in paths and entry.file is not None):
                yield number
                continue
            holder = files.get(inode) or here.setdefault(inode, entry)
            if holder is not entry and holder.identity != entry.identity:
                yield number

    def _own_of(self, entry: Entry) -> int:
        key = _key(entry)
        own = self._own.get(key)
        if own is None:
            own = self._own[key] = _FIRST_OWN + len(self._own)
            self._instead.setdefault(entry.inode, []).append(own)
        return own


def _key(entry: Entry) -> Hashable:
    return (None, entry.inode) if entry.file is None else entry.identity
