"""One document while a transaction changes it: edits applied to its revision tree, without a statement of SQL.

A ``State`` begins as what the replica holds. ``apply_local`` and ``apply_replicated`` move it on; the transaction then
writes the last state once, however many edits led there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import Conflict, Stale
from . import revtree
from .revisions import Edit, encode, new_hash
from .revtree import Rev, Tree, format_rev
from .schema import DELETED, LEAVES


class Leaf(NamedTuple):
    """A leaf's body; ``deleted`` for a tombstone."""

    deleted: bool
    body: dict[str, Any]


class State:
    """A document: its winner, its packed tree, and its other leaves once somebody asked."""

    __slots__ = ("_bodies", "_load", "canonical", "id", "id_hash", "others", "row", "tree", "winner", "winner_is")

    def __init__(
        self,
        identifier: str,
        id_hash: int,
        row: tuple[Any, ...] | None,
        load: Callable[[tuple[Any, ...]], dict[Rev, Leaf]],
    ) -> None:
        self.id, self.id_hash, self.row = identifier, id_hash, row
        self._load = load
        self._bodies: dict[Rev, Leaf] | None = None
        self.winner: Rev | None = None
        self.winner_is: Leaf | None = None
        """Set once the winner's body is known, which it is after every edit."""
        self.tree: bytes | None = None
        self.others: dict[Rev, Leaf] | None = None
        """The losing leaves, when an edit changed them; None when they are as stored."""
        self.canonical: bytes | None = None
        """The winner's body as JSON, when an edit made it."""
        if row is not None:
            self.winner = (row[6], revtree.unpack_hash(row[7]))
            self.tree = row[16]

    def forget(self) -> None:
        """Drop every revision; the row stays, to be written anew."""
        self.winner, self.tree, self.others, self._bodies = None, None, {}, {}

    @property
    def deleted(self) -> bool:
        """Whether the winner is a tombstone; False for a document that does not exist."""
        if self.winner_is is not None:
            return self.winner_is.deleted
        return self.row is not None and bool(self.row[8] & DELETED)

    @property
    def changed(self) -> bool:
        return self.winner_is is not None

    def full_tree(self) -> Tree:
        """The revision tree; empty for a document that does not exist."""
        if self.winner is None:
            return Tree()
        return revtree.unpack(self.tree, self.winner, self.deleted)

    def bodies(self) -> dict[Rev, Leaf]:
        """All leaves with their bodies."""
        if self._bodies is None:
            self._bodies = {} if self.row is None else self._load(self.row)
        return self._bodies

    def _single(self) -> bool:
        """Whether the winner is the only leaf."""
        if self.others is not None:
            return not self.others
        return self.row is None or not self.row[8] & LEAVES

    def _extend(self, rev: Rev, leaf: Leaf, tree: bytes | None, canonical: bytes | None) -> None:
        """Replace the only leaf."""
        self.winner, self.winner_is, self.tree, self.canonical = rev, leaf, tree, canonical
        self._bodies = {rev: leaf}

    def _settle(self, tree: Tree, tip: Rev, leaf: Leaf, limit: int) -> None:
        """Take over a tree to which ``tip`` was added, whatever its form."""
        bodies = dict(self.bodies())
        bodies[tip] = leaf
        revtree.prune(tree, limit)
        order = revtree.leaves(tree)
        self._bodies = {rev: bodies[rev] for rev in order}
        self.winner, self.winner_is = order[0], bodies[order[0]]
        self.others = {rev: bodies[rev] for rev in order[1:]}
        self.tree = revtree.pack(tree)
        self.canonical = None


def apply_local(state: State, edit: Edit, limit: int) -> str:
    """An edit made here, upon the leaf it names; returns the new revision.

    Raises Conflict when the document exists and no revision is named, Stale when the named one is not a leaf.
    """
    given = edit.path[0] if edit.path else None
    parent = _parent(state, given, edit.deleted)
    canonical = encode(edit.body)
    digest = new_hash("" if parent is None else format_rev(parent), edit.deleted, canonical)
    rev = (1 if parent is None else parent[0] + 1, digest)
    leaf = Leaf(edit.deleted, edit.body)
    if parent is None:
        state._extend(rev, leaf, None, canonical)
        return format_rev(rev)
    if state._single():
        packed = revtree.append(state.tree, parent, rev, edit.deleted, limit)
        if packed is not None:
            state._extend(rev, leaf, packed, canonical)
            return format_rev(rev)
    tree = state.full_tree()
    revtree.graft(tree, (rev, parent), edit.deleted)
    state._settle(tree, rev, leaf, limit)
    return format_rev(rev)


def _parent(state: State, given: Rev | None, deleting: bool) -> Rev | None:
    """The leaf that a local edit replaces; None for the first edit of a document."""
    if state.winner is None:
        if given is not None:
            raise Stale(f"{state.id} does not exist, so it has no revision {format_rev(given)}", id=state.id)
        return None
    if given is None:
        if not state.deleted:
            raise Conflict(f"{state.id} exists already; name its revision to replace it", id=state.id)
        if deleting:
            raise Conflict(f"{state.id} is deleted already", id=state.id)
        return state.winner
    if given != state.winner and (state._single() or given not in revtree.leaves(state.full_tree())):
        raise Stale(f"{state.id} has changed: {format_rev(given)} is not its current revision", id=state.id)
    return given


def apply_replicated(state: State, edit: Edit, limit: int) -> str:
    """A revision made elsewhere, with its ancestors; one that is known already changes nothing."""
    tip, leaf = edit.path[0], Leaf(edit.deleted, edit.body)
    if state.winner is None and len(edit.path) == 1:
        state._extend(tip, leaf, None, None)
    elif tip != state.winner:
        tree = state.full_tree()
        if revtree.graft(tree, edit.path, edit.deleted):
            state._settle(tree, tip, leaf, limit)
    return format_rev(tip)
