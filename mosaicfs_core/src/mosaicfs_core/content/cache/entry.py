"""An entry of the cache in memory: one version of one file, what is known to be there, and who uses it."""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from mosaicfs_core.content.blockmap import BlockMap
from mosaicfs_core.content.cache.layout import BLOCK, WHOLE_LIMIT, Row, blocks_of
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.hooks import FileRecord, Held

_UNKNOWN: Final = -1


class Entry:
    """Lives on the event loop; the worker threads get its descriptor and nothing else.

    ``present`` are the blocks that the index knows, ``verified`` those of them whose bytes this process has seen to be
    right and that nobody has touched since. ``flights`` are the tasks that bring blocks, by block. ``users`` counts
    open sources, ``fillers`` those of them for whom nobody waits, ``busy`` tasks: while there is any user or task, the
    data file stays open and is not evicted. A ``detached`` entry is in the cache no more and serves those who have it
    open. ``failure`` says why nothing can be added any more. ``by_blocks``: small as it is, it comes by blocks, for
    nobody knows its digest. Blocks are written one answer after the other (``ordering``); ``stamp`` is the change time
    that our last write left, and ``doubts`` counts how often others had written in between. ``doubted`` is the time
    (ns) of the last such moment, or of the last damage that was found; 0: not in this process. ``unsettled``: we
    wrote to the file, and what others wrote to it just then left no time of its own.
    """

    def __init__(self, identifier: int, key: str, file: FileRecord, path: Path) -> None:
        self.id = identifier
        self.key = key
        self.file = file
        self.path = path
        self.etag = ""
        self.sha256: bytes | None = None
        self.present = BlockMap()
        self.verified = BlockMap()
        self.recorded = False
        self.by_blocks = False
        self.detached = False
        self.failure: MosaicError | None = None
        self.users = 0
        self.fillers = 0
        self.busy = 0
        self.writing = 0
        self.doubts = 0
        self.doubted = 0
        self.unsettled = False
        self.received = 0
        self.last_access = 0
        self.descriptor: int | None = None
        self.stamp: int | None = None
        # Of as many blocks as the file has, in 8 bytes each: a terabyte has a million of them.
        self._sums: array[int] = array("q")
        self.flights: dict[int, asyncio.Task[None]] = {}
        self.settling: asyncio.Task[None] | None = None
        self.opening = asyncio.Lock()
        self.ordering = asyncio.Lock()

    @classmethod
    def of(cls, row: Row, file: FileRecord, path: Path) -> Entry:
        """From the index: the version that its row tells of the file in question. Raises ``ValueError`` for a row that
        cannot be."""
        known = FileRecord(
            file_id=row.file_id,
            node_id=row.node_id,
            export_path=row.export_path,
            name=file.name,
            size=row.file_size,
            mtime=row.mtime,
            inode=file.inode,
        )
        entry = cls(row.id, row.cache_key, known, path)
        if row.block_size != BLOCK or not isinstance(row.etag, str) or not row.etag:
            raise ValueError("a row of another kind")
        entry.present = BlockMap.from_bytes(row.block_map)
        if any(stop > entry.count for _, stop in entry.present):
            raise ValueError("blocks beyond the end")
        entry.etag, entry.sha256, entry.last_access = row.etag, row.sha256, row.last_access
        entry.recorded = True
        return entry

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.file.size

    @property
    def count(self) -> int:
        """Blocks of the file."""
        return blocks_of(self.file.size)

    @property
    def idle(self) -> bool:
        """Whether nobody holds it open."""
        return not (self.users or self.busy)

    @property
    def may_be_forgotten(self) -> bool:
        """Whether nothing hangs on its being remembered: who read it before must be able to see a doubt."""
        return self.idle and not self.doubted

    @property
    def awaited(self) -> bool:
        """Whether somebody reads it."""
        return self.users > self.fillers

    @property
    def comes_whole(self) -> bool:
        """Whether the next fetch is of the whole file: a small one of which there is nothing yet."""
        return self.size <= WHOLE_LIMIT and not len(self.present) and not self.by_blocks

    @property
    def cached_bytes(self) -> int:
        """Bytes of the blocks there are."""
        last = self.count - 1
        short = last >= 0 and self.present.has(last, last + 1)
        return self.present.total * BLOCK - ((last + 1) * BLOCK - self.size if short else 0)

    def is_version_of(self, file: FileRecord) -> bool:
        """Whether it holds what the document of ``file`` says, under the same id."""
        return (self.file.file_id, self.file.size, self.file.mtime) == (file.file_id, file.size, file.mtime)

    def row(self) -> Row:
        """As the index keeps it."""
        return Row(
            id=self.id,
            cache_key=self.key,
            node_id=self.file.node_id,
            export_path=self.file.export_path,
            file_id=self.file.file_id,
            file_size=self.file.size,
            mtime=self.file.mtime,
            etag=self.etag,
            sha256=self.sha256,
            block_size=BLOCK,
            block_map=self.present.to_bytes(),
            cached_bytes=self.cached_bytes,
            last_access=self.last_access,
            source="remote",
        )

    def is_there(self) -> bool:
        """Whether its data file is where it should be."""
        if not len(self.present):
            return True
        try:
            facts = os.stat(self.path)
        except OSError:
            return False
        return self.descriptor is None or os.path.samestat(facts, os.fstat(self.descriptor))

    def watch(self) -> bool:
        """Notice what others did to the data file: its blocks must prove themselves again then. False when it was
        deleted. Says nothing while we write to it ourselves, for that changes its time too."""
        if self.descriptor is None or self.writing or self.detached:
            return True
        facts = os.fstat(self.descriptor)
        if self.stamp is not None and facts.st_ctime_ns != self.stamp:
            self.doubt()
        self.stamp = facts.st_ctime_ns
        return facts.st_nlink > 0

    def doubt(self) -> None:
        """Somebody else wrote to the data file: all blocks must prove themselves, those too that are being compared."""
        self.verified.clear()
        self.doubts += 1
        self._note_doubt()

    def settle(self) -> None:
        """Once no block is on its way, have all that was compared before our last write prove itself again: that write
        hides what others did meanwhile."""
        if self.unsettled and not self.flights and not self.detached:
            self.unsettled = False
            self.verified.clear()

    def damaged(self, blocks: Iterable[int]) -> None:
        """Some blocks are not what they were: they are not there any more."""
        for block in blocks:
            self.present.remove(block, block + 1)
        self._note_doubt()

    def _note_doubt(self) -> None:
        self.doubted = max(time.time_ns(), self.doubted + 1)

    def sum_up(self, checksums: Mapping[int, int]) -> None:
        """Remember what blocks must sum up to."""
        if not self._sums:
            self._sums = array("q", [_UNKNOWN]) * self.count
        for block, value in checksums.items():
            self._sums[block] = value

    def sum_of(self, block: int) -> int | None:
        """What a block that is there must sum up to; None while nobody has looked."""
        known = bool(self._sums) and self.present.has(block, block + 1) and self._sums[block] != _UNKNOWN
        return self._sums[block] if known else None

    def reopen(self) -> int:
        """A descriptor of the data file for reading alone, the caller's to close."""
        assert self.descriptor is not None
        try:
            return os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # no /proc here
            return os.dup(self.descriptor)

    def close_descriptor(self) -> None:
        """Close the data file."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def held_of(file: FileRecord, entry: Entry | None, row: Row | None) -> Held:
    """How much there is of a file in its present version, by its entry in memory and its row in the index."""
    if entry is not None and entry.is_version_of(file):
        present, recorded = entry.cached_bytes, row is not None and row.id == entry.id
    else:
        recorded = row is not None and (row.file_id, row.file_size, row.mtime) == (file.file_id, file.size, file.mtime)
        present = row.cached_bytes if row is not None and recorded else 0
    return Held(present=present, size=file.size, whole=recorded and present == file.size)
