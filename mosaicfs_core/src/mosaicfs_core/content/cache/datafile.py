"""An entry's data file on disk: made, written, compared, and put in its place. All of it blocks and raises OSError."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mosaicfs_core.content.cache.entry import Entry
from mosaicfs_core.content.cache.layout import BLOCK, checksum, in_directory, read_block, temporary_file

logger = logging.getLogger(__name__)


class Written(NamedTuple):
    """The checksums of blocks by number, and the change time (ns) that writing them left on the file. ``alone`` unless
    somebody else has written to it since the last of our own writes: then nothing in it is certain."""

    checksums: dict[int, int]
    stamp: int | None
    alone: bool


def open_file(path: Path, size: int) -> tuple[int, bool]:
    """A descriptor of a data file of ``size`` bytes, and whether it was made just now."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor, fresh = os.open(path, flags), False
    except FileNotFoundError:
        descriptor, fresh = in_directory(path.parent, lambda: os.open(path, flags | os.O_CREAT, 0o600)), True
    try:
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, fresh


def write_blocks(descriptor: int, start: int, data: bytes | bytearray, stamp: int | None) -> Written:
    """Write whole blocks from block ``start`` on, one at a time to a file. ``stamp`` is the change time that our last
    write left on it; None: whoever else touches it is not looked for."""
    sums, alone = {}, True
    view = memoryview(data)
    for offset in range(0, len(data), BLOCK):
        block = view[offset : offset + BLOCK]
        position, written = start * BLOCK + offset, 0
        alone = alone and untouched(descriptor, stamp)
        while written < len(block):
            written += os.pwrite(descriptor, block[written:], position + written)
        if stamp is not None:
            stamp = os.fstat(descriptor).st_ctime_ns
        sums[start + offset // BLOCK] = checksum(block)
    return Written(sums, stamp, alone)


def untouched(descriptor: int, stamp: int | None) -> bool:
    """Whether a file's change time still is ``stamp``. Where such times are as coarse as the system's clock ticks, a
    write in the tick of our last one is not seen (decision 11)."""
    return stamp is None or os.fstat(descriptor).st_ctime_ns == stamp


def agreeing(descriptor: int, expected: dict[int, int]) -> set[int]:
    """Which of some blocks have the checksum that they should have."""
    good = set()
    for block, value in expected.items():
        try:
            if checksum(read_block(descriptor, block)) == value:
                good.add(block)
        except OSError as error:  # a bad sector is as good as a lost block
            logger.warning("the cache cannot be read: %s", error, extra={"operation": "cache"})
    return good


def move_into_place(directory: Path, entry: Entry, stamp: int | None) -> bool:
    """Give a data file that comes whole its place, out of ``tmp``. Whether it was ``untouched`` until then."""
    assert entry.descriptor is not None
    alone = untouched(entry.descriptor, stamp)
    with suppress(FileNotFoundError):
        if os.path.samestat(entry.path.stat(), os.fstat(entry.descriptor)):
            return alone  # it was there before all of its blocks turned out to be damaged
    in_directory(entry.path.parent, lambda: os.replace(temporary_file(directory, entry.key, entry.id), entry.path))
    return alone
