"""From the changes feed to what a mount must forget: which listings may differ now, and which files did change.

A changed file is looked at once per membership. That tells in which directories of its node something that was shown
changed, and which directories became empty or ceased to be; the mounts say where in the virtual tree those are. Nothing
depends on what was listed before, so it holds for listings that only a kernel remembers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mosaicfs_core.documents.ids import path_hash
from mosaicfs_core.documents.paths import join, parent_of
from mosaicfs_core.rules import FileFacts
from mosaicfs_core.rules.tree import Mount, ancestry
from mosaicfs_core.store import ChangeRow, FileRow
from mosaicfs_core.store.lookup import facts_of
from mosaicfs_vfs.namespace.membership import Membership
from mosaicfs_vfs.namespace.positions import NONE
from mosaicfs_vfs.namespace.state import State, mounts_by_key
from mosaicfs_vfs.namespace.types import Changes

BATCH: Final = 5_000

TOO_MANY: Final = 50_000
"""So many changes at once cost more to follow than to read everything again."""


@dataclasses.dataclass(slots=True)
class Touched:
    """Directories (by number) of one combination of chains: where a passing file came, went or changed, and which
    flipped.
    """

    files: set[int] = dataclasses.field(default_factory=set)
    flipped: set[int] = dataclasses.field(default_factory=set)


class Follower:
    """One refresh of a state. Use ``run`` once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._touched: dict[str, Touched] = {"": Touched()}
        self._inodes: set[int] = set()
        self._directories: set[str] = set()
        self._subtrees: set[str] = set()
        self._tree_changed = False

    def run(self) -> Changes:
        """Bring the state up to date with its replica and the clock."""
        state = self._state
        while rows := state.reader.changes_since(state.seq, BATCH):
            for row in rows:
                self._see(row)
            state.seq = rows[-1].seq
        self._see_time()
        if self._tree_changed:
            self._replace_tree()
        self._place()
        return Changes(state.seq, frozenset(self._directories), frozenset(self._subtrees), frozenset(self._inodes))

    def _see(self, row: ChangeRow) -> None:
        if row.type == "file":
            self._see_file(row)
        elif row.type == "virtual_directory":
            self._tree_changed = True
        elif row.type == "label_rule":
            self._state.lookup.forget_rules()
            self._forget(lambda membership: membership.needs_labels)
        elif row.type == "label_assignment":
            self._see_satellite(row, lambda membership: membership.needs_labels)
        elif row.type == "annotation":
            plugin = row.id.split("::", 3)[-1].partition("@")[0]
            self._see_satellite(row, lambda membership: plugin in membership.plugins)

    # -- files -----------------------------------------------------------------------------------------------------

    def _see_file(self, row: ChangeRow) -> None:
        state = self._state
        before = state.positions.of(row.doc)
        after = row.dir if row.shown and row.dir is not None else NONE
        if before == after == NONE:
            return
        facts = None
        if after:
            place = state.directory(after)
            facts = FileFacts(
                place.node_id,
                join(place.path, row.name or ""),
                row.name or "",
                row.size or 0,
                row.mtime or 0,
                row.mime_type,
            )
        state.positions.put(row.doc, after)
        everything = self._touched[""]
        everything.files.update(directory for directory in (before, after) if directory)
        if before != after:
            if before:
                state.positions.all.remove(before, everything.flipped)
            if after:
                state.positions.all.add(after, everything.flipped)
        if before:
            self._inodes.add(row.inode)
        for membership in state.memberships.values():
            self._judge(membership, row.doc, before, after, facts)

    def _judge(self, membership: Membership, document: int, before: int, after: int, facts: FileFacts | None) -> None:
        """Evaluate a file again. ``facts`` is None for one that is not shown any more."""
        touched = self._touched.setdefault(membership.key, Touched())
        passes = facts is not None and membership.verdict(facts, self._state.lookup)
        was, passes = membership.move(document, before, after, passes, touched.flipped)
        if was:
            touched.files.add(before)
        if passes:
            touched.files.add(after)
        if facts is not None and membership.chains.age_offsets:
            membership.expect(facts.mtime)

    def _judge_again(self, memberships: Iterable[Membership], rows: Iterable[FileRow]) -> None:
        """Evaluate files whose own documents did not change; files not yet known are on their way."""
        for row in rows:
            where = self._state.positions.of(row.doc)
            if where and row.status == "active":
                for membership in memberships:
                    touched = self._touched.setdefault(membership.key, Touched())
                    passes = membership.verdict(facts_of(row), self._state.lookup)
                    was, passes = membership.move(row.doc, where, where, passes, touched.flipped)
                    if was != passes:
                        touched.files.add(where)

    # -- labels, annotations, time ---------------------------------------------------------------------------------

    def _see_satellite(self, row: ChangeRow, concerns: Callable[[Membership], bool]) -> None:
        """A label assignment or an annotation changed: so may the verdicts on its file."""
        memberships = [membership for membership in self._state.memberships.values() if concerns(membership)]
        if not memberships:
            return
        document = self._state.reader.get_or_tombstone(row.id) or {}
        node_id, path = document.get("node_id"), document.get("export_path")
        if not isinstance(node_id, str) or not isinstance(path, str):
            self._forget(concerns)
            return
        # A tombstone may keep what it likes; the id says whether that is its file.
        if row.id.split("::")[1:3] != [node_id, path_hash(path)]:
            self._forget(concerns)
            return
        file = self._state.reader.file_by_path(node_id, path)
        if file is not None:
            self._judge_again(memberships, [file])

    def _see_time(self) -> None:
        """Evaluate again the files that crossed a border of an ``age`` step since the last time."""
        state, now = self._state, self._state.now()
        for membership in state.memberships.values():
            if not membership.chains.age_offsets or membership.expires_at is None or now < membership.expires_at:
                continue
            ranges = membership.crossed_by(now)
            membership.as_of = now
            for first, last in ranges:
                condition, parameters = "mtime >= ? AND mtime <= ?", [first, last]
                for batch in state.reader.scan_files(condition, parameters):
                    self._judge_again([membership], state.reader.file_rows(batch.docs))
            state.expect_next(membership)

    def _forget(self, concerns: Callable[[Membership], bool]) -> None:
        """Drop memberships when it cannot be told which files are concerned; all that their mounts show may differ."""
        keys = {key for key, membership in self._state.memberships.items() if concerns(membership)}
        for mount in self._state.tree.mounts():
            if mount.key in keys:
                self._subtrees.add(mount.directory)
                self._directories.add(parent_of(mount.directory))
        for key in keys:
            del self._state.memberships[key]

    # -- where it shows --------------------------------------------------------------------------------------------

    def _replace_tree(self) -> None:
        state = self._state
        former, state.tree = state.tree, state.read_tree()
        subtrees, directories = state.tree.changed_since(former)
        self._subtrees |= subtrees
        self._directories |= directories | {parent_of(path) for path in subtrees}
        used = {mount.key for mount in state.tree.mounts()}
        for key in state.memberships.keys() - used:
            del state.memberships[key]

    def _place(self) -> None:
        """Turn directories of nodes into directories of the virtual tree."""
        mounts = mounts_by_key(self._state.tree, self._state.memberships)
        for key, touched in self._touched.items():
            showing = mounts.get(key, ())
            if not showing:
                continue
            for number in touched.files:
                self._place_files(showing, number)
            for number in touched.flipped:
                self._place_flip(showing, number)

    def _place_files(self, mounts: Sequence[Mount], number: int) -> None:
        place = self._state.directory(number)
        for mount in mounts:
            if mount.covers(place.node_id, place.path):
                self._directories.add(mount.place_of(place.path))

    def _place_flip(self, mounts: Sequence[Mount], number: int) -> None:
        """A directory appears or disappears as a sub-directory; the root of a mount does so with all that leads to
        it.
        """
        place = self._state.directory(number)
        for mount in mounts:
            if mount.flatten or not mount.covers(place.node_id, place.path):
                continue
            shown_at = mount.place_of(place.path)
            if place.path != mount.root:
                self._directories.add(parent_of(shown_at))
            else:
                above = ancestry(shown_at)[:-1]
                self._directories.update(path for path in above if len(path) >= len(mount.directory))
