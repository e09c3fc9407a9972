"""What a namespace remembers between calls: the tree, where files are, and who passes which chains."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from mosaicfs_core.hooks import StepOp
from mosaicfs_core.rules.tree import ANY_NODE, Mount, Tree
from mosaicfs_core.store import DirRow, Reader
from mosaicfs_core.store.by_directory import scan_by_directory
from mosaicfs_core.store.lookup import ReplicaLookup, lookup_for_scan
from mosaicfs_vfs.namespace.membership import Membership
from mosaicfs_vfs.namespace.positions import Positions
from mosaicfs_vfs.namespace.scan import Places, passing_files

DRAFTS: Final = 2
"""So many memberships are kept that only previews asked for."""


class State:
    """A ``listing.Scene`` over one reader. ``seq`` is the update sequence that positions and memberships reflect."""

    def __init__(self, reader: Reader, ops: Mapping[str, StepOp], now: Callable[[], int]) -> None:
        self.reader = reader
        self.now = now
        self.seq = reader.seq()
        self.places = Places(reader)
        self.lookup = ReplicaLookup(reader)
        self.memberships: dict[str, Membership] = {}
        self.positions = Positions()
        self.ops = ops
        self._drafts: deque[str] = deque()
        self.tree = self.read_tree()
        self.positions.load(reader.directory_parents(), scan_by_directory(reader))

    def read_tree(self) -> Tree:
        """The tree as the replica has it now."""
        return Tree(self.reader.documents_of("virtual_directory"), self.ops)

    def nodes_of(self, mount: Mount) -> Sequence[str]:
        """The ids of the nodes whose files the mount shows."""
        if mount.node_id != ANY_NODE:
            return (mount.node_id,)
        return [node_id for _, node_id in self.reader.nodes()]

    def membership(self, mount: Mount) -> Membership | None:
        """The files that pass the mount's chains, found by one scan when asked for the first time; None when all do."""
        if not mount.key:
            return None
        membership = self.memberships.get(mount.key)
        if membership is None:
            membership = self.memberships[mount.key] = self._scan(mount)
        return membership

    def draft_membership(self, mount: Mount) -> Membership | None:
        """As ``membership``, for a mount that is being edited: only the last few of those are kept."""
        if mount.key not in self.memberships:
            self._drafts.append(mount.key)
        membership = self.membership(mount)
        while len(self._drafts) > DRAFTS:
            oldest = self._drafts.popleft()
            if all(saved.key != oldest for saved in self.tree.mounts()):
                self.memberships.pop(oldest, None)
        return membership

    def _scan(self, mount: Mount) -> Membership:
        membership = Membership(mount, self.positions, self.now())
        lookup = lookup_for_scan(self.reader, self.lookup, mount.chains.needs, membership.labels, membership.plugins)
        found = passing_files(self.reader, self.places, mount, lookup, membership.as_of)
        membership.fill(found)
        self.expect_next(membership)
        return membership

    def expect_next(self, membership: Membership) -> None:
        """Find when the next file crosses one of the membership's borders."""
        membership.expires_at = None
        for offset in membership.chains.age_offsets:
            mtime = self.reader.next_mtime(membership.as_of - offset)
            if mtime is not None:
                membership.expect(mtime)

    def directory(self, number: int) -> DirRow:
        """A directory by its number, with its ancestors noted among the positions."""
        row = self.places[number]
        current = row
        while current.parent is not None and not self.positions.knows(current.dir):
            self.positions.learn(current.dir, current.parent)
            current = self.places[current.parent]
        self.positions.learn(current.dir, current.parent)
        return row


def mounts_by_key(tree: Tree, keys: Iterable[str]) -> dict[str, list[Mount]]:
    """The working mounts of each combination of chains. Those whose combination is not in ``keys`` stand under
    ``""``.
    """
    known: Final = set(keys)
    found: dict[str, list[Mount]] = {}
    for mount in tree.mounts():
        if not mount.problem:
            found.setdefault(mount.key if mount.key in known else "", []).append(mount)
    return found


def node_ids(reader: Reader) -> frozenset[str]:
    """The nodes that have a document or had a file."""
    documents = reader.documents_of("node")
    return frozenset([*(str(one["node_id"]) for one in documents), *(node_id for _, node_id in reader.nodes())])
