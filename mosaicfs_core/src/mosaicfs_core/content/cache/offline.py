"""Reading the cache without the agent: what the mount does while the agent is down. Never writes."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from mosaicfs_core.content.blockmap import BlockMap
from mosaicfs_core.content.cache.index import find_checksums, find_row
from mosaicfs_core.content.cache.layout import BLOCK, INDEX, blocks_of, cache_key, checksum, data_file, read_block
from mosaicfs_core.errors import NotFound, Unavailable
from mosaicfs_core.hooks import FileRecord


class CachedFile:
    """A cached file as it was when it was opened. Every block proves itself before it is served first; blocks."""

    def __init__(self, descriptor: int, identifier: int, size: int, checksums: dict[int, int]) -> None:
        self.descriptor = descriptor
        self.id = identifier
        self.size = size
        self.verified = BlockMap()
        self._checksums = checksums

    def has(self, start: int, stop: int) -> bool:
        """Whether bytes ``start`` up to ``stop`` can be read from the descriptor as they are."""
        return self.verified.has(start // BLOCK, blocks_of(stop))

    def verify(self, start: int, stop: int) -> None:
        """Make sure of a range of bytes. Raises ``Unavailable`` when some of it is not there, or is damaged."""
        for number in range(start // BLOCK, blocks_of(stop)):
            if self.verified.has(number, number + 1):
                continue
            expected = self._checksums.get(number)
            if expected is None:
                raise Unavailable("this part of the file is not in the cache")
            if checksum(read_block(self.descriptor, number)) != expected:
                raise Unavailable("this part of the file is damaged in the cache")
            self.verified.add(number, number + 1)

    def close(self) -> None:
        """Close the data file."""
        os.close(self.descriptor)


def open_cached(directory: Path, file: FileRecord) -> CachedFile:
    """What the cache in ``directory`` has of a file in the version of its document; blocks.

    Raises ``NotFound`` when it has nothing of that version, and ``Unavailable`` when it cannot be read.
    """
    key = cache_key(file.node_id, file.export_path)
    try:
        # Not created when it is not there; a WAL database wants to be opened for writing even by a reader.
        with closing(sqlite3.connect(f"{(directory / INDEX).as_uri()}?mode=rw", uri=True)) as db:
            db.execute("PRAGMA query_only = ON")
            row = find_row(db, key)
            if row is None or (row.file_id, row.file_size, row.mtime) != (file.file_id, file.size, file.mtime):
                raise NotFound(f"{file.export_path} is not in the cache", path=file.export_path)
            checksums = find_checksums(db, row.id, 0, blocks_of(row.file_size))
        descriptor = os.open(data_file(directory, key, row.id), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (sqlite3.Error, OSError, TypeError) as error:
        raise Unavailable(f"the cache cannot be read: {error}", path=file.export_path) from error
    return CachedFile(descriptor, row.id, row.file_size, checksums)
