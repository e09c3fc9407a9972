"""One directory's entries, from the directory documents and the mounts that reach it.

Cost grows with what is shown: each mount asks the replica for one directory's files and sub-directories; which of them
pass is known from the membership.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final, Protocol

from mosaicfs_core.documents.paths import is_under
from mosaicfs_core.rules.tree import Mount, Tree
from mosaicfs_core.store import DirRow, FileRow, Reader
from mosaicfs_vfs.namespace.conflicts import Candidate, Outcome, settle
from mosaicfs_vfs.namespace.membership import Membership
from mosaicfs_vfs.namespace.types import DERIVED_INODES, ROOT_INODE, Entry, Listing

CACHE_MICROS: Final = 5_000_000


class Scene(Protocol):
    """What a listing is made from."""

    @property
    def reader(self) -> Reader: ...
    @property
    def tree(self) -> Tree: ...
    def membership(self, mount: Mount) -> Membership | None:
        """The files that pass the mount's chains; None when all do."""

    def nodes_of(self, mount: Mount) -> Sequence[str]:
        """The ids of the nodes whose files the mount shows."""


@dataclasses.dataclass(slots=True)
class Contents:
    """What the sources of a directory hold: sub-directory names, and the files of each mount with its conflict
    policy.
    """

    exists: bool
    directories: set[str]
    groups: list[tuple[list[FileRow], Mount]]
    warnings: list[str]
    expires_at: int | None = None


def collect(scene: Scene, path: str) -> Contents:
    """Ask every mount that reaches the directory what it has there."""
    children = scene.tree.children.get(path)
    contents = Contents(children is not None, set(children or ()), [], [])
    for mount in scene.tree.mounts_over(path):
        source = mount.source_of(path)
        if source is None and path != mount.directory:
            continue
        contents.warnings += [warning for warning in mount.warnings if warning not in contents.warnings]
        if source is None or mount.problem:
            continue
        membership = scene.membership(mount)
        if membership is not None and membership.expires_at is not None:
            contents.expires_at = min(contents.expires_at or membership.expires_at, membership.expires_at)
        for node_id in scene.nodes_of(mount):
            _collect_mount(scene.reader, mount, membership, node_id, source, contents)
    return contents


def _collect_mount(
    reader: Reader, mount: Mount, membership: Membership | None, node_id: str, source: str, contents: Contents
) -> None:
    above = not is_under(source, mount.root)
    top = reader.directory(node_id, mount.root if above else source)
    if top is None or not is_shown(top, membership):
        return
    contents.exists = True
    if above:
        contents.directories.add(mount.root[len(source.rstrip("/")) + 1 :].partition("/")[0])
        return
    if mount.flatten:
        rows = [
            row
            for directory in shown_beneath(reader, top, membership)
            for row in files_of(reader, directory, membership)
        ]
    else:
        rows = files_of(reader, top, membership)
        if top.below > top.direct:
            below = [row for row in reader.subdirectories(top.dir) if is_shown(row, membership)]
            contents.directories.update(row.name for row in below)
    if rows:
        contents.groups.append((rows, mount))


def is_shown(directory: DirRow, membership: Membership | None) -> bool:
    """Whether any file in or beneath the directory passes."""
    return (directory.below if membership is None else membership.count(directory.dir)) > 0


def files_of(reader: Reader, directory: DirRow, membership: Membership | None) -> list[FileRow]:
    """The files directly in the directory that pass."""
    if not directory.direct:
        return []
    rows = reader.files_in(directory.dir)
    if membership is None:
        return rows
    passing = membership.passing([row.doc for row in rows])
    return [row for row, passes in zip(rows, passing, strict=True) if passes]


def shown_beneath(reader: Reader, top: DirRow, membership: Membership | None) -> Iterator[DirRow]:
    """The directory and every one beneath it that holds passing files at some depth."""
    waiting = [top]
    while waiting:
        directory = waiting.pop()
        yield directory
        if directory.below > directory.direct:
            waiting += [row for row in reader.subdirectories(directory.dir) if is_shown(row, membership)]


def decide(contents: Contents) -> tuple[dict[str, FileRow], list[Outcome]]:
    """The files to show by name, and the outcome of every collision of names."""
    chosen: dict[str, FileRow] = {}
    clean = True
    for rows, _ in contents.groups:
        fresh = {row.name: row for row in rows}
        clean = clean and len(fresh) == len(rows) and chosen.keys().isdisjoint(fresh)
        chosen.update(fresh)
    if clean and chosen.keys().isdisjoint(contents.directories):
        return chosen, []
    counts = Counter(row.name for rows, _ in contents.groups for row in rows)
    collisions: dict[str, list[Candidate]] = {}
    rows_by_id: dict[str, FileRow] = {}
    for rows, mount in contents.groups:
        for row in rows:
            if counts[row.name] > 1 or row.name in contents.directories:
                rows_by_id[row.file_id] = row
                candidate = Candidate(row.file_id, row.name, row.mtime, row.node_id, row.export_path, mount.suffix)
                collisions.setdefault(row.name, []).append(candidate)
    outcomes = settle(collisions, contents.directories, chosen.keys())
    for name in collisions:
        del chosen[name]
    chosen.update({outcome.name: rows_by_id[outcome.candidate.file_id] for outcome in outcomes if outcome.name})
    return chosen, outcomes


def build(scene: Scene, path: str, now: int) -> Listing | None:
    """The listing of a directory, or None when there is no such directory."""
    contents = collect(scene, path)
    if not contents.exists:
        return None
    chosen, _ = decide(contents)
    by_name = {name: Entry(name, path, row.inode, row.size, row.mtime, row) for name, row in chosen.items()}
    for name in contents.directories:
        by_name[name] = _directory_entry(scene.tree, path, name)
    entries = tuple(sorted(by_name.values(), key=attrgetter("name")))
    own = scene.tree.directories.get(path)
    expires_at = now + CACHE_MICROS
    return Listing(
        path=path,
        inode=own.inode if own else ROOT_INODE if path == "/" else derived_directory_inode(path),
        mtime=own.created if own else 0,
        entries=entries,
        by_name=by_name,
        warnings=tuple(contents.warnings),
        expires_at=expires_at if contents.expires_at is None else min(expires_at, contents.expires_at),
        derived=own is None and path != "/",
    )


def derived_directory_inode(path: str) -> int:
    """The inode of a directory that has no document: always the same for a path, and above every document's."""
    return DERIVED_INODES + (int.from_bytes(hashlib.sha256(path.encode("utf-8")).digest()[:8], "big") >> 3)


def _directory_entry(tree: Tree, parent: str, name: str) -> Entry:
    path = f"{parent}/{name}" if parent != "/" else f"/{name}"
    own = tree.directories.get(path)
    if own is not None:
        return Entry(name, parent, own.inode, 0, own.created)
    return Entry(name, parent, derived_directory_inode(path), 0, 0, None, True)
