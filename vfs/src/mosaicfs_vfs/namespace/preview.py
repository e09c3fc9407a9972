"""What unsaved mounts would show: the first matches, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from mosaicfs_core.documents.paths import join
from mosaicfs_core.rules.tree import Mount
from mosaicfs_core.store import DirRow, FileRow
from mosaicfs_core.store.lookup import facts_of
from mosaicfs_vfs.namespace.edits import checked_mounts
from mosaicfs_vfs.namespace.listing import files_of, shown_beneath
from mosaicfs_vfs.namespace.membership import Membership
from mosaicfs_vfs.namespace.state import State, node_ids
from mosaicfs_vfs.namespace.unknown import unknown_nodes

COUNTED: Final = 1_000
"""Totals are exact up to here."""

WALKED: Final = 20_000
"""A source of up to so many files is looked at directly; a larger one through a membership."""


class Match(msgspec.Struct, frozen=True):
    """A file that a draft mount would show. ``path`` does not take conflicts of names into account."""

    path: str
    mount_id: str
    file: FileRow


class Preview(msgspec.Struct, frozen=True):
    """``total`` files would be shown, or ``more`` than that; ``items`` are the first of them."""

    items: tuple[Match, ...]
    total: int
    more: bool
    warnings: tuple[str, ...]


def preview_mounts(state: State, path: str, mounts: Sequence[Mapping[str, Any]], limit: int) -> Preview:
    """Evaluate draft mounts of the directory at ``path``, with the chains that it inherits."""
    drafts, warnings = checked_mounts(path, mounts, state.ops)
    warnings += unknown_nodes(drafts, node_ids(state.reader))
    items: list[Match] = []
    seen: set[int] = set()
    for mount in state.tree.mounts_of(path, drafts):
        for row in _matches(state, mount):
            if row.doc in seen:
                continue
            seen.add(row.doc)
            if len(seen) > COUNTED:
                return Preview(tuple(items), COUNTED, True, tuple(warnings))
            if len(items) < limit:
                items.append(Match(join(mount.place_of(row.parent), row.name), mount.mount_id, row))
    return Preview(tuple(items), len(seen), False, tuple(warnings))


def _matches(state: State, mount: Mount) -> Iterator[FileRow]:
    for node_id in state.nodes_of(mount):
        top = state.reader.directory(node_id, mount.root)
        if top is None or top.below == 0:
            continue
        if mount.key and mount.key not in state.memberships and top.below <= WALKED:
            yield from _walk(state, mount, top)
        else:
            yield from _shown(state, state.draft_membership(mount), top)


def _walk(state: State, mount: Mount, top: DirRow) -> Iterator[FileRow]:
    now = state.now()
    for directory in shown_beneath(state.reader, top, None):
        for row in files_of(state.reader, directory, None):
            if mount.chains.verdict(facts_of(row), state.lookup, now):
                yield row


def _shown(state: State, membership: Membership | None, top: DirRow) -> Iterator[FileRow]:
    if membership is not None and membership.count(top.dir) == 0:
        return
    for directory in shown_beneath(state.reader, top, membership):
        yield from files_of(state.reader, directory, membership)
