"""Reading the replica: one connection, plain blocking calls of microseconds each.

Every method is one short statement or a few; none keeps a statement open between calls of the caller's, except the
iterators, which fetch bounded batches. So a reader never holds back the write-ahead log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ..documents.ids import full_file_id
from ..errors import NotFound
from ..hooks.context import FileQuery, FileRecord, Page
from ..rules.labels import LabelRules, rule_keys
from . import revtree, search
from .entries import Entry
from .numbering import NumberCache
from .ordered import ordered_rows
from .reader_files import FileReader
from .records import Change, ChangeRow, StoreInfo
from .revisions import decode
from .revtree import Rev, Tree, format_rev, parse_rev, unpack_hash
from .rows import COLUMNS, QUALIFIED, hash_of, id_of, inode_of, type_name
from .schema import CONFLICT, DELETED, FILE, INACTIVE, LEAVES, QUARANTINED, READER_CACHE_KIB, connect

_BY_HASH = f"SELECT {COLUMNS} FROM documents WHERE id_hash = ?"
_BY_HASHES = f"SELECT {QUALIFIED} FROM json_each(?) AS wanted CROSS JOIN documents ON documents.id_hash = wanted.value"
_BY_SEQ = f"SELECT {COLUMNS} FROM documents WHERE seq > ? ORDER BY seq LIMIT ?"
HEAVY = 8 << 20
"""Bytes of rows after which no more are read at once."""
_BY_SEQ_UP_TO = f"SELECT {COLUMNS} FROM documents WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_OTHERS_BY_SEQ_UP_TO = _BY_SEQ_UP_TO.replace("ORDER BY", "AND typeof(key) = 'text' ORDER BY")
_BY_DOC = f"SELECT {COLUMNS} FROM documents WHERE doc = ?"
_FEW = 20


class Reader(FileReader):
    """A view of the latest committed state. Not shared between threads that run at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection, NumberCache(connection))

    @classmethod
    def open(cls, path: Path, *, cache_kib: int = READER_CACHE_KIB) -> Reader:
        """A reader of the file at ``path``, in this process or another. Raises NotFound when there is none."""
        if not path.exists():
            raise NotFound(f"There is no replica at {path}.")
        return cls(connect(path, cache_kib=cache_kib, read_only=True))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one state. Keep it short: the write-ahead log cannot shrink meanwhile. One inside another is
        the same."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    # The database

    def seq(self) -> int:
        """The update sequence."""
        return int(self._connection.execute("SELECT max(seq) FROM documents").fetchone()[0] or 0)

    def data_version(self) -> int:
        """A number that differs after another connection has committed."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def meta(self, key: str) -> Any:
        """A fact about the database: ``instance_id``, ``schema_version``, ``revs_limit``."""
        return self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]

    def info(self) -> StoreInfo:
        """Figures for people."""
        rows = self._connection.execute("SELECT type, live, deleted, quarantined FROM counts").fetchall()
        types = {type_name(row[0]): dict(zip(("live", "deleted", "quarantined"), row[1:], strict=True)) for row in rows}
        conflicts = self._connection.execute("SELECT count(DISTINCT doc) FROM leaves WHERE deleted = 0").fetchone()[0]
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
        size = self._connection.execute("PRAGMA page_size").fetchone()[0]
        held = sum(figures["quarantined"] for figures in types.values())
        sql = "SELECT ifnull(sum(below), 0) FROM directories WHERE parent IS NULL"
        files = self._connection.execute(sql).fetchone()[0]
        return StoreInfo(self.meta("instance_id"), self.seq(), types, files, conflicts, held, pages * size)

    def local_get(self, name: str) -> dict[str, Any] | None:
        """A ``_local`` document by its name, or None."""
        row = self._connection.execute("SELECT id, rev, body FROM locals WHERE id = ?", (name,)).fetchone()
        return None if row is None else {"_id": f"_local/{row[0]}", "_rev": f"0-{row[1]}", **decode(row[2])}

    # Documents

    def row(self, identifier: str) -> tuple[Any, ...] | None:
        """The columns of a document, deleted or not."""
        for row in self._connection.execute(_BY_HASH, (hash_of(identifier),)).fetchall():
            if id_of(row, self.names) == identifier:
                return tuple(row)
        return None

    def get(self, identifier: str) -> dict[str, Any] | None:
        """The winning revision with ``_id`` and ``_rev``; None when it does not exist, is deleted or in quarantine."""
        row = self.row(identifier)
        if row is None or row[8] & (DELETED | QUARANTINED):
            return None
        return self._document(row)

    def get_or_tombstone(self, identifier: str) -> dict[str, Any] | None:
        """``get``, or the tombstone (``_deleted``) of a deleted document with what it keeps of it."""
        row = self.row(identifier)
        return None if row is None or row[8] & QUARANTINED else self._document(row)

    def get_many(self, identifiers: Iterable[str]) -> list[dict[str, Any] | None]:
        """``get`` of each, in order."""
        wanted = list(identifiers)
        rows = self._rows(wanted)
        return [
            None if (row := rows.get(name)) is None or row[8] & (DELETED | QUARANTINED) else self._document(row)
            for name in wanted
        ]

    def _rows(self, identifiers: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        hashes = msgspec.json.encode([hash_of(name) for name in identifiers]).decode()
        rows = self._connection.execute(_BY_HASHES, (hashes,)).fetchall()
        return {id_of(row, self.names): row for row in rows}

    def entries(self, identifiers: Iterable[str]) -> dict[str, Entry]:
        """Documents by id, deleted ones too, with all their leaves at hand; unknown ids are left out."""
        return {name: self._entry(row, name) for name, row in self._rows(identifiers).items()}

    def entries_since(self, since: int, limit: int, *, files: bool = True) -> tuple[list[Entry], int, bool]:
        """At most ``limit`` documents that changed after ``since``, oldest first, the sequence looked at so far, and
        whether there may be more.

        Then the sequence is the last one's, else the replica's. Of heavy documents, which are read with their bodies,
        there are fewer. Without ``files``, documents whose id is a file's are passed over.
        """
        with self.snapshot():
            end = self.seq()
            sql = _BY_SEQ_UP_TO if files else _OTHERS_BY_SEQ_UP_TO
            rows, more = _light(self._connection.execute(sql, (since, end, limit)))
        found = [self._entry(row) for row in rows]
        more = more or len(found) == limit
        return found, found[-1].seq if more else max(since, end), more

    def entries_in_order(
        self, start: str, end: str | None, limit: int, *, after: bool = False, files: bool = True
    ) -> list[Entry]:
        """At most ``limit`` documents with ``start <= id <= end`` in raw order of ids, deleted ones too.

        ``after`` leaves out ``start`` itself. Needs the index that ``Store.order_ids`` makes.
        """
        found: list[Entry] = []
        for identifier, row in ordered_rows(self._connection, self.names, start, end, files=files):
            if len(found) >= limit:
                break
            if not (after and identifier == start):
                found.append(self._entry(row))
        return found

    def _entry(self, row: tuple[Any, ...], identifier: str | None = None) -> Entry:
        return Entry(self._connection, self.names, row, identifier)

    def get_revision(self, identifier: str, rev: str) -> dict[str, Any] | None:
        """A leaf, tombstones and quarantined ones included; None for what is unknown or superseded."""
        row = self.row(identifier)
        return None if row is None else self._leaf(row, parse_rev(rev))

    def _leaf(self, row: tuple[Any, ...], rev: Rev) -> dict[str, Any] | None:
        if rev == (row[6], unpack_hash(row[7])):
            return self._document(row)
        sql = "SELECT deleted, body FROM leaves WHERE doc = ? AND gen = ? AND rev = ?"
        found = self._connection.execute(sql, (row[0], *rev)).fetchone()
        if found is None:
            return None
        deleted = {"_deleted": True} if found[0] else {}
        return {"_id": id_of(row, self.names), "_rev": format_rev(rev), **deleted, **decode(found[1])}

    def tree(self, identifier: str) -> Tree | None:
        """The revision tree, or None when the document does not exist."""
        row = self.row(identifier)
        return None if row is None else _tree(row)

    def leaves(self, row: tuple[Any, ...]) -> tuple[str, ...]:
        """All leaves of a document, the winner first."""
        if row[8] & LEAVES:
            return tuple([format_rev(rev) for rev in revtree.leaves(_tree(row))])
        return (f"{row[6]}-{unpack_hash(row[7])}",)

    def revisions(self, identifier: str, rev: str) -> dict[str, Any]:
        """``{"start", "ids"}``: a known revision and its ancestors, as the replication protocol writes them."""
        tree = self.tree(identifier)
        if tree is None or parse_rev(rev) not in tree.parents:
            raise NotFound(f"{identifier} has no revision {rev}", id=identifier)
        path = revtree.history(tree, parse_rev(rev))
        return {"start": path[0][0], "ids": [digest for _, digest in path]}

    def conflicts(self, identifier: str) -> list[str]:
        """The live leaves that lost."""
        tree = self.tree(identifier)
        if tree is None:
            return []
        return [format_rev(rev) for rev in revtree.leaves(tree)[1:] if rev not in tree.deleted]

    def conflicted(self, limit: int = 100, after: int = 0) -> list[tuple[int, str]]:
        """Number and id of documents in conflict, by number; pass the last one as ``after`` for the next page."""
        sql = f"""SELECT {COLUMNS} FROM documents WHERE doc IN
            (SELECT DISTINCT doc FROM leaves WHERE doc > ? AND deleted = 0 ORDER BY doc LIMIT ?) ORDER BY doc"""
        rows = self._connection.execute(sql, (after, limit)).fetchall()
        return [(row[0], id_of(row, self.names)) for row in rows if row[8] & CONFLICT]

    def quarantined(self, limit: int = 100, after: int = 0) -> list[tuple[int, str, str]]:
        """Number, id and reason of documents that fail their schema, by number."""
        sql = "SELECT doc, reason FROM quarantine WHERE doc > ? ORDER BY doc LIMIT ?"
        found = self._connection.execute(sql, (after, limit)).fetchall()
        return [(doc, self.id_of_doc(doc) or "", reason) for doc, reason in found]

    def id_of_doc(self, doc: int) -> str | None:
        """The ``_id`` of a document number."""
        row = self._connection.execute(_BY_DOC, (doc,)).fetchone()
        return None if row is None else id_of(row, self.names)

    def documents(self, docs: Sequence[int]) -> list[dict[str, Any]]:
        """Live documents of these numbers, in order; numbers of others are left out."""
        sql = f"SELECT {QUALIFIED} FROM json_each(?) AS wanted CROSS JOIN documents ON documents.doc = wanted.value"
        rows = self._connection.execute(sql, (msgspec.json.encode(list(docs)).decode(),)).fetchall()
        return [self._document(row) for row in rows if not row[8] & (DELETED | QUARANTINED)]

    def get_by_inode(self, inode: int) -> dict[str, Any] | None:
        """The live document that has this inode, of whatever type."""
        row = self._row_by_inode(inode)
        return None if row is None else self._document(row)

    def all_ids(self, *, start: str = "", end: str | None = None, limit: int = 1000) -> list[tuple[str, str]]:
        """Id and revision of live documents with ``start <= id <= end``, in raw order of ids."""
        rows = ordered_rows(self._connection, self.names, start, end)
        found: list[tuple[str, str]] = []
        for identifier, row in rows:
            if len(found) >= limit:
                break
            if not row[8] & (DELETED | QUARANTINED):
                found.append((identifier, f"{row[6]}-{unpack_hash(row[7])}"))
        return found

    # Changes

    def changes(self, since: int, limit: int, *, include_docs: bool = False) -> list[Change]:
        """Changes after ``since``, oldest first, each document once."""
        found: list[Change] = []
        for row in self._connection.execute(_BY_SEQ, (since, limit)).fetchall():
            flags = row[8]
            found.append(
                Change(
                    row[5],
                    id_of(row, self.names),
                    self.leaves(row),
                    bool(flags & DELETED),
                    type_name(row[2]),
                    self._document(row) if include_docs else None,
                    bool(flags & QUARANTINED),
                )
            )
        return found

    def changes_since(self, since: int, limit: int = 1000) -> list[ChangeRow]:
        """Changes after ``since`` by numbers, for caches that follow the store."""
        return [self._change_row(row) for row in self._connection.execute(_BY_SEQ, (since, limit)).fetchall()]

    def _change_row(self, row: tuple[Any, ...]) -> ChangeRow:
        flags, names = row[8], self.names
        node_id = None if row[10] is None else names.directory_path(row[10])[0]
        status = None
        if row[2] == FILE:
            status = "active" if row[9] else "deleted" if flags & (INACTIVE | DELETED) else "quarantined"
        return ChangeRow(
            seq=row[5],
            doc=row[0],
            type=type_name(row[2]),
            id=id_of(row, names),
            deleted=bool(flags & DELETED),
            shown=bool(row[9]),
            status=status,
            node_id=node_id,
            dir=row[10],
            name=row[11],
            size=row[12],
            mtime=row[13],
            mime_type=None if row[14] is None else names.mime_type(row[14]),
            inode=self._own_inode(row) if row[10] is not None else inode_of(row[1]),
            quarantined=bool(flags & QUARANTINED),
        )

    # Searching

    def search(self, query: FileQuery) -> Page[FileRecord]:
        """Files that match; see ``FileQuery``. The order stays the same from page to page."""
        return search.search(self, query)

    def effective_labels(self, places: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
        """The effective labels, sorted, of the files at these (node id, export path): assigned or by a rule."""
        wanted = list(places)
        rules = LabelRules(self._rules_over(wanted))
        found = []
        for node_id, path in wanted:
            assigned = self.documents_of("label_assignment", (node_id, path))
            labels = rules.for_file(node_id, path) | {label for document in assigned for label in document["labels"]}
            found.append(tuple(sorted(labels)))
        return found

    def _rules_over(self, places: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        """At least the label rules that cover one of these (node id, export path): when few places are asked for among
        many rules, those alone are read."""
        keys = {key for node_id, path in places[:_FEW] for key in rule_keys(node_id, path)}
        if len(places) > _FEW or len(keys) >= self.count_of("label_rule"):
            return self.iter_documents("label_rule")
        return (rule for key in sorted(keys) for rule in self.documents_of("label_rule", key))

    def file_document(self, short_id: str) -> dict[str, Any] | None:
        """The document of a file by its short id ``{node_id}.{uuid}``."""
        return self.get(full_file_id(short_id))


def _tree(row: tuple[Any, ...]) -> Tree:
    winner = (row[6], unpack_hash(row[7]))
    return revtree.unpack(row[16], winner, bool(row[8] & DELETED))


def _light(cursor: sqlite3.Cursor) -> tuple[list[tuple[Any, ...]], bool]:
    """The rows, as far as they are not too heavy together, and whether some were left."""
    rows, weight = [], 0
    with closing(cursor):
        for row in cursor:
            rows.append(row)
            weight += len(row[15] or b"") + len(row[16] or b"")
            if weight > HEAVY:
                return rows, True
    return rows, False
