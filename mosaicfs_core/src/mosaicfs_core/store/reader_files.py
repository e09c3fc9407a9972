"""Reading files and their directories."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..documents.ids import full_file_id
from ..documents.paths import name_of, parent_of
from .indexes import KEYS, KINDS
from .numbering import NumberCache
from .records import DirRow, FileBatch, FileRow, Identity
from .revisions import decode
from .revtree import unpack_hash
from .rows import COLUMNS, QUALIFIED, body_of, hash_of, id_of, inode_of, near_inode
from .schema import DELETED, INACTIVE, OWN_INODE, QUARANTINED

BATCH = 10_000
PAGE = 500

FILE_COLUMNS = "d.doc, d.dir, d.name, d.size, d.mtime, d.mime, d.flags, d.id_hash, d.key, d.extra"
# From here on the derived inode is the hash without its last ten bits (``inode_of``).
_SMALLEST_USUAL_HASH = 1000 << 10
_DIRECTORY = "SELECT dir, node, parent, path, direct, below FROM directories"


class FileReader:
    """The part of ``Reader`` about files, directories and the indexes of other types."""

    FILE_COLUMNS = FILE_COLUMNS

    def __init__(self, connection: sqlite3.Connection, names: NumberCache) -> None:
        self._connection = connection
        self.names = names

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query of one's own."""
        return self._connection.execute(sql, parameters).fetchall()

    def has(self, sql: str, parameters: Sequence[Any] = ()) -> bool:
        """Whether a query has a row."""
        return self._connection.execute(sql, parameters).fetchone() is not None

    # Directories

    def nodes(self) -> list[tuple[int, str]]:
        """Number and id of every node that ever had a file."""
        return self._connection.execute("SELECT node, node_id FROM nodes ORDER BY node").fetchall()

    def mimes(self) -> list[tuple[int, str]]:
        """Number and name of every MIME type."""
        return self._connection.execute("SELECT mime, name FROM mimes").fetchall()

    def node_number(self, node_id: str) -> int | None:
        """The number of a node, or None when it never had a file."""
        row = self._connection.execute("SELECT node FROM nodes WHERE node_id = ?", (node_id,)).fetchone()
        return None if row is None else int(row[0])

    def _dir_row(self, row: tuple[Any, ...]) -> DirRow:
        number, node, parent, path, direct, below = row
        return DirRow(number, self.names.node_id(node), parent, path, name_of(path), direct, below)

    def directory(self, node_id: str, path: str) -> DirRow | None:
        """A directory by its export path, also when nothing is left in it; None when it never held a file."""
        sql = f"{_DIRECTORY} WHERE node = ? AND path = ?"
        row = self._connection.execute(sql, (self.node_number(node_id), path)).fetchone()
        return None if row is None else self._dir_row(row)

    def directory_by_no(self, number: int) -> DirRow | None:
        """A directory by its number."""
        row = self._connection.execute(f"{_DIRECTORY} WHERE dir = ?", (number,)).fetchone()
        return None if row is None else self._dir_row(row)

    def subdirectories(self, number: int) -> list[DirRow]:
        """The directories directly in a directory that have shown files at or below them, by name."""
        sql = f"{_DIRECTORY} WHERE parent = ? AND below > 0"
        rows = [self._dir_row(row) for row in self._connection.execute(sql, (number,)).fetchall()]
        return sorted(rows, key=lambda row: row.name)

    def directories_under(self, node_id: str, path: str, *, after: str = "", limit: int = BATCH) -> list[DirRow]:
        """A directory and all beneath it that have shown files at or below them, by path; pages by ``after``."""
        node = self.node_number(node_id)
        low = path if path == "/" else path + "/"
        high = low[:-1] + "0"  # the character after the slash
        sql = f"{_DIRECTORY} WHERE node = ? AND path >= ? AND path < ? AND below > 0 ORDER BY path LIMIT ?"
        rows: list[tuple[Any, ...]] = []
        if not after and path != "/":
            rows = self._connection.execute(
                f"{_DIRECTORY} WHERE node = ? AND path = ? AND below > 0", (node, path)
            ).fetchall()
        start = low if not after or after == path else after + "\0"
        rows += self._connection.execute(sql, (node, start, high, limit - len(rows))).fetchall()
        return [self._dir_row(row) for row in rows]

    def directory_parents(self) -> Iterator[tuple[int, int]]:
        """Number and parent's number (0 for a node's root) of every directory, by number: parents come first."""
        after = 0
        while True:
            sql = "SELECT dir, ifnull(parent, 0) FROM directories WHERE dir > ? ORDER BY dir LIMIT ?"
            rows = self._connection.execute(sql, (after, BATCH)).fetchall()
            if not rows:
                return
            yield from rows
            after = rows[-1][0]

    # Files

    def file_row(self, row: tuple[Any, ...]) -> FileRow:
        """A row of ``FILE_COLUMNS`` as a value."""
        doc, number, name, size, mtime, mime, flags, id_hash, key, extra = row
        node_id, parent = self.names.directory_path(number)
        inode = near_inode(decode(extra)["inode"], id_hash) if flags & OWN_INODE else inode_of(id_hash)
        mime_type = None if mime is None else self.names.mime_type(mime)
        status = "deleted" if flags & INACTIVE else "active"
        return FileRow(doc, number, node_id, parent, name, size, mtime, inode, mime_type, status, key)

    def _own_inode(self, row: tuple[Any, ...]) -> int:
        """The inode of a row of ``COLUMNS``."""
        if row[8] & OWN_INODE:
            return near_inode(body_of(row, self.names)["inode"], row[1])
        return inode_of(row[1])

    def files_in(self, number: int) -> list[FileRow]:
        """The shown files directly in a directory, by name.

        As ``file_row`` would make them, with what is the same for all taken out of the loop: listings live on it.
        """
        sql = f"SELECT {FILE_COLUMNS} FROM documents d WHERE d.dir = ? AND d.shown = 1 ORDER BY d.name"
        rows = self._connection.execute(sql, (number,)).fetchall()
        if not rows:
            return []
        node_id, parent = self.names.directory_path(number)
        mimes = {mime: None if mime is None else self.names.mime_type(mime) for mime in {row[5] for row in rows}}
        make = tuple.__new__
        return [
            make(FileRow, (doc, dir_, node_id, parent, name, size, mtime, id_hash >> 10, mimes[mime], "active", key))
            if id_hash >= _SMALLEST_USUAL_HASH and not flags & OWN_INODE
            else self.file_row((doc, dir_, name, size, mtime, mime, flags, id_hash, key, extra))
            for doc, dir_, name, size, mtime, mime, flags, id_hash, key, extra in rows
        ]

    def file_by_path(self, node_id: str, path: str, *, deleted: bool = False) -> FileRow | None:
        """The shown file at an export path; with ``deleted`` also one whose status is ``deleted``, if no other is
        there."""
        directory = self.directory(node_id, parent_of(path))
        if directory is None:
            return None
        sql = f"SELECT {FILE_COLUMNS} FROM documents d WHERE d.dir = ? AND d.name = ? AND d.shown = 1 ORDER BY d.doc"
        where = (directory.dir, name_of(path))
        row = self._connection.execute(sql, where).fetchone()
        if row is None and deleted:
            gone = sql.replace("d.shown = 1", "d.shown IS NULL AND d.dir IS NOT NULL")
            row = self._connection.execute(gone, where).fetchone()
        return None if row is None else self.file_row(row)

    def inactive_files_in(self, number: int) -> list[FileRow]:
        """The files directly in a directory whose status is ``deleted``, by name."""
        sql = f"""SELECT {FILE_COLUMNS} FROM documents d
            WHERE d.dir = ? AND d.shown IS NULL AND d.dir IS NOT NULL ORDER BY d.name"""
        return [self.file_row(row) for row in self._connection.execute(sql, (number,)).fetchall()]

    def file_by_id(self, short_id: str) -> FileRow | None:
        """A file, active or not, by its short id ``{node_id}.{uuid}``. Raises UserError for what is no such id."""
        identifier = full_file_id(short_id)
        sql = f"SELECT {FILE_COLUMNS}, d.node FROM documents d WHERE d.id_hash = ? AND d.dir IS NOT NULL"
        for row in self._connection.execute(sql, (hash_of(identifier),)).fetchall():
            found = self.file_row(row[:-1])
            if found.document_id == identifier:
                return found
        return None

    def _row_by_inode(self, inode: int) -> tuple[Any, ...] | None:
        """The columns of the live document with this inode."""
        sql = f"SELECT {COLUMNS} FROM documents WHERE doc IN (SELECT doc FROM inodes WHERE inode = ?) ORDER BY doc"
        rows = self._connection.execute(sql, (inode,)).fetchall()
        low, high = inode << 10, (inode + 1) << 10
        sql = f"SELECT {COLUMNS} FROM documents WHERE id_hash >= ? AND id_hash < ? AND flags & ? = 0"
        rows += self._connection.execute(sql, (low, high, OWN_INODE)).fetchall()
        for row in rows:
            if not row[8] & (DELETED | QUARANTINED):
                return tuple(row)
        return None

    def file_rows(self, docs: Sequence[int]) -> list[FileRow]:
        """Files, active or not, of these document numbers, in order; numbers of others are left out."""
        sql = f"""SELECT {FILE_COLUMNS} FROM json_each(?) AS wanted
            CROSS JOIN documents d ON d.doc = wanted.value WHERE d.dir IS NOT NULL"""
        rows = self._connection.execute(sql, (msgspec.json.encode(list(docs)).decode(),)).fetchall()
        return [self.file_row(row) for row in rows]

    def scan_files(self, where: str = "", parameters: Sequence[Any] = (), after: int = 0) -> Iterator[FileBatch]:
        """All shown files with a document number above ``after``, in batches, by number.

        ``where`` is a condition in SQL over ``size``, ``mtime`` (microseconds), ``mime_type`` (text or NULL),
        ``node_id`` (text), ``dir`` and ``name``. One that few files meet is answered from an index where there is one.
        """
        condition = f"WHERE {where}" if where else ""
        inner = """SELECT d.doc, d.dir, d.name, d.size, d.mtime, m.name AS mime_type, n.node_id
            FROM documents d LEFT JOIN mimes m ON m.mime = d.mime
            LEFT JOIN directories p ON p.dir = d.dir LEFT JOIN nodes n ON n.node = p.node WHERE d.shown = 1"""
        sql = f"""SELECT doc, dir, name, size, mtime, mime_type FROM ({inner} AND d.doc > ?1) AS f
            {condition} ORDER BY doc LIMIT {BATCH}"""
        while True:
            rows = self._connection.execute(sql, (after, *parameters)).fetchall()
            if rows:
                yield FileBatch(*zip(*rows, strict=True))
            if len(rows) < BATCH:
                return
            after = rows[-1][0]

    def next_mtime(self, after: int) -> int | None:
        """The least mtime above ``after`` of any shown file."""
        sql = "SELECT min(mtime) FROM documents INDEXED BY files_by_mtime WHERE shown = 1 AND mtime > ?"
        found = self._connection.execute(sql, (after,)).fetchone()[0]
        return None if found is None else int(found)

    # Identities

    def files_by_identity(self, device: int, number: int) -> list[FileRow]:
        """The files of this machine that were last seen with this device and inode number."""
        sql = "SELECT doc FROM file_identity WHERE number = ? AND device = ? ORDER BY doc"
        return self.file_rows([row[0] for row in self._connection.execute(sql, (number, device)).fetchall()])

    def identities(self, docs: Sequence[int]) -> dict[int, Identity]:
        """What is noted of these documents."""
        sql = """SELECT i.doc, i.device, i.number, i.fingerprint FROM json_each(?) AS wanted
            CROSS JOIN file_identity i ON i.doc = wanted.value"""
        rows = self._connection.execute(sql, (msgspec.json.encode(list(docs)).decode(),)).fetchall()
        return {row[0]: Identity(*row[1:]) for row in rows}

    # Other types

    def documents_of(
        self,
        index: str,
        key: Sequence[str] = (),
        *,
        limit: int | None = None,
        offset: int = 0,
        newest_first: bool = False,
    ) -> list[dict[str, Any]]:
        """Live documents of a type (or of a named index, see ``indexes``), by key, whose leading fields are ``key``."""
        where, parameters = self._lookup(index, key)
        direction = "DESC" if newest_first else "ASC"
        order = ", ".join(f"l.{column} {direction}" for column in "abc")
        sql = f"""SELECT {QUALIFIED} FROM lookup l CROSS JOIN documents ON documents.doc = l.doc
            WHERE {where} ORDER BY {order}, l.doc {direction} LIMIT ? OFFSET ?"""
        rows = self._connection.execute(sql, (*parameters, -1 if limit is None else limit, offset)).fetchall()
        return [self._document(row) for row in rows]

    def _document(self, row: tuple[Any, ...]) -> dict[str, Any]:
        """A row of ``COLUMNS`` as a document."""
        document: dict[str, Any] = {"_id": id_of(row, self.names), "_rev": f"{row[6]}-{unpack_hash(row[7])}"}
        if row[8] & DELETED:
            document["_deleted"] = True
        document.update(body_of(row, self.names))
        return document

    def iter_documents(self, index: str, key: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """``documents_of`` without end, in batches that each begin after the last key."""
        return (document for _, document in self.walk(index, key))

    def walk(
        self, index: str, key: Sequence[str] = (), after: tuple[Any, ...] = ()
    ) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """``iter_documents``, each with its place in the index: what comes ``after`` it is the rest."""
        where, parameters = self._lookup(index, key)
        columns = [f"l.{column}" for column in "abc"[len(parameters) - 1 :]] + ["l.doc"]
        width, order = len(columns), ", ".join(columns)
        sql = f"""SELECT {order}, {QUALIFIED} FROM lookup l CROSS JOIN documents ON documents.doc = l.doc
            WHERE {where} AND ({order}) > ({", ".join("?" * width)}) ORDER BY {order} LIMIT {PAGE}"""
        position = after or (*[""] * (width - 1), 0)
        while True:
            rows = self._connection.execute(sql, (*parameters, *position)).fetchall()
            for row in rows:
                yield row[:width], self._document(row[width:])
            if len(rows) < PAGE:
                return
            position = rows[-1][:width]

    def count_of(self, index: str, key: Sequence[str] = ()) -> int:
        """How many documents ``documents_of`` would return without a limit."""
        where, parameters = self._lookup(index, key)
        return int(self._connection.execute(f"SELECT count(*) FROM lookup l WHERE {where}", parameters).fetchone()[0])

    def counts_of(self, index: str) -> dict[str, int]:
        """``count_of`` of each value of the index's first field."""
        where, parameters = self._lookup(index, ())
        sql = f"SELECT a, count(*) FROM lookup l WHERE {where} GROUP BY a"
        return dict(self._connection.execute(sql, parameters).fetchall())

    def _lookup(self, index: str, key: Sequence[str]) -> tuple[str, tuple[Any, ...]]:
        kind = KINDS.get(index)
        parts: tuple[Any, ...] = (kind, *key) if kind is not None else (0, index, *key)
        if len(parts) > 4 or (index in KEYS and len(key) > len(KEYS[index])):
            raise ValueError(f"the index {index} has fewer fields than {tuple(key)!r}")
        return " AND ".join(f"l.{column} = ?" for column in ("kind", "a", "b", "c")[: len(parts)]), parts
