"""What the kernel has been told, and what it must be told when the tree changes.

The kernel keeps names and attributes for hours (long time-outs), so it has to be corrected. One rule makes that exact:
*the kernel knows only names of directories whose listing is held here*. A new listing is compared with the one held,
and the differences are the corrections; a listing that has to make room takes the kernel's knowledge of its files with
it (its sub-directories' names are kept, since a shell may stand in one). A file may be in several listings, with one
inode and one set of attributes; it is known until the last of them is gone. Entries that ask for one inode are told
apart before they come in here (``inodes``). No I/O and no pyfuse3 in this module.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Generic, NamedTuple, TypeVar

from mosaicfs_vfs.fuse.inodes import Inodes
from mosaicfs_vfs.fuse.tree import Changes, Entry, Listing

A = TypeVar("A")

ROOT_INODE: Final = 1
# Entries held over all listings (about 800 bytes each).
ENTRY_LIMIT: Final = 150_000
# Absent names remembered per directory; further ones are answered but not cached by the kernel.
_NEGATIVE_LIMIT: Final = 10_000
# Entries looked at for the directories that follow one in a listing.
_NEARBY: Final = 256
# Up to so many changed files the kernel is told of each, known here or not: one may be open whose listing made room.
_MANY_INODES: Final = 10_000


class ForgetName(NamedTuple):
    """The kernel must ask again for a name (native bytes) in the directory ``parent``."""

    parent: int
    name: bytes


class ForgetAttributes(NamedTuple):
    """The kernel must ask again for an inode's attributes and, with ``data``, drop its cached pages."""

    inode: int
    data: bool


Correction = ForgetName | ForgetAttributes


@dataclass(slots=True)
class Listed(Generic[A]):
    """A directory's listing in kernel terms: parallel lists in ``readdir`` order, and an index by name."""

    path: str
    inode: int
    names: list[bytes]
    attributes: list[A]
    entries: list[Entry]
    index: dict[bytes, int]
    absent: set[bytes] = field(default_factory=set)

    def directories(self) -> Iterator[tuple[bytes, Entry]]:
        """Its sub-directories."""
        return ((name, entry) for name, entry in zip(self.names, self.entries, strict=True) if entry.file is None)


