"""Revision trees, pure: merging of paths, winner, leaves, what is missing, pruning, packing.

A revision is ``(generation, hash)``; written ``{generation}-{hash}``. A ``Tree`` maps every known revision to its
parent, None for the oldest one known of a branch. Only leaves can be deleted: once a tombstone has a child, that it
was one no longer matters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from ..errors import UserError

Rev: TypeAlias = tuple[int, str]

_HEX = frozenset("0123456789abcdef")
_LINEAR = struct.Struct("<cBI")  # kind, 1 when the tip is deleted, generation of the oldest revision
_GENERATIONS = 1 << 32  # what fits there
_decoder = msgspec.json.Decoder(list[tuple[int, str, int, int]])


class Tree:
    """The revisions of one document. ``deleted`` holds the leaves that are tombstones."""

    __slots__ = ("deleted", "parents")

    def __init__(self, parents: dict[Rev, Rev | None] | None = None, deleted: set[Rev] | None = None) -> None:
        self.parents: dict[Rev, Rev | None] = {} if parents is None else parents
        self.deleted: set[Rev] = set() if deleted is None else deleted

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.parents == other.parents and self.deleted == other.deleted

    def __repr__(self) -> str:
        return f"Tree({self.parents!r}, {self.deleted!r})"


def parse_rev(text: str) -> Rev:
    """``"3-abc"`` as ``(3, "abc")``; anything else is a UserError."""
    generation, dash, digest = text.partition("-") if isinstance(text, str) else ("", "", "")
    if not (dash and digest and generation.isascii() and generation.isdigit() and len(generation) <= 15):
        raise UserError(f"_rev: expected a revision such as 1-abc, got {text!r}", field="_rev")
    return int(generation), digest


def format_rev(rev: Rev) -> str:
    """``(3, "abc")`` as ``"3-abc"``."""
    return f"{rev[0]}-{rev[1]}"


def leaves(tree: Tree) -> list[Rev]:
    """All leaves, the winner first, then the others in the order in which they would win."""
    inner = set(tree.parents.values())
    found = [rev for rev in tree.parents if rev not in inner]
    return sorted(found, key=lambda rev: (rev not in tree.deleted, rev), reverse=True)


def winner(tree: Tree) -> Rev:
    """The leaf every replica chooses: a live one before a deleted, then the longest branch, then the highest hash."""
    return leaves(tree)[0]


def graft(tree: Tree, path: Sequence[Rev], deleted: bool) -> bool:
    """Merge a path, newest revision first, into the tree; True when its first revision was not known.

    Known revisions whose parent was pruned learn it again from the path.
    """
    tip = path[0]
    new = tip not in tree.parents
    for index, rev in enumerate(path):
        parent = path[index + 1] if index + 1 < len(path) else None
        if rev not in tree.parents:
            tree.parents[rev] = parent
        elif parent is not None:
            known = tree.parents[rev]
            if known is None:
                tree.parents[rev] = parent
            elif known != parent:
                break
    if new and deleted:
        tree.deleted.add(tip)
    tree.deleted.difference_update([parent for parent in path[1:] if parent in tree.deleted])
    return new


def history(tree: Tree, rev: Rev) -> list[Rev]:
    """The revision and its known ancestors, newest first."""
    found = [rev]
    parent = tree.parents[rev]
    while parent is not None:
        found.append(parent)
        parent = tree.parents[parent]
    return found


def missing(tree: Tree, revs: Iterable[Rev]) -> list[Rev]:
    """Those of the revisions that the tree does not know."""
    return [rev for rev in revs if rev not in tree.parents]


def possible_ancestors(tree: Tree, absent: Iterable[Rev]) -> list[Rev]:
    """Leaves older than the newest absent revision: a sender may skip the history before them."""
    newest = max((rev[0] for rev in absent), default=0)
    return [rev for rev in leaves(tree) if rev[0] < newest]


def prune(tree: Tree, limit: int) -> bool:
    """Keep the ``limit`` newest revisions of each branch; True when something was dropped."""
    if len(tree.parents) <= limit:
        return False
    kept: set[Rev] = set()
    for leaf in leaves(tree):
        rev: Rev | None = leaf
        for _ in range(limit):
            if rev is None:
                break
            kept.add(rev)
            rev = tree.parents[rev]
    if len(kept) == len(tree.parents):
        return False
    tree.parents = {rev: parent if parent in kept else None for rev, parent in tree.parents.items() if rev in kept}
    return True


def is_digest(text: str) -> bool:
    """Whether a hash has the usual form of 32 lower-case hexadecimal digits, and so fits 16 bytes."""
    return len(text) == 32 and _HEX.issuperset(text)


def pack_hash(text: str) -> bytes | str:
    """16 bytes for a usual hash, else the text itself."""
    return bytes.fromhex(text) if is_digest(text) else text


def unpack_hash(stored: bytes | str) -> str:
    """The inverse of ``pack_hash``."""
    return stored if isinstance(stored, str) else stored.hex()


def pack(tree: Tree) -> bytes | None:
    """The tree as bytes; None when it is a single revision, which its document's row holds already.

    A tree without branches is a header and 16 bytes per revision, oldest first, so that the next one is appended.
    """
    if len(tree.parents) == 1:
        return None
    found = leaves(tree)
    if len(found) == 1 and is_linear(tree.parents):
        path = history(tree, found[0])
        path.reverse()
        return pack_path(path, found[0] in tree.deleted)
    ordered = sorted(tree.parents)
    numbers = {rev: number for number, rev in enumerate(ordered)}
    rows = []
    for rev in ordered:
        parent = tree.parents[rev]
        rows.append((rev[0], rev[1], -1 if parent is None else numbers[parent], int(rev in tree.deleted)))
    return b"G" + msgspec.json.encode(rows)


def is_linear(path: Iterable[Rev]) -> bool:
    """Whether the revisions of a single branch can be packed as such."""
    return all(is_digest(digest) and generation < _GENERATIONS for generation, digest in path)


def pack_path(path: Sequence[Rev], deleted: bool) -> bytes:
    """A single branch, oldest first, of usual hashes."""
    return _LINEAR.pack(b"L", deleted, path[0][0]) + bytes.fromhex("".join([rev[1] for rev in path]))


def append(packed: bytes | None, parent: Rev, rev: Rev, deleted: bool, limit: int) -> bytes | None:
    """The packed tree with a child of its only leaf; None when that needs the whole tree (``unpack`` and ``graft``)."""
    if not is_linear((rev, parent)):
        return None
    if packed is None:
        return pack_path((parent, rev), deleted)
    if packed[:1] != b"L":
        return None
    start = _LINEAR.unpack_from(packed)[2]
    hashes = packed[_LINEAR.size :] + bytes.fromhex(rev[1])
    excess = max(0, len(hashes) // 16 - limit)
    return _LINEAR.pack(b"L", deleted, start + excess) + hashes[16 * excess :]


def unpack(packed: bytes | None, only: Rev, deleted: bool) -> Tree:
    """The inverse of ``pack``; ``only`` and ``deleted`` describe the one revision of a document without a tree."""
    if packed is None:
        return Tree({only: None}, {only} if deleted else set())
    tree = Tree()
    if packed[:1] == b"L":
        _, tip_deleted, start = _LINEAR.unpack_from(packed)
        text = packed[_LINEAR.size :].hex()
        parent: Rev | None = None
        for index in range(len(text) // 32):
            rev = (start + index, text[32 * index : 32 * index + 32])
            tree.parents[rev] = parent
            parent = rev
        if tip_deleted and parent is not None:
            tree.deleted.add(parent)
        return tree
    rows = _decoder.decode(packed[1:])
    for generation, digest, above, is_deleted in rows:
        rev = (generation, digest)
        tree.parents[rev] = None if above < 0 else (rows[above][0], rows[above][1])
        if is_deleted:
            tree.deleted.add(rev)
    return tree
