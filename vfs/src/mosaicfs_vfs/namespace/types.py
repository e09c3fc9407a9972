"""The values that the namespace hands out: entries, listings and what a refresh changed.

Paths are virtual paths (absolute, ``/``-separated, no trailing slash but for the root) in written form; a mount turns
the names of entries into bytes with ``documents.paths.unescape``. Times are integers, microseconds since the Unix
epoch, UTC; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from mosaicfs_core.store import FileRow

ROOT_INODE: Final = 1

DERIVED_INODES: Final = 1 << 62
"""The inodes of derived directories are this and above; those of documents are below ``2**53``."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One name in a directory.

    ``file`` is the indexed file, or None for a directory. ``name`` differs from ``file.name`` when a conflict was
    solved by a suffix. ``derived`` is true for a directory that exists because files do, false for one that has a
    document. ``mtime`` of a directory is when its document was made, 0 for a derived one; ``size`` of a directory is
    0.
    """

    name: str
    parent: str
    inode: int
    size: int
    mtime: int
    file: FileRow | None = None
    derived: bool = False

    @property
    def is_directory(self) -> bool:
        return self.file is None

    @property
    def identity(self) -> tuple[str, bytes | str] | None:
        """What tells the file from every other on any machine: its node and its key there; None for a directory."""
        return None if self.file is None else (self.file.node_id, self.file.key)

    @property
    def kind(self) -> Literal["directory", "file"]:
        return "directory" if self.file is None else "file"

    @property
    def path(self) -> str:
        """The virtual path of the entry."""
        if not self.name:
            return "/"
        return f"{self.parent}/{self.name}" if self.parent != "/" else f"/{self.name}"


class Listing(msgspec.Struct, frozen=True, gc=False):
    """What is in one directory, sorted by name.

    ``warnings`` are sentences about steps whose op nobody knows. ``expires_at`` is when the listing may be another
    without any document having changed: a few seconds ahead, sooner when a file crosses the border of an ``age`` step
    before that. ``derived`` tells whether the directory has no document of its own.
    """

    path: str
    inode: int
    mtime: int
    entries: tuple[Entry, ...]
    by_name: Mapping[str, Entry]
    warnings: tuple[str, ...]
    expires_at: int
    derived: bool = False


class Changes(msgspec.Struct, frozen=True):
    """What a refresh found. An empty one is false.

    ``seq`` is the store's update sequence that the namespace now reflects. ``directories`` are the paths whose
    listing may have other entries, or entries with other attributes. At and below each path of ``subtrees`` any
    listing may have changed (a directory's mounts or steps were edited, a label rule changed); ``/`` means all.
    ``inodes`` are those of files whose size, mtime or status may have changed: what a kernel cached of their
    attributes and bytes must go. A mount that remembers which names it gave away lists the directories again and
    compares with ``diff``.
    """

    seq: int
    directories: frozenset[str] = frozenset()
    subtrees: frozenset[str] = frozenset()
    inodes: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.directories or self.subtrees or self.inodes)

    def touches(self, path: str) -> bool:
        """Whether the listing of this path may have changed."""
        if path in self.directories:
            return True
        return any(top == "/" or path == top or path.startswith(top + "/") for top in self.subtrees)


class ListingDiff(msgspec.Struct, frozen=True):
    """How two listings of one path differ: names that went, came, or now stand for another inode, size or mtime."""

    removed: tuple[str, ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]


def diff(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> ListingDiff:
    """Compare the ``by_name`` of two listings of one path."""
    removed = tuple(name for name in before if name not in after)
    added = tuple(name for name in after if name not in before)
    changed = tuple(
        name
        for name, entry in after.items()
        if (old := before.get(name)) is not None
        and (old.inode != entry.inode or old.size != entry.size or old.mtime != entry.mtime)
    )
    return ListingDiff(removed, added, changed)
