"""The namespace over this home's replica, as a ``Tree``; and the tier that opens files of this machine directly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mosaicfs_core.content import LocalTier
from mosaicfs_core.documents.paths import unescape
from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import StepOp
from mosaicfs_core.store import FileRow, Reader
from mosaicfs_vfs.fuse.local_roots import LocalRoots
from mosaicfs_vfs.namespace import Changes, Listing, Namespace

_PREFIX: Final = b"user.mosaicfs."


def require_replica(home: Home) -> None:
    """Raise ``UserError`` unless the home has a replica to read."""
    if not home.replica.exists():
        raise UserError(f"{home.path} holds no index yet: start MosaicFS there first with `mosaicfs up PATH`")


class ReplicaTree:
    """A ``Tree`` over a home's replica. Made, used and closed in one thread: SQLite's connection stays in it."""

    def __init__(self, home: Home, roots: LocalRoots, step_ops: Mapping[str, StepOp]) -> None:
        self._reader = Reader.open(home.replica)
        self._roots = roots
        self._namespace = Namespace(self._reader, step_ops)
        roots.read(self._reader)

    def list(self, path: str) -> Listing:
        """The directory at a virtual path. Raises ``NotFound``."""
        return self._namespace.list(path)

    def refresh(self) -> Changes:
        """Read the changes since the last call, watched roots included."""
        self._roots.read(self._reader)
        return self._namespace.refresh()

    def seq(self) -> int:
        """The update sequence that listings are as of, at least."""
        return self._namespace.seq()

    def next_expiry(self) -> int | None:
        """When age alone changes a listing next (microseconds), or None."""
        return self._namespace.next_expiry()

    def data_version(self) -> int:
        """A number that changes when another process commits to the replica."""
        return self._namespace.data_version()

    def extended_attributes(self, file: FileRow) -> Mapping[bytes, bytes]:
        """Node, path, effective labels and annotations of a file."""
        path = file.export_path
        attributes = {
            _PREFIX + b"node": file.node_id.encode(),
            _PREFIX + b"path": unescape(path),
            _PREFIX + b"labels": _json(self._reader.effective_labels([(file.node_id, path)])[0]),
        }
        for annotation in self._reader.documents_of("annotation", (file.node_id, path)):
            name = _PREFIX + b"annotation." + annotation["plugin_name"].encode()
            if annotation["status"] == "ok":
                # Several annotators of one plugin: the first in the order of their ids, which is the file's own node.
                attributes.setdefault(name, _json(annotation["data"]))
        return attributes

    def close(self) -> None:
        """Close the replica."""
        self._namespace.close()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def local_tier(home: Home, roots: LocalRoots) -> LocalTier:
    """The tier that opens this node's files."""
    return LocalTier(roots.node_id, roots, bridge_files=home.bridge_dir / "files")
