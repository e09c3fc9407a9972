"""What an agent asks the replica while it crawls: whole directories at a time, as bare rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..documents.ids import INODES_TRIED
from .reader import Reader
from .records import FileRow
from .schema import FILE, OWN_INODE

ALIKE_LIMIT = 64
"""Files of one mtime that are looked at for one that is alike: where more share it, it tells nothing."""


class KnownFile(NamedTuple):
    """A file of a directory; ``shown`` is 1 for an active one, else None. Its fields are a row's, in this order."""

    name: str
    size: int
    mtime: int
    doc: int
    shown: int | None


class DirectoryContents(NamedTuple):
    """What is known directly in a directory: bare rows in the order of ``KnownFile``'s fields (deleted files too), and
    the names of sub-directories with shown files at or beneath them."""

    files: list[tuple[str, int, int, int, int | None]]
    directories: list[str]


_NOTHING = DirectoryContents([], [])

# Shown files and the others have an index each, so each half names the condition of its own.
_EVERY_FILE = """SELECT name, size, mtime, doc, shown FROM documents WHERE dir = ? AND shown = 1
    UNION ALL
    SELECT name, size, mtime, doc, shown FROM documents WHERE dir = ? AND shown IS NULL AND dir IS NOT NULL"""
_NAMED_FILES = """SELECT d.name, d.size, d.mtime, d.doc, d.shown FROM json_each(?) AS wanted
        CROSS JOIN documents d WHERE d.dir = ? AND d.name = wanted.value AND d.shown = 1
    UNION ALL
    SELECT d.name, d.size, d.mtime, d.doc, d.shown FROM json_each(?) AS wanted
        CROSS JOIN documents d WHERE d.dir = ? AND d.name = wanted.value AND d.shown IS NULL AND d.dir IS NOT NULL"""


def _directory(reader: Reader, node_id: str, path: str) -> int | None:
    sql = "SELECT x.dir FROM nodes n CROSS JOIN directories x ON x.node = n.node WHERE n.node_id = ? AND x.path = ?"
    row = reader._connection.execute(sql, (node_id, path)).fetchone()
    return None if row is None else int(row[0])


def directory_contents(reader: Reader, node_id: str, path: str) -> DirectoryContents:
    """Everything known directly in a directory."""
    number = _directory(reader, node_id, path)
    if number is None:
        return _NOTHING
    execute = reader._connection.execute
    files = execute(_EVERY_FILE, (number, number)).fetchall()
    below = execute("SELECT path FROM directories WHERE parent = ? AND below > 0", (number,)).fetchall()
    return DirectoryContents(files, [row[0].rpartition("/")[2] for row in below])


def named_files(reader: Reader, node_id: str, path: str, names: Sequence[str]) -> DirectoryContents:
    """As ``directory_contents``, of these names alone and without sub-directories."""
    number = _directory(reader, node_id, path)
    if number is None:
        return _NOTHING
    encoded = msgspec.json.encode(list(names)).decode()
    files = reader._connection.execute(_NAMED_FILES, (encoded, number, encoded, number)).fetchall()
    return DirectoryContents(files, [])


def files_at(reader: Reader, node_id: str, places: Sequence[tuple[str, str]]) -> list[int]:
    """Document numbers of the shown files at some places, each a directory's path and a name."""
    sql = """SELECT d.doc FROM nodes n CROSS JOIN json_each(?) AS wanted
        CROSS JOIN directories x ON x.node = n.node AND x.path = json_extract(wanted.value, '$[0]')
        CROSS JOIN documents d ON d.dir = x.dir AND d.name = json_extract(wanted.value, '$[1]') AND d.shown = 1
        WHERE n.node_id = ?"""
    rows = reader._connection.execute(sql, (msgspec.json.encode(list(places)).decode(), node_id)).fetchall()
    return [row[0] for row in rows]


def trees_at(reader: Reader, node_id: str, paths: Sequence[str]) -> list[str]:
    """Those of the paths at which a directory with shown files at or beneath it is known."""
    sql = """SELECT x.path FROM nodes n CROSS JOIN json_each(?) AS wanted
        CROSS JOIN directories x ON x.node = n.node AND x.path = wanted.value WHERE n.node_id = ? AND x.below > 0"""
    rows = reader._connection.execute(sql, (msgspec.json.encode(list(paths)).decode(), node_id)).fetchall()
    return [row[0] for row in rows]


def count_below(reader: Reader, node_id: str, path: str) -> int:
    """Shown files of a node in a directory and beneath it."""
    directory = reader.directory(node_id, path)
    return 0 if directory is None else directory.below


def taken_inodes(reader: Reader, inodes: Sequence[int]) -> set[int]:
    """Those of the inodes that some document has; what a file's claims that cannot be its own is nobody's."""
    sql = """SELECT wanted.value FROM json_each(?1) AS wanted WHERE EXISTS(
            SELECT 1 FROM documents d WHERE d.id_hash >= wanted.value << 10 AND d.id_hash < (wanted.value + 1) << 10
            AND d.flags & ?2 = 0)
        OR EXISTS(SELECT 1 FROM inodes i JOIN documents d ON d.doc = i.doc WHERE i.inode = wanted.value
            AND (d.type IS NOT ?3 OR i.inode - (d.id_hash >> 10) BETWEEN 0 AND ?4))"""
    given = (msgspec.json.encode(list(inodes)).decode(), OWN_INODE, FILE, INODES_TRIED - 1)
    rows = reader._connection.execute(sql, given).fetchall()
    return {row[0] for row in rows}


def identity_matches(reader: Reader, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(device, number, document number) of files that were last seen with one of these devices and inode numbers."""
    sql = """SELECT i.device, i.number, i.doc FROM json_each(?) AS wanted CROSS JOIN file_identity i
        ON i.number = json_extract(wanted.value, '$[1]') AND i.device = json_extract(wanted.value, '$[0]')"""
    return reader._connection.execute(sql, (msgspec.json.encode(list(pairs)).decode(),)).fetchall()


def files_alike(reader: Reader, name: str, size: int, mtime: int) -> list[int]:
    """Document numbers of shown files with this name, size and mtime; none when very many files share the mtime."""
    sql = "SELECT name, size, doc FROM documents WHERE mtime = ? AND shown = 1 LIMIT ?"
    rows = reader._connection.execute(sql, (mtime, ALIKE_LIMIT)).fetchall()
    return [] if len(rows) == ALIKE_LIMIT else [row[2] for row in rows if row[0] == name and row[1] == size]


def files_under(
    reader: Reader, node_id: str, path: str, after: tuple[str, str], limit: int
) -> tuple[list[FileRow], tuple[str, str] | None]:
    """About ``limit`` shown files in a directory and beneath it (whole directories at a time when they are small),
    after the position given, and the position to go on from; None when there are no more. The first position is ``("",
    "")``.
    """
    found: list[FileRow] = []
    if after[0] and after[1]:
        current = reader.directory(node_id, after[0])
        if current is not None:
            found = [row for row in reader.files_in(current.dir) if row.name > after[1]]
            if len(found) > limit:
                return found[:limit], (after[0], found[limit - 1].name)
    while True:
        directories = reader.directories_under(node_id, path, after=after[0], limit=100)
        if not directories:
            return found, None
        for directory in directories:
            after = (directory.path, "")
            if directory.direct:
                rows = reader.files_in(directory.dir)
                room = limit - len(found)
                if len(rows) > room:
                    found += rows[:room]
                    return found, (directory.path, rows[room - 1].name if room else "")
                found += rows
            if len(found) >= limit:
                return found, after
