"""Reading every shown file, a directory at a time.

SQLite puts a directory's values together as JSON arrays and msgspec takes them apart: a quarter of the time that a row
for each file takes, since Python makes one tuple per directory instead of one per file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from .reader import Reader

BATCH: Final = 512
"""Directories of one statement: short enough not to hold back the write-ahead log."""

_numbers = msgspec.json.Decoder(list[int]).decode
_numbers_or_none = msgspec.json.Decoder(list[int | None]).decode
_texts = msgspec.json.Decoder(list[str]).decode


class DirectoryFiles(NamedTuple):
    """The shown files directly in a directory, by columns. Those that were not asked for are empty."""

    dir: int
    docs: list[int]
    names: list[str]
    sizes: list[int]
    mtimes: list[int]
    mimes: list[str | None]


def scan_by_directory(reader: Reader, *, names: bool = True, facts: bool = True) -> Iterator[DirectoryFiles]:
    """All directories that hold shown files, by number, with their files.

    Without ``facts`` (size, mtime, MIME type), and without ``names``, an index alone is read.
    """
    columns = ["dir", "json_group_array(doc)"]
    if names:
        columns.append("json_group_array(name)")
    if facts:
        columns += ["json_group_array(size)", "json_group_array(mtime)", "json_group_array(mime)"]
    sql = f"""SELECT {", ".join(columns)} FROM documents INDEXED BY files_by_directory
        WHERE shown = 1 AND dir > ? GROUP BY dir ORDER BY dir LIMIT {BATCH}"""
    after = 0
    while True:
        rows = reader._connection.execute(sql, (after,)).fetchall()
        for row in rows:
            values = iter(row[2:])
            found = DirectoryFiles(row[0], _numbers(row[1]), _texts(next(values)) if names else [], [], [], [])
            if facts:
                sizes, mtimes, mimes = _numbers(next(values)), _numbers(next(values)), _numbers_or_none(next(values))
                types = [None if mime is None else reader.names.mime_type(mime) for mime in mimes]
                found = found._replace(sizes=sizes, mtimes=mtimes, mimes=types)
            yield found
        if len(rows) < BATCH:
            return
        after = rows[-1][0]