class Table(Generic[A]):
    """Inodes, listings and their attributes. ``describe`` makes entries' attributes, ``native`` a name's bytes."""

    def __init__(
        self, describe: Callable[[Sequence[Entry]], list[A]], native: Callable[[str], bytes], limit: int = ENTRY_LIMIT
    ) -> None:
        self._describe = describe
        self._native = native
        self._limit = limit
        self._held = 0
        self._listed: OrderedDict[str, Listed[A]] = OrderedDict()
        # Of listings that made room: the inode of the directory and its sub-directories by name.
        self._reduced: dict[str, tuple[int, dict[bytes, int]]] = {}
        self.paths: dict[int, str] = {ROOT_INODE: "/"}
        self.attributes: dict[int, A] = {}
        self.files: dict[int, Entry] = {}
        self._inodes = Inodes(self.files, self.paths)
        # Files that listings show more than once: how many times more. Most are shown once, which costs nothing here.
        self._repeats: dict[int, int] = {}

    def get(self, path: str) -> Listed[A] | None:
        """The listing held for a path; it becomes the last to make room."""
        listed = self._listed.get(path)
        if listed is not None:
            self._listed.move_to_end(path)
        return listed

    def known(self, path: str) -> bool:
        """Whether the kernel may know names in a directory."""
        return path in self._listed or path in self._reduced

    def following(self, path: str, count: int) -> list[str]:
        """Up to ``count`` derived directories not listed yet that a walk comes to after this one and all beneath it."""
        found: list[str] = []
        while path != "/" and len(found) < count:
            parent, name = path.rpartition("/")[::2]
            path = parent or "/"
            listed = self._listed.get(path)
            position = None if listed is None else listed.index.get(self._native(name))
            if listed is None or position is None:
                break
            nearby = (entry for entry in listed.entries[position + 1 : position + 1 + _NEARBY] if entry.derived)
            paths = (_join(path, entry.name) for entry in nearby)
            found += islice((path for path in paths if path not in self._listed), count - len(found))
        return found

    def affected(self, changes: Changes) -> list[str]:
        """The known paths that ``changes`` touch, parents first."""
        paths = {path for path in changes.directories if self.known(path)}
        if changes.subtrees:
            paths.update(p for p in (*self._listed, *self._reduced) if any(_covers(top, p) for top in changes.subtrees))
        return sorted(paths)

    def install(self, listing: Listing) -> tuple[Listed[A], list[Correction]]:
        """Take a fresh listing; the corrections say what the kernel must forget of what it knew."""
        new = self._translate(listing)
        corrections: list[Correction] = []
        old = self._listed.pop(new.path, None)
        reduced = self._reduced.pop(new.path, None)
        if old is not None:
            self._held -= len(old.names)
            corrections += self._compare(old, new)
        elif reduced is not None:
            corrections += self._compare_reduced(reduced, new)
        self._enter(new, corrections)
        if old is not None:
            # Only now: what is in both is never unknown in between, and keeps its attributes.
            self._release(old.entries, old.attributes)
        corrections += self._make_room(new.path)
        return new, corrections

    def remember_absent(self, listed: Listed[A], name: bytes) -> bool:
        """Note that the kernel is told of an absent name; False when too many are noted already."""
        if len(listed.absent) >= _NEGATIVE_LIMIT:
            return False
        listed.absent.add(name)
        return True

    def changed_files(self, inodes: Collection[int]) -> list[Correction]:
        """Corrections for files whose bytes may be others now, wherever the kernel has them from."""
        if len(inodes) > _MANY_INODES:
            inodes = {inode for inode in inodes if inode in self.files}
        return [ForgetAttributes(inode, data=True) for inode in self._inodes.all_of(inodes)]

    def forget_below(self, path: str) -> list[Correction]:
        """Drop the listing of a path and of all below it: the directory is gone or has moved."""
        corrections: list[Correction] = []
        pending = [path]
        while pending:
            current = pending.pop()
            listed = self._listed.pop(current, None)
            reduced = self._reduced.pop(current, None)
            if listed is not None:
                self._held -= len(listed.names)
                self._release(listed.entries, listed.attributes)
                corrections += (ForgetName(listed.inode, name) for name in (*listed.names, *listed.absent))
                pending += (_join(current, entry.name) for _, entry in listed.directories())
            elif reduced is not None:
                inode, directories = reduced
                corrections += (ForgetName(inode, name) for name in directories)
                pending += (self.paths[child] for child in directories.values() if child in self.paths)
        return corrections

    def _translate(self, listing: Listing) -> Listed[A]:
        native = self._native
        entries = self._inodes.settled(listing.entries)
        names = [name.encode() if (name := entry.name).isascii() else native(name) for entry in entries]
        return Listed(
            path=listing.path,
            inode=self._inodes.of_directory(listing.inode),
            names=names,
            attributes=self._describe(entries),
            entries=entries,
            index=dict(zip(names, range(len(names)), strict=True)),
        )

    def _enter(self, new: Listed[A], corrections: list[Correction]) -> None:
        self.paths[new.inode] = new.path
        for number, entry in enumerate(new.entries):
            if entry.file is not None:
                self._enter_file(new, number, entry)
                continue
            path = _join(new.path, entry.name)
            former = self.paths.get(entry.inode)
            if former is not None and former != path:
                corrections += self.forget_below(former)
            self.paths[entry.inode] = path
            self.attributes[entry.inode] = new.attributes[number]
        self._listed[new.path] = new
        self._held += len(new.names)

    def _enter_file(self, new: Listed[A], number: int, entry: Entry) -> None:
        """Count one showing of a file. Unless it changed, it keeps the attributes it has: an open may have mended
        them."""
        inode = entry.inode
        before = self.files.get(inode)
        if before is not None:
            self._repeats[inode] = self._repeats.get(inode, 0) + 1
        if before is not None and before.size == entry.size and before.mtime == entry.mtime:
            new.attributes[number] = self.attributes[inode]
        else:
            self.attributes[inode] = new.attributes[number]
        self.files[inode] = entry

    def _compare(self, old: Listed[A], new: Listed[A]) -> list[Correction]:
        corrections: list[Correction] = []
        gone: list[Entry] = []
        for number, name in enumerate(old.names):
            before = old.entries[number]
            position = new.index.get(name)
            if position is None:
                corrections.append(ForgetName(old.inode, name))
                gone.append(before)
                continue
            after = new.entries[position]
            if before is after:
                continue
            if before.inode != after.inode or (before.file is None) != (after.file is None):
                corrections.append(ForgetName(old.inode, name))
                gone.append(before)
            elif before.size != after.size or before.mtime != after.mtime:
                corrections.append(ForgetAttributes(after.inode, data=after.file is not None))
        for entry in gone:
            if entry.file is None and self.paths.get(entry.inode) == _join(old.path, entry.name):
                corrections += self.forget_below(_join(old.path, entry.name))
        for name in old.absent:
            if name in new.index:
                corrections.append(ForgetName(old.inode, name))
            else:
                new.absent.add(name)
        if corrections:
            corrections.append(ForgetAttributes(old.inode, data=False))
        return corrections

    def _compare_reduced(self, reduced: tuple[int, dict[bytes, int]], new: Listed[A]) -> list[Correction]:
        corrections: list[Correction] = []
        inode, directories = reduced
        for name, child in directories.items():
            position = new.index.get(name)
            if position is None or new.entries[position].inode != child:
                corrections.append(ForgetName(inode, name))
                path = self.paths.get(child)
                if position is None and path is not None:
                    corrections += self.forget_below(path)
        return corrections

    def _make_room(self, keep: str) -> list[Correction]:
        corrections: list[Correction] = []
        while self._held > self._limit and len(self._listed) > 1:
            path, listed = next(iter(self._listed.items()))
            if path == keep:
                break
            del self._listed[path]
            self._held -= len(listed.names)
            directories = {name: entry.inode for name, entry in listed.directories()}
            self._reduced[path] = (listed.inode, directories)
            files = [n for n, entry in enumerate(listed.entries) if entry.file is not None]
            corrections += (ForgetName(listed.inode, listed.names[n]) for n in files)
            corrections += (ForgetName(listed.inode, name) for name in listed.absent)
            self._release((listed.entries[n] for n in files), (listed.attributes[n] for n in files))
        return corrections

    def _release(self, entries: Iterable[Entry], attributes: Iterable[Any]) -> None:
        """Drop the facts of a listing's entries: of a file when nothing else shows it, of a directory unless it has
        been listed elsewhere or anew since (it has one place, the last)."""
        for entry, own in zip(entries, attributes, strict=True):
            inode = entry.inode
            if entry.file is None:
                if self.attributes.get(inode) is own:
                    del self.attributes[inode]
            elif (repeats := self._repeats.pop(inode, 0)) == 0:
                del self.files[inode], self.attributes[inode]
            elif repeats > 1:
                self._repeats[inode] = repeats - 1


def _join(path: str, name: str) -> str:
    return f"/{name}" if path == "/" else f"{path}/{name}"


def _covers(top: str, path: str) -> bool:
    return top == "/" or path == top or path.startswith(f"{top}/")
