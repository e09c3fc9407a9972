"""A write transaction: what runs in the writer's thread. Edits go in, statements come out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..errors import MosaicError, NotFound, UserError
from . import indexes, revtree
from .changeset import Changes
from .intake import NewFile, Prepared, prepare
from .numbering import Numbering
from .records import BulkResult
from .revisions import Edit, decode, encode
from .revtree import Rev, format_rev, pack_hash, unpack_hash
from .rows import (
    QUALIFIED,
    Facts,
    body_of,
    file_facts,
    file_parts,
    hash_of,
    id_of,
    other_facts,
    split_id,
    type_column,
    type_name,
)
from .schema import CONFLICT, DELETED, FILE, LEAVES, OWN_INODE, QUARANTINED
from .statements import run_rows
from .states import Leaf, State, apply_local, apply_replicated

_SELECT_BY_HASH = (
    f"SELECT {QUALIFIED} FROM json_each(?) AS wanted CROSS JOIN documents INDEXED BY documents_by_hash "
    "ON documents.id_hash = wanted.value"
)


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
        state = self._state(identifier)
        if state.row is None or state.row[8] & (DELETED | QUARANTINED):
            return None
        assert state.winner is not None
        return {"_id": identifier, "_rev": format_rev(state.winner), **body_of(state.row, self._session.numbers)}

    def get_many(self, identifiers: Sequence[str]) -> list[dict[str, Any] | None]:
        """``get`` of each, in order."""
        return [self.get(identifier) for identifier in identifiers]

    def live_leaves(self, identifier: str) -> list[dict[str, Any]]:
        """The leaves that are no tombstones, the winner first, quarantined ones included."""
        state = self._state(identifier)
        bodies = state.bodies()
        order = revtree.leaves(state.full_tree())
        return [
            {"_id": identifier, "_rev": format_rev(rev), **bodies[rev].body} for rev in order if not bodies[rev].deleted
        ]

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Any statement of one's own tables. Never BEGIN, COMMIT, ROLLBACK or SAVEPOINT."""
        return self._connection.execute(sql, parameters)

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

    def overwrite(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Write a document in the place of whatever is there. Returns it as it is then."""
        written = self.update(document["_id"], lambda _present: document)
        assert written is not None
        return written

    def bulk(self, documents: Iterable[Mapping[str, Any]], *, new_edits: bool = True) -> list[BulkResult]:
        """Write many documents; one that cannot be written does not hinder the others.

        ``new_edits=False`` takes revisions made elsewhere (with ``_rev`` and ``_revisions``) as they are: nothing
        conflicts, and a body that fails its schema goes into quarantine.
        """
        return self.write(prepare(documents, self._session.validate, new_edits=new_edits))

    def replace(self, documents: Iterable[Mapping[str, Any]]) -> list[BulkResult]:
        """Forget all revisions of these documents, and take the leaves given, made elsewhere, for all there is of them.

        For a replica that turned out to know more than there ever was; an edit would be another revision of the past.
        """
        return self.write(prepare(documents, self._session.validate, new_edits=False), forget=True)

    def write(self, prepared: Prepared, *, forget: bool = False) -> list[BulkResult]:
        """``bulk`` of documents that ``intake.prepare`` has checked and taken apart beforehand; ``replace`` when
        ``forget``."""
        items = [item for item in prepared.items if not isinstance(item, BulkResult)]
        hashes = {item.id: item.id_hash if isinstance(item, NewFile) else hash_of(item.id) for item in items}
        rows = self._rows(hashes.values())
        unrepeated = len(hashes) == len(items)
        apply = apply_replicated if prepared.replicated else apply_local
        limit = self._session.revs_limit
        states: dict[str, State] = {}
        order: list[NewFile | State] = []
        results: list[BulkResult] = []
        for item in prepared.items:
            if isinstance(item, BulkResult):
                results.append(item)
            elif isinstance(item, NewFile) and unrepeated and item.id not in rows and len(item.path) <= limit:
                order.append(item)
                results.append(BulkResult(item.id, f"{item.gen}-{item.digest.hex()}"))
            else:
                state = states.get(item.id)
                if state is None:
                    state = states[item.id] = State(item.id, hashes[item.id], rows.get(item.id), self._leaves)
                    order.append(state)
                    if forget:
                        state.forget()
                results.append(self._applied(state, item.edit if isinstance(item, NewFile) else item, apply))
        self._write_in(order, prepared.replicated)
        return results

    def _write_in(self, order: Sequence[NewFile | State], replicated: bool) -> None:
        """Write what changed; the update sequence follows the order given, whichever way each is written."""
        changes = Changes()
        new: list[tuple[int, NewFile]] = []
        seq = self._session.seq
        for item in order:
            if isinstance(item, NewFile):
                seq += 1
                new.append((seq, item))
            elif item.winner_is is not None:
                seq += 1
                self._write_one(item, item.winner_is, seq, replicated, changes)
        self._session.seq = seq
        self._write_new(new, changes)
        changes.run(self._connection)

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
            state = self._state(identifier)
            if state.row is None:
                raise NotFound(f"{identifier} does not exist", id=identifier)
            number = int(state.row[0])
        return number

    def finish(self) -> None:
        """Write what was gathered; the writer calls this when the function has returned."""
        self._session.numbers.write_counts()

    # From ids to states

    def _state(self, identifier: str) -> State:
        id_hash = hash_of(identifier)
        return State(identifier, id_hash, self._rows((id_hash,)).get(identifier), self._leaves)

    def _rows(self, hashes: Collection[int]) -> dict[str, tuple[Any, ...]]:
        """The rows of the documents with these hashes, by id."""
        if not hashes:
            return {}
        wanted = msgspec.json.encode(list(hashes)).decode()
        numbers = self._session.numbers
        return {id_of(row, numbers): row for row in self._connection.execute(_SELECT_BY_HASH, (wanted,))}

    def _leaves(self, row: tuple[Any, ...]) -> dict[Rev, Leaf]:
        found = {(row[6], unpack_hash(row[7])): Leaf(bool(row[8] & DELETED), body_of(row, self._session.numbers))}
        if row[8] & LEAVES:
            sql = "SELECT gen, rev, deleted, body FROM leaves WHERE doc = ?"
            for generation, digest, deleted, body in self._connection.execute(sql, (row[0],)):
                found[generation, digest] = Leaf(bool(deleted), decode(body))
        return found

    # From states to statements

    def _write_new(self, files: Sequence[tuple[int, NewFile]], changes: Changes) -> None:
        """What ``_write_one`` comes to for files never seen before, which most writes are."""
        session, numbers = self._session, self._session.numbers
        numbers.learn({(file.parts.node_id, file.parts.parent) for _, file in files})
        doc = session.doc
        for seq, file in files:
            flags, shown, node_id, parent, name, size, mtime, mime_type, extra, inode = file.parts
            directory = numbers.directory(node_id, parent)
            mime = None if mime_type is None else numbers.mime(mime_type)
            node = 0 if file.node_id is None else numbers.node(file.node_id)
            doc += 1
            head = (doc, file.id_hash, FILE, node, file.key, seq, file.gen, file.digest)
            changes.new_file((*head, flags, shown, directory, name, size, mtime, mime, extra, file.tree), file.folded)
            self._written[file.id] = doc
            if shown:
                numbers.count(directory, 1)
            if inode is not None:
                changes.inode(doc, inode)
        session.doc = doc

    def _write_one(self, state: State, leaf: Leaf, seq: int, replicated: bool, changes: Changes) -> None:
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
        if old is None:
            session.doc += 1
            parts = split_id(state.id)
            node, key = (0, state.id) if parts is None else (session.numbers.node(parts[0]), parts[1])
            head: tuple[Any, ...] = (session.doc, state.id_hash, column, node, key)
        else:
            head = (old[0], old[1], column, old[3], old[4])
        row = (*head, seq, state.winner[0], pack_hash(state.winner[1]), flags, *facts[1:8], state.tree)
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
            return file_facts(file_parts(leaf.body, state.id_hash, canonical), self._session.numbers)
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
