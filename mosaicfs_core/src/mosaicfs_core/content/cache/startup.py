"""Making the cache's directory and its index agree, and removing files. All of it blocks."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mosaicfs_core.content.cache.layout import TEMPORARY, Row, data_file, temporary_file


class Found(NamedTuple):
    """What is there: entries and their bytes, the ids of rows without a data file, and the first free id."""

    entries: int
    cached_bytes: int
    gone: tuple[int, ...]
    next_id: int


def reconcile(directory: Path, rows: Sequence[Row]) -> Found:
    """Empty ``tmp``, remove data files that no row names, and find the rows whose data file is missing or of another
    length. Which blocks of the others are right shows when they are read."""
    temporary = directory / TEMPORARY
    temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in temporary.iterdir():
        path.unlink(missing_ok=True)
    known = {data_file(directory, row.cache_key, row.id): row for row in rows}
    there: set[int] = set()
    for path in _data_files(directory):
        row = known.get(path)
        if row is None or path.stat().st_size != row.file_size:
            path.unlink(missing_ok=True)
        else:
            there.add(row.id)
    kept = [row for row in rows if row.id in there or not row.file_size]
    gone = tuple(row.id for row in rows if row.id not in there and row.file_size)
    return Found(len(kept), sum(row.cached_bytes for row in kept), gone, first_id(row.id for row in rows))


def first_id(given: Iterable[int] = ()) -> int:
    """An id above those ``given``, and above all others before: by the clock, so that an id is given once even when
    the index and its highest id are lost or not known."""
    return max(max(given, default=0) + 1, time.time_ns() // 1_000_000)


def occupied(directory: Path) -> int:
    """The bytes that all data files together have on disk."""
    return sum(path.stat().st_blocks * 512 for path in _data_files(directory)) if directory.is_dir() else 0


def existing(directory: Path, rows: Iterable[Row]) -> set[int]:
    """The ids of those rows whose data file is where it should be, in its full length; one of no bytes needs none."""
    found = set()
    for row in rows:
        with suppress(OSError):
            if not row.file_size or data_file(directory, row.cache_key, row.id).stat().st_size == row.file_size:
                found.add(row.id)
    return found


def remove_files(directory: Path, key: str, identifier: int) -> None:
    """Remove what an entry has on disk."""
    for path in (data_file(directory, key, identifier), temporary_file(directory, key, identifier)):
        with suppress(FileNotFoundError):
            path.unlink()


def remove_all(directory: Path, used: Collection[int]) -> None:
    """Remove all data files but those of the entries ``used``."""
    for path in (*_data_files(directory), *(directory / TEMPORARY).glob("*.*")):
        number = path.suffix[1:]
        if not (number.isdecimal() and int(number) in used):
            path.unlink(missing_ok=True)


def _data_files(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as shards:
        names = [entry.name for entry in shards if len(entry.name) == 2 and entry.is_dir(follow_symlinks=False)]
    for name in names:
        yield from (directory / name).iterdir()
