"""Where the cache keeps what, and how an entry is named and checked. Pure but for the paths it joins.

Layout of the directory::

    index.db            which entries there are and which blocks of them (schema.py)
    tmp/{key}.{id}      whole files on their way, unverified; emptied at every start
    ab/{key}.{id}       an entry's bytes, at their own offsets: complete, or sparse with some blocks filled

``key`` is the SHA-256 of node id and path, ``ab`` its first two digits. ``id`` is a number that is never given to two
entries: a data file belongs to the row with its id or to nobody, whatever moment a crash chooses.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from mosaicfs_core.content.blockmap import BlockMap
from mosaicfs_core.content.owners import BLOCK

T = TypeVar("T")

_ATTEMPTS: Final = 5
INDEX: Final = "index.db"
TEMPORARY: Final = "tmp"
WHOLE_LIMIT: Final = 50_000_000
"""Files up to this size are fetched whole and checked against their owner's digest."""

__all__ = ["BLOCK", "INDEX", "TEMPORARY", "WHOLE_LIMIT", "Row", "blocks_of", "byte_ranges", "cache_key", "checksum"]


class Row(NamedTuple):
    """An entry as the index keeps it; see schema.py for the columns."""

    id: int
    cache_key: str
    node_id: str
    export_path: str
    file_id: str
    file_size: int
    mtime: int
    etag: str
    sha256: bytes | None
    block_size: int
    block_map: bytes
    cached_bytes: int
    last_access: int
    source: str


def cache_key(node_id: str, export_path: str) -> str:
    """The hexadecimal name of a file's entry."""
    return hashlib.sha256(f"{node_id}::{export_path}".encode()).hexdigest()


def data_file(directory: Path, key: str, identifier: int) -> Path:
    """Where an entry's bytes are."""
    return directory / key[:2] / f"{key}.{identifier}"


def in_directory(directory: Path, work: Callable[[], T]) -> T:
    """Do something in a directory that is made first, and anew when somebody deletes it in between. Blocks. Raises
    OSError."""
    for _ in range(_ATTEMPTS):
        # One that is deleted while it is found to be there already looks like a file in its place.
        with suppress(FileNotFoundError, FileExistsError):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            return work()
    return work()


def temporary_file(directory: Path, key: str, identifier: int) -> Path:
    """Where an entry's bytes are until they are verified."""
    return directory / TEMPORARY / f"{key}.{identifier}"


def checksum(data: bytes | memoryview) -> int:
    """What a block must sum up to when it is read back: finds torn writes, lost pages and flipped bits."""
    return zlib.crc32(data)


def blocks_of(size: int) -> int:
    """How many blocks a file of ``size`` bytes has."""
    return -(-size // BLOCK)


def byte_ranges(blocks: BlockMap, size: int) -> tuple[tuple[int, int], ...]:
    """The byte ranges of a file of ``size`` bytes that some of its blocks cover."""
    return tuple((start * BLOCK, min(stop * BLOCK, size)) for start, stop in blocks)


def read_block(descriptor: int, number: int) -> bytes:
    """A block as it is on disk; short where the file ends. Blocks. Raises OSError."""
    return os.pread(descriptor, BLOCK, number * BLOCK)
