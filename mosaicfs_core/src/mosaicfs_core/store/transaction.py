"""A write transaction: what runs in the writer's thread. Edits go in, statements come out."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import MosaicError, NotFound, UserError
from . import indexes
from .numbering import Numbering
from .records import BulkResult
from .revisions import Edit, decode, encode, take_apart
from .revtree import Rev, format_rev, pack_hash, unpack_hash
from .rows import (
    COLUMNS,
    QUALIFIED,
    Facts,
    body_of,
    file_facts,
    hash_of,
    id_of,
    other_facts,
    split_id,
    type_column,
    type_name,
)
from .schema import CONFLICT, DELETED, FILE, LEAVES, OWN_INODE, QUARANTINED
from .search_text import fold
from .statements import run_rows
from .states import Leaf, State, apply_local, apply_replicated

_SELECT_BY_HASH = (
    f"SELECT {QUALIFIED} FROM json_each(?) AS wanted CROSS JOIN documents INDEXED BY documents_by_hash "
    "ON documents.id_hash = wanted.value"
)
_INSERT = f"INSERT INTO documents({COLUMNS}) VALUES "
_UPDATED = ["type", *COLUMNS.split(", ")[5:]]
_UPDATE_INDEXED = "UPDATE documents SET " + ", ".join(f"{name} = ?" for name in _UPDATED) + " WHERE doc = ?"
_UNINDEXED = ("seq", "gen", "rev", "flags", "extra", "tree")
_UPDATE = "UPDATE documents SET " + ", ".join(f"{name} = ?" for name in _UNINDEXED) + " WHERE doc = ?"


class Session:
    """What the writer keeps between transactions: its connection, numbers given out, and the next ones to give."""

    def __init__(self, connection: sqlite3.Connection, validate: Callable[[Mapping[str, Any]], None]) -> None:
        self.connection = connection
        self.validate = validate
        self.revs_limit = 0
        self.numbers = Numbering(connection)
        self.seq = 0
        self.doc = 0
        self.restore()

    def restore(self) -> None:
        """Forget everything that a roll-back undid."""
        self.numbers.forget()
        row = self.connection.execute("SELECT (SELECT max(seq) FROM documents), (SELECT max(doc) FROM documents)")
        self.seq, self.doc = (number or 0 for number in row.fetchone())
        self.revs_limit = int(self.connection.execute("SELECT value FROM meta WHERE key = 'revs_limit'").fetchone()[0])


class WriteTransaction:
    """Reads and writes inside one transaction. Use it in the function given to ``Store.transaction``, nowhere else."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection = session.connection
        self._written: dict[str, int] = {}

    # Reading

    def get(self, identifier: str) -> dict[str, Any] | None:
        """The winning revision, or None when it does not exist, is deleted or in quarantine."""
        state = self._states([identifier])[identifier]
        if state.row is None or state.row[8] & (DELETED | QUARANTINED):
            return None
        assert state.winner is not None
        return {"_id": identifier, "_rev": format_rev(state.winner), **body_of(state.row, self._session.numbers)}

    def get_many(self, identifiers: Sequence[str]) -> list[dict[str, Any] | None]:
        """``get`` of each, in order."""
        return [self.get(identifier) for identifier in identifiers]

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Any statement of one's own tables. Never BEGIN, COMMIT, ROLLBACK or SAVEPOINT."""
        return self._connection.execute(sql, parameters)

    def execute_many(self, head: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
        """``head`` + ``(?, …), (?, …)`` + ``tail`` for all the rows: faster than a statement for each."""
        run_rows(self._connection, head, rows, tail)

    # Writing

    def put(self, document: Mapping[str, Any]) -> str:
        """Write one document; returns its new revision. Raises InvalidDocument, Conflict or Stale."""
        result = self.bulk((document,))[0]
        if result.error is not None:
            raise result.error
        assert result.rev is not None
        return result.rev

    def update(
        self, identifier: str, function: Callable[[dict[str, Any] | None], Mapping[str, Any] | None]
    ) -> dict[str, Any] | None:
        """Replace a document by what ``function`` makes of it; None leaves it. Returns it as it is then."""
        current = self.get(identifier)
        made = function(None if current is None else dict(current))
        if made is None:
            return current
        document = {key: value for key, value in made.items() if key != "_rev"}
        document["_id"] = identifier
        if current is not None:
            document["_rev"] = current["_rev"]
        rev = self.put(document)
        return {**document, "_rev": rev}

    def bulk(self, documents: Iterable[Mapping[str, Any]], *, new_edits: bool = True) -> list[BulkResult]:
        """Write many documents; one that cannot be written does not hinder the others.

        ``new_edits=False`` takes revisions made elsewhere (with ``_rev`` and ``_revisions``) as they are: nothing
        conflicts, and a body that fails its schema goes into quarantine.
        """
        edits: list[Edit | BulkResult] = []
        for document in documents:
            try:
                edit = take_apart(document, replicated=not new_edits)
                if new_edits:
                    self._session.validate(document)
                edits.append(edit)
            except MosaicError as error:
                edits.append(BulkResult(str(document.get("_id", "")), None, error))
        states = self._states([edit.id for edit in edits if isinstance(edit, Edit)])
        apply = apply_local if new_edits else apply_replicated
        results = [
            edit if isinstance(edit, BulkResult) else self._applied(states[edit.id], edit, apply) for edit in edits
        ]
        self._write([state for state in states.values() if state.changed], replicated=not new_edits)
        return results

    def _applied(self, state: State, edit: Edit, apply: Callable[[State, Edit, int], str]) -> BulkResult:
        try:
            return BulkResult(edit.id, apply(state, edit, self._session.revs_limit))
        except MosaicError as error:
            return BulkResult(edit.id, None, error)

    def set_identity(self, identifier: str, device: int, number: int, fingerprint: str | None = None) -> None:
        """Note what recognizes a file of this machine after a move. Raises NotFound when it has no document."""
        self.set_identities([(identifier, device, number, fingerprint)])

    def set_identities(self, rows: Iterable[tuple[str, int, int, str | None]]) -> None:
        """``set_identity`` for many: rows of document id, device, number, fingerprint."""
        found = [(self._doc(identifier), device, number, mark) for identifier, device, number, mark in rows]
        run_rows(
            self._connection, "INSERT OR REPLACE INTO file_identity(doc, device, number, fingerprint) VALUES ", found
        )

    @property
    def revs_limit(self) -> int:
        """How many revisions of each branch are remembered."""
        return self._session.revs_limit

    def set_revs_limit(self, limit: int) -> None:
        """Change the limit; what is longer is cut at the next edit or compaction."""
        self.execute("UPDATE meta SET value = ? WHERE key = 'revs_limit'", (limit,))
        self._session.revs_limit = limit

    def _doc(self, identifier: str) -> int:
        number = self._written.get(identifier)
        if number is None:
            state = self._states([identifier])[identifier]
            if state.row is None:
                raise NotFound(f"{identifier} does not exist", id=identifier)
            number = int(state.row[0])
        return number

    def finish(self) -> None:
        """Write what was gathered; the writer calls this when the function has returned."""
        self._session.numbers.write_counts()

    # From ids to states

    def _states(self, identifiers: Iterable[str]) -> dict[str, State]:
        wanted = {identifier: hash_of(identifier) for identifier in identifiers}
        if not wanted:
            return {}
        numbers = self._session.numbers
        rows: dict[str, tuple[Any, ...]] = {}
        hashes = msgspec.json.encode(list(wanted.values())).decode()
        for row in self._connection.execute(_SELECT_BY_HASH, (hashes,)):
            rows[id_of(row, numbers)] = row
        return {name: State(name, id_hash, rows.get(name), self._leaves) for name, id_hash in wanted.items()}

    def _leaves(self, row: tuple[Any, ...]) -> dict[Rev, Leaf]:
        found = {(row[6], unpack_hash(row[7])): Leaf(bool(row[8] & DELETED), body_of(row, self._session.numbers))}
        if row[8] & LEAVES:
            sql = "SELECT gen, rev, deleted, body FROM leaves WHERE doc = ?"
            for generation, digest, deleted, body in self._connection.execute(sql, (row[0],)):
                found[generation, digest] = Leaf(bool(deleted), decode(body))
        return found

    # From states to statements

    def _write(self, states: list[State], *, replicated: bool) -> None:
        if not states:
            return
        changes = _Changes()
        for state in states:
            leaf = state.winner_is
            assert leaf is not None
            if state.row is None and not (replicated or leaf.deleted) and leaf.body.get("type") == "file":
                self._write_new_file(state, leaf, changes)
            else:
                self._write_one(state, leaf, replicated, changes)
        changes.run(self._connection)

    def _write_new_file(self, state: State, leaf: Leaf, changes: _Changes) -> None:
        """What ``_write_one`` comes to for a file never seen before, which most writes are."""
        session, rev = self._session, state.winner
        assert rev is not None
        canonical = state.canonical
        facts = file_facts(leaf.body, state.id_hash, session.numbers, lambda: canonical or encode(leaf.body))
        flags, shown, directory = facts[:3]
        parts = split_id(state.id)
        node, key = (0, state.id) if parts is None else (session.numbers.node(parts[0]), parts[1])
        session.seq += 1
        session.doc += 1
        doc = self._written[state.id] = session.doc
        digest = bytes.fromhex(rev[1])
        changes.new_file(
            (doc, state.id_hash, FILE, node, key, session.seq, rev[0], digest, flags, *facts[1:8], state.tree)
        )
        if shown and directory is not None:
            session.numbers.count(directory, 1)
        if facts.inode is not None:
            changes.inode(doc, facts.inode)

    def _write_one(self, state: State, leaf: Leaf, replicated: bool, changes: _Changes) -> None:
        session, old = self._session, state.row
        assert state.winner is not None
        reason = self._problem(state, leaf) if replicated or state.others else None
        column = type_column(state.id, leaf.body)
        facts = self._facts(state, leaf, column, reason)
        flags = facts.flags | (DELETED if leaf.deleted else 0)
        others = state.others
        if others:
            flags |= LEAVES | (CONFLICT if any(not other.deleted for other in others.values()) else 0)
        elif others is None and old is not None:
            flags |= old[8] & (LEAVES | CONFLICT)
        session.seq += 1
        if old is None:
            session.doc += 1
            parts = split_id(state.id)
            node, key = (0, state.id) if parts is None else (session.numbers.node(parts[0]), parts[1])
            head: tuple[Any, ...] = (session.doc, state.id_hash, column, node, key)
        else:
            head = (old[0], old[1], column, old[3], old[4])
        row = (*head, session.seq, state.winner[0], pack_hash(state.winner[1]), flags, *facts[1:8], state.tree)
        self._written[state.id] = row[0]
        changes.row(old, row)
        changes.names(old, row)
        self._count(old, row)
        changes.count(old, row)
        if column != FILE or (old is not None and old[2] != FILE):
            changes.keys(row[0], self._keys(state.id, old), self._new_keys(state.id, column, leaf, reason))
        if facts.inode is not None or (old is not None and old[8] & OWN_INODE):
            changes.inode(row[0], facts.inode)
        if reason is not None or (old is not None and old[8] & QUARANTINED):
            changes.quarantine(row[0], reason)
        if others is not None:
            changes.leaves(row[0], others)

    def _problem(self, state: State, leaf: Leaf) -> str | None:
        """Why the winner fails its schema, or None."""
        document = {"_id": state.id, **leaf.body}
        if leaf.deleted:
            document["_deleted"] = True
        try:
            self._session.validate(document)
        except UserError as error:
            return error.message
        return None

    def _facts(self, state: State, leaf: Leaf, column: int | str, reason: str | None) -> Facts:
        def canonical() -> bytes:
            return state.canonical if state.canonical is not None else encode(leaf.body)

        if column == FILE and not leaf.deleted and reason is None:
            return file_facts(leaf.body, state.id_hash, self._session.numbers, canonical)
        return other_facts(leaf.body, state.id_hash, leaf.deleted, reason is not None, canonical())

    def _count(self, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> None:
        before = old[10] if old is not None and old[9] else None
        after = new[10] if new[9] else None
        if before != after:
            if before is not None:
                self._session.numbers.count(before, -1)
            if after is not None:
                self._session.numbers.count(after, 1)

    def _keys(self, identifier: str, row: tuple[Any, ...] | None) -> set[indexes.Key]:
        if row is None or row[2] == FILE or row[8] & (DELETED | QUARANTINED):
            return set()
        return indexes.keys(type_name(row[2]), identifier, decode(row[15]))

    def _new_keys(self, identifier: str, column: int | str, leaf: Leaf, reason: str | None) -> set[indexes.Key]:
        if column == FILE or leaf.deleted or reason is not None:
            return set()
        return indexes.keys(type_name(column), identifier, leaf.body)


class _Changes:
    """The rows that one batch writes, by table, so that each table is written in one go."""

    def __init__(self) -> None:
        self._inserted: list[tuple[Any, ...]] = []
        self._updated: list[tuple[Any, ...]] = []
        self._updated_indexed: list[tuple[Any, ...]] = []
        self._names_gone: list[tuple[Any, ...]] = []
        self._names: list[tuple[Any, ...]] = []
        self._keys_gone: list[tuple[Any, ...]] = []
        self._keys: list[tuple[Any, ...]] = []
        self._inodes_gone: list[tuple[int]] = []
        self._inodes: list[tuple[int, int]] = []
        self._quarantine_gone: list[tuple[int]] = []
        self._quarantine: list[tuple[int, str]] = []
        self._leaves_gone: list[tuple[int]] = []
        self._leaves: list[tuple[Any, ...]] = []
        self._counts: defaultdict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])

    def new_file(self, row: tuple[Any, ...]) -> None:
        self._inserted.append(row)
        self._counts[FILE][0] += 1
        if row[9]:
            self._names.append((row[0], fold(row[11])))

    def row(self, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> None:
        if old is None:
            self._inserted.append(new)
        elif old[9:15] == new[9:15] and old[2] == new[2]:
            self._updated.append((*new[5:9], new[15], new[16], new[0]))
        else:
            self._updated_indexed.append((new[2], *new[5:], new[0]))

    def names(self, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> None:
        before = old[11] if old is not None and old[9] else None
        after = new[11] if new[9] else None
        if before != after:
            if before is not None:
                self._names_gone.append(("delete", new[0], fold(before)))
            if after is not None:
                self._names.append((new[0], fold(after)))

    def count(self, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> None:
        if old is not None:
            self._counts[old[2]][_category(old[8])] -= 1
        self._counts[new[2]][_category(new[8])] += 1

    def keys(self, doc: int, before: set[indexes.Key], after: set[indexes.Key]) -> None:
        if before != after:
            self._keys_gone.extend((*key, doc) for key in before - after)
            self._keys.extend((*key, doc) for key in after - before)

    def inode(self, doc: int, inode: int | None) -> None:
        self._inodes_gone.append((doc,))
        if inode is not None:
            self._inodes.append((inode, doc))

    def quarantine(self, doc: int, reason: str | None) -> None:
        self._quarantine_gone.append((doc,))
        if reason is not None:
            self._quarantine.append((doc, reason))

    def leaves(self, doc: int, others: dict[Rev, Leaf]) -> None:
        self._leaves_gone.append((doc,))
        for rev, leaf in others.items():
            self._leaves.append((doc, rev[0], rev[1], int(leaf.deleted), encode(leaf.body)))

    def run(self, connection: sqlite3.Connection) -> None:
        """Write it all."""
        run_rows(connection, _INSERT, self._inserted)
        _run_each(connection, _UPDATE, self._updated)
        _run_each(connection, _UPDATE_INDEXED, self._updated_indexed)
        run_rows(connection, "INSERT INTO names(names, rowid, name) VALUES ", self._names_gone)
        run_rows(connection, "INSERT INTO names(rowid, name) VALUES ", self._names)
        _run_each(
            connection, "DELETE FROM lookup WHERE kind = ? AND a = ? AND b = ? AND c = ? AND doc = ?", self._keys_gone
        )
        run_rows(connection, "INSERT OR IGNORE INTO lookup(kind, a, b, c, doc) VALUES ", self._keys)
        _run_each(connection, "DELETE FROM inodes WHERE doc = ?", self._inodes_gone)
        run_rows(connection, "INSERT INTO inodes(inode, doc) VALUES ", self._inodes)
        _run_each(connection, "DELETE FROM quarantine WHERE doc = ?", self._quarantine_gone)
        run_rows(connection, "INSERT INTO quarantine(doc, reason) VALUES ", self._quarantine)
        _run_each(connection, "DELETE FROM leaves WHERE doc = ?", self._leaves_gone)
        run_rows(connection, "INSERT INTO leaves(doc, gen, rev, deleted, body) VALUES ", self._leaves)
        counts = [(column, *figures) for column, figures in self._counts.items() if any(figures)]
        run_rows(
            connection,
            "INSERT INTO counts(type, live, deleted, quarantined) VALUES ",
            counts,
            " ON CONFLICT(type) DO UPDATE SET live = live + excluded.live, deleted = deleted + excluded.deleted, "
            "quarantined = quarantined + excluded.quarantined",
        )


def _category(flags: int) -> int:
    """The place of a document in ``counts``: live, deleted, quarantined."""
    return 2 if flags & QUARANTINED else flags & DELETED


def _run_each(connection: sqlite3.Connection, sql: str, rows: list[Any]) -> None:
    if rows:
        connection.executemany(sql, rows)
