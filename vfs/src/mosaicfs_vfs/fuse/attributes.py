"""Kernel attributes of entries, made once per listing and handed out as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

import pyfuse3

from mosaicfs_vfs.fuse.tree import Entry

# The kernel is told of every change, so it may keep what it knows for as long as it likes.
TIMEOUT_S: Final = 24 * 3600.0
_DIRECTORY_MODE: Final = stat.S_IFDIR | 0o555
_FILE_MODE: Final = stat.S_IFREG | 0o444


class Describer:
    """Makes ``EntryAttributes``. All belongs to the user who mounts; a directory without a time has ``since``."""

    def __init__(self, since: int) -> None:
        """``since`` is microseconds since the epoch: the time shown on directories that exist because files do."""
        self._uid, self._gid = os.getuid(), os.getgid()
        self._since = since

    def __call__(self, entries: Sequence[Entry]) -> list[pyfuse3.EntryAttributes]:
        """The attributes of entries as their documents have them."""
        file, directory = self.file, self.directory
        return [
            directory(entry.inode, entry.mtime) if entry.file is None else file(entry.inode, entry.size, entry.mtime)
            for entry in entries
        ]

    def file(self, inode: int, size: int, mtime: int) -> pyfuse3.EntryAttributes:
        """Attributes of a file of ``size`` bytes, modified at ``mtime`` microseconds."""
        attributes = pyfuse3.EntryAttributes()
        attributes.st_ino = inode
        attributes.st_mode = _FILE_MODE
        attributes.st_size = size
        attributes.st_blocks = (size + 511) >> 9
        attributes.entry_timeout = attributes.attr_timeout = TIMEOUT_S
        attributes.st_uid = self._uid
        attributes.st_gid = self._gid
        attributes.st_mtime_ns = attributes.st_ctime_ns = attributes.st_atime_ns = mtime * 1000
        return attributes

    def directory(self, inode: int, mtime: int) -> pyfuse3.EntryAttributes:
        """Attributes of a directory. Its link count is 1: nobody may conclude from it how many directories it holds."""
        attributes = self.file(inode, 0, mtime or self._since)
        attributes.st_mode = _DIRECTORY_MODE
        return attributes

    def absent(self) -> pyfuse3.EntryAttributes:
        """The answer that lets the kernel remember that a name is not there."""
        attributes = pyfuse3.EntryAttributes()
        attributes.entry_timeout = TIMEOUT_S
        return attributes
