"""Making the cache's directory and its index agree, and removing files. All of it blocks, and bears that somebody
deletes the directory meanwhile."""

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
    for path in _listed(directory / TEMPORARY):
        path.unlink(missing_ok=True)
    known = {data_file(directory, row.cache_key, row.id): row for row in rows}
    there: set[int] = set()
    for path in _data_files(directory):
        row = known.get(path)
        facts = _facts(path)
        if row is not None and facts is not None and facts.st_size == row.file_size:
            there.add(row.id)
        else:
            path.unlink(missing_ok=True)
    kept = [row for row in rows if row.id in there or not row.file_size]
    gone = tuple(row.id for row in rows if row.id not in there and row.file_size)
    return Found(len(kept), sum(row.cached_bytes for row in kept), gone, first_id(row.id for row in rows))


def first_id(given: Iterable[int] = ()) -> int:
    """An id above those ``given``, and above all others before: by the clock, so that an id is given once even when
    the index and its highest id are lost or not known."""
    return max(max(given, default=0) + 1, time.time_ns() // 1_000_000)


def occupied(directory: Path) -> int:
    """The bytes that all data files together have on disk."""
    return sum(facts.st_blocks * 512 for path in _data_files(directory) if (facts := _facts(path)) is not None)


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
    for path in (*_data_files(directory), *_listed(directory / TEMPORARY)):
        number = path.suffix[1:]
        if not (number.isdecimal() and int(number) in used):
            path.unlink(missing_ok=True)


def _data_files(directory: Path) -> Iterator[Path]:
    for shard in _listed(directory):
        if len(shard.name) == 2 and shard.is_dir() and not shard.is_symlink():
            yield from _listed(shard)


def _listed(directory: Path) -> list[Path]:
    """What lies in a directory; nothing when it is not there: the cache may be deleted at any moment."""
    try:
        return [directory / name for name in os.listdir(directory)]
    except FileNotFoundError:
        return []


def _facts(path: Path) -> os.stat_result | None:
    """None for a file that is deleted meanwhile."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
