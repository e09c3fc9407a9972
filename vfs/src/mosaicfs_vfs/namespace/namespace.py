"""The namespace: what is in a virtual directory, evaluated on demand from the replica."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from mosaicfs_core.documents.ids import full_file_id, node_document_id
from mosaicfs_core.documents.paths import is_under, name_of, normalize_virtual, parent_of
from mosaicfs_core.documents.times import now_micros
from mosaicfs_core.errors import NotFound, UserError
from mosaicfs_core.hooks import FileRecord, StepOp
from mosaicfs_core.rules.tree import Tree
from mosaicfs_core.store import FileRow, Reader
from mosaicfs_vfs.namespace.explain import Explainer, Explanation
from mosaicfs_vfs.namespace.follow import TOO_MANY, Follower
from mosaicfs_vfs.namespace.listing import build
from mosaicfs_vfs.namespace.preview import Preview, preview_mounts
from mosaicfs_vfs.namespace.state import State, node_ids
from mosaicfs_vfs.namespace.types import ROOT_INODE, Changes, Entry, Listing

CACHED_ENTRIES: Final = 50_000
"""Listings are kept up to so many entries in all; the oldest go first."""

P = ParamSpec("P")
T = TypeVar("T")


def _locked(
    method: Callable[Concatenate[Namespace, P], T],
) -> Callable[Concatenate[Namespace, P], T]:
    def call(self: Namespace, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            return method(self, *args, **kwargs)

    return functools.update_wrapper(call, method)


class Namespace:
    """The virtual tree over one replica.

    Synchronous: the server calls it in a worker thread, the mount in its own process. Every public method takes
    ``lock``, so that threads may share one; the reader must belong to this namespace alone (``Reader.open(path)``).
    Hold the lock to make several calls see one state.

    What a listing shows is as of the last ``refresh()`` or newer. A caller that must see its own writes refreshes
    first; it costs one indexed query when nothing changed.
    """

    def __init__(self, reader: Reader, ops: Mapping[str, StepOp], now: Callable[[], int] = now_micros) -> None:
        """``ops`` are the plugins' step ops by name (``host.step_ops()``); ``now`` gives microseconds since the
        epoch.
        """
        self.lock = threading.RLock()
        self._reader = reader
        self._ops = ops
        self._now = now
        self._loaded: State | None = None
        # A refresh failed, and what it had found so far was told to nobody.
        self._missed = False
        self._cache: dict[str, Listing] = {}
        self._cached_entries = 0

    @property
    def _state(self) -> State:
        """Read on first use: where every file is takes a moment on a large replica."""
        if self._loaded is None:
            self._loaded = State(self._reader, self._ops, self._now)
        return self._loaded

    @property
    def tree(self) -> Tree:
        """The directories and mounts as of the last ``refresh()``."""
        with self.lock:
            return self._state.tree

    @_locked
    def list(self, path: str) -> Listing:
        """What is in the directory. Cached for 5 seconds and until ``refresh`` finds it changed.

        Raises ``NotFound`` when there is no such directory (a file's path included) and ``UserError`` for a path that
        is none.
        """
        cached = self._cache.get(path)
        now = self._now()
        if cached is not None and now < cached.expires_at:
            return cached
        path = normalize_virtual(path)
        listing = build(self._state, path, now)
        self._drop([path])
        if listing is None:
            raise NotFound(f"there is no directory {path}", path=path)
        self._keep(listing)
        return listing

    @_locked
    def resolve(self, path: str) -> Entry:
        """The entry at the path, of either kind. Raises ``NotFound``, ``UserError``."""
        path = normalize_virtual(path)
        if path == "/":
            root = self.list(path)
            return Entry("", "/", ROOT_INODE, 0, root.mtime)
        try:
            return self.list(parent_of(path)).by_name[name_of(path)]
        except (KeyError, NotFound):
            raise NotFound(f"there is nothing at {path}", path=path) from None

    def record(self, entry: Entry | FileRow) -> FileRecord:
        """The full record of a file entry (with its node and export path), as content wants it to open it."""
        row = entry.file if isinstance(entry, Entry) else entry
        if row is None:
            raise UserError(f"{entry.name!r} is a directory: expected a file", field="path")
        return row.record()

    @_locked
    def refresh(self) -> Changes:
        """Follow the replica: read what changed since the last call, drop what depends on it, and say what that was.

        Files that crossed the border of an ``age`` step since the last call count as changed. After a call that raised
        nothing is known of what changed: everything is read again, and counts as changed at the next one.
        """
        try:
            changes = self._follow()
        except BaseException:
            self._loaded, self._missed = None, True
            self._drop(list(self._cache))
            raise
        self._missed = False
        self._drop(changes.directories)
        if changes.subtrees:
            self._drop([path for path in self._cache if any(is_under(path, top) for top in changes.subtrees)])
        return changes

    def _follow(self) -> Changes:
        if self._missed or self._reader.seq() - self._state.seq > TOO_MANY:
            self._loaded = State(self._reader, self._ops, self._now)
            return Changes(self._loaded.seq, subtrees=frozenset({"/"}))
        return Follower(self._state).run()

    @_locked
    def seq(self) -> int:
        """The update sequence that listings are as of, at least."""
        return self._reader.seq() if self._loaded is None else self._loaded.seq

    @_locked
    def next_expiry(self) -> int | None:
        """When, in microseconds, the next file crosses the border of an ``age`` step: refresh then. None: never."""
        if self._loaded is None:
            return None
        times = [membership.expires_at for membership in self._loaded.memberships.values()]
        return min((time for time in times if time is not None), default=None)

    @_locked
    def data_version(self) -> int:
        """A number that changes when another connection commits to the replica."""
        return self._reader.data_version()

    @_locked
    def paths_of(self, file_id: str) -> Sequence[str]:
        """Every virtual path that shows the file (``{node_id}.{uuid}``), sorted. Raises ``NotFound``, ``UserError``."""
        row = self._file(file_id)
        places = {
            mount.place_of(row.parent)
            for mount in self._state.tree.mounts()
            if not mount.problem and mount.covers(row.node_id, row.parent)
        }
        return sorted(path for place in places for path in self._paths_in(place, row))

    @_locked
    def preview(self, path: str, mounts: Sequence[Mapping[str, Any]], limit: int = 100) -> Preview:
        """What unsaved mounts would show in the directory: the first matches and how many there are.

        Raises ``UserError`` naming the field for a mount that cannot be saved.
        """
        return preview_mounts(self._state, normalize_virtual(path), mounts, limit)

    @_locked
    def explain(
        self,
        path: str | None = None,
        file_id: str | None = None,
        *,
        export_path: str | None = None,
        live: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Explanation:
        """Why a file is shown where it is, or why it is not.

        ``path`` is a virtual path, or an export path of any node when no virtual directory answers to it; with
        ``file_id`` as well, why that file is (not) there. ``export_path``, which comes alone, is never taken for a
        virtual path. ``live`` holds agents' statuses, by node id, that are newer than their documents. Raises
        ``NotFound`` for a file id that nobody knows, and ``UserError``.
        """
        explainer = Explainer(self._state, self.paths_of, live or {})
        if export_path is None:
            return explainer.explain(path, None if file_id is None else self._file(file_id))
        if path is not None or file_id is not None:
            raise UserError("expected export_path without a path and a file_id", field="export_path")
        return explainer.on_disk(export_path)

    @_locked
    def node_name(self, node_id: str) -> str | None:
        """What the node is called, None when there is no such node."""
        node = self._reader.get(node_document_id(node_id))
        return None if node is None else str(node["friendly_name"])

    @_locked
    def node_ids(self) -> frozenset[str]:
        """The nodes that have a document or had a file."""
        return node_ids(self._reader)

    @_locked
    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    def _file(self, file_id: str) -> FileRow:
        full_file_id(file_id)
        row = self._reader.file_by_id(file_id)
        if row is None:
            raise NotFound(f"there is no file {file_id}", file_id=file_id)
        return row

    def _paths_in(self, place: str, row: FileRow) -> Sequence[str]:
        try:
            listing = self.list(place)
        except NotFound:
            return ()
        same_name = listing.by_name.get(row.name)
        if same_name is not None and same_name.file is not None and same_name.file.doc == row.doc:
            return (same_name.path,)
        return [entry.path for entry in listing.entries if entry.file is not None and entry.file.doc == row.doc]

    def _keep(self, listing: Listing) -> None:
        self._cache[listing.path] = listing
        self._cached_entries += len(listing.entries)
        while self._cached_entries > CACHED_ENTRIES and len(self._cache) > 1:
            self._drop([next(iter(self._cache))])

    def _drop(self, paths: Sequence[str] | frozenset[str]) -> None:
        for path in paths:
            listing = self._cache.pop(path, None)
            if listing is not None:
                self._cached_entries -= len(listing.entries)
