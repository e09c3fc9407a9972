"""One stored document with all its leaves, as replication asks for it: from one row, the rest read only when wanted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import revtree
from .revisions import decode
from .revtree import Rev, Tree, format_rev, parse_rev, unpack_hash
from .rows import Names, body_of, id_of
from .schema import DELETED, FILE, LEAVES, QUARANTINED

_BODY = "SELECT deleted, body FROM leaves WHERE doc = ? AND gen = ? AND rev = ?"


class Leaf(NamedTuple):
    """A revision that nothing has replaced; ``deleted`` when it is a tombstone."""

    rev: str
    deleted: bool


class Entry:
    """A document, whatever its state: deleted, in conflict or in quarantine. Valid while its reader is."""

    __slots__ = ("_connection", "_names", "_row", "_tree", "id", "rev")

    def __init__(
        self, connection: sqlite3.Connection, names: Names, row: tuple[Any, ...], identifier: str | None = None
    ) -> None:
        self._connection = connection
        self._names = names
        self._row = row
        self._tree: Tree | None = None
        self.id = identifier or id_of(row, names)
        self.rev = f"{row[6]}-{unpack_hash(row[7])}"
        """The winning revision."""

    @property
    def seq(self) -> int:
        """The update sequence of the latest change."""
        return int(self._row[5])

    @property
    def deleted(self) -> bool:
        """Whether the winner is a tombstone."""
        return bool(self._row[8] & DELETED)

    @property
    def single(self) -> bool:
        """Whether the winner is the only leaf."""
        return not self._row[8] & LEAVES

    @property
    def plain_file(self) -> bool:
        """Whether this is a file and nothing else: by its id, by its body, valid, without a second leaf."""
        row = self._row
        return row[2] == FILE and not row[8] & (LEAVES | QUARANTINED) and not isinstance(row[4], str)

    def leaves(self) -> list[Leaf]:
        """All leaves, the winner first."""
        if self.single:
            return [Leaf(self.rev, self.deleted)]
        tree = self.tree()
        return [Leaf(format_rev(rev), rev in tree.deleted) for rev in revtree.leaves(tree)]

    def tree(self) -> Tree:
        """The revision tree."""
        if self._tree is None:
            row = self._row
            self._tree = revtree.unpack(row[16], (row[6], unpack_hash(row[7])), self.deleted)
        return self._tree

    def unknown(self, revs: Sequence[str]) -> list[str]:
        """Those of the revisions that the document does not have, and never had as far as it remembers."""
        row = self._row
        if row[16] is None:
            mine = self.rev
            # Compared as text first, which a revision in its usual form is equal by; "01-a" is the same as "1-a".
            return [rev for rev in revs if rev != mine and parse_rev(rev) != (row[6], unpack_hash(row[7]))]
        parents = self.tree().parents
        return [rev for rev in revs if parse_rev(rev) not in parents]

    def document(self, rev: str | None = None) -> dict[str, Any] | None:
        """The document at a leaf, at the winner when ``rev`` is None; None for what is unknown or superseded."""
        row = self._row
        mine = self.rev
        if rev is None or rev == mine:
            document: dict[str, Any] = {"_id": self.id, "_rev": mine}
            if row[8] & DELETED:
                document["_deleted"] = True
            document.update(body_of(row, self._names))
            return document
        wanted: Rev = parse_rev(rev)
        if wanted == (row[6], unpack_hash(row[7])):
            return self.document()
        if self.single:
            return None
        found = self._connection.execute(_BODY, (row[0], *wanted)).fetchone()
        if found is None:
            return None
        deleted = {"_deleted": True} if found[0] else {}
        return {"_id": self.id, "_rev": format_rev(wanted), **deleted, **decode(found[1])}

    def revisions(self, rev: str) -> dict[str, Any]:
        """``{"start", "ids"}`` of a known revision and its ancestors, as the replication protocol writes them."""
        row = self._row
        if row[16] is None:
            return {"start": row[6], "ids": [unpack_hash(row[7])]}
        path = revtree.history(self.tree(), parse_rev(rev))
        return {"start": path[0][0], "ids": [digest for _, digest in path]}

    def heirs(self, rev: str) -> list[str]:
        """The leaves that came of a known revision, itself when it is one; empty for an unknown one."""
        wanted, tree = parse_rev(rev), self.tree()
        if wanted not in tree.parents:
            return []
        return [format_rev(leaf) for leaf in revtree.leaves(tree) if wanted in revtree.history(tree, leaf)]
