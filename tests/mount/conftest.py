"""Fixtures for the mount: a home with a replica over real files, an indexer of three lines, and mounts of it.

The mount is a real process with a real kernel behind it; the crawl is not (it has its own tests): ``World.index``
writes the documents that a crawl would write.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.home import Home
from mosaicfs_core.mount_table import mounts_at
from mosaicfs_core.store import Store
from mosaicfs_vfs.fuse import mountpoint
from mosaicfs_vfs.fuse.spawn import MountProcess, spawn_mount
from mosaicfs_vfs.namespace.edits import new_directory

VISIBLE_WITHIN_S = 2.0
_COMMAND = "from mosaicfs_core.cli.main import main; main()"


def unusable() -> str:
    """Why FUSE cannot be used here; empty when it can."""
    try:
        from mosaicfs_vfs.fuse.process import check_requirements

        check_requirements()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the reason to skip
        return str(error)
    return ""


class World:
    """A home, a watched folder with files, and their documents. Driven without an event loop of the caller's."""

    def __init__(self, place: Path) -> None:
        self.home = Home(place / "home").prepare()
        self.node = self.home.node_id("tester")
        self.files = place / "files"
        self.files.mkdir()
        self._runner = asyncio.Runner()
        self.store = self._runner.run(Store.open(self.home.replica))
        self._mounts: list[MountProcess] = []
        self._uuids: dict[int, str] = {}
        self.put(self._localfs())
        self.put_directory("/all", self.source(self.files))

    def close(self) -> None:
        """Unmount everything and close the store."""
        for mount in self._mounts:
            mount.stop()
        self._runner.run(self.store.close())
        self._runner.close()

    def source(self, folder: Path, **fields: Any) -> dict[str, Any]:
        """A mount entry of a virtual directory that shows a folder."""
        path = d.escape(os.fsencode(folder))
        return {
            "mount_id": f"m-{folder.name}",
            "source": {"node_id": self.node, "export_path": path},
            "strategy": "prefix_replace",
            "source_prefix": path,
            "steps": [],
            "default_result": "include",
            "conflict_policy": "last_write_wins",
            **fields,
        }

    @staticmethod
    def wait_until(condition: Callable[[], bool], within: float = VISIBLE_WITHIN_S) -> None:
        """Poll until a condition holds; fails when it takes longer than ``within`` seconds."""
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, f"not within {within} s"
            time.sleep(0.01)

    def get(self, document_id: str) -> dict[str, Any] | None:
        """A document by its id."""
        return self._runner.run(self.store.get(document_id))

    def put(self, document: Mapping[str, Any]) -> None:
        """Write a document over whatever is there."""
        self.put_many([document])

    def put_directory(self, path: str, *mounts: Mapping[str, Any]) -> None:
        """Make or replace a virtual directory."""
        self.put(new_directory(path, d.now_micros(), {"mounts": list(mounts)}))

    def label(self, path: Path, *labels: str) -> None:
        """Give a file these labels and no others."""
        written = d.escape(os.fsencode(path))
        self.put(
            {
                "_id": d.label_assignment_id(self.node, written),
                "type": "label_assignment",
                "node_id": self.node,
                "export_path": written,
                "labels": list(labels),
                "updated_at": d.format_time(d.now_micros()),
            }
        )

    def put_many(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Write documents over whatever is there, a thousand to a transaction."""

        def write(tx: Any, batch: Sequence[Mapping[str, Any]]) -> None:
            for document in batch:
                current = tx.get(document["_id"])
                revision = {} if current is None else {"_rev": current["_rev"]}
                tx.put({**{name: value for name, value in document.items() if name != "_rev"}, **revision})

        for start in range(0, len(documents), 1000):
            batch = documents[start : start + 1000]
            self._runner.run(self.store.transaction(lambda tx, batch=batch: write(tx, batch)))

    def remove(self, document_id: str) -> None:
        """Leave a tombstone."""
        self._runner.run(self.store.update(document_id, lambda now: {**(now or {}), "_deleted": True}))

    def write(self, name: str | bytes, data: bytes = b"") -> Path:
        """Write a file below the watched folder and index it."""
        path = Path(os.fsdecode(os.path.join(os.fsencode(self.files), os.fsencode(name))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.index(path)
        return path

    def index(self, *paths: Path) -> None:
        """Write the documents of files as they are on disk now; a file seen under another name before keeps its own."""
        self.put_many([self.document(path) for path in paths])

    def delete(self, path: Path) -> None:
        """Delete a file from disk and from the index."""
        gone = {**self.document(path), "status": "deleted", "deleted_at": d.format_time(d.now_micros())}
        path.unlink()
        self.put(gone)

    def document(self, path: Path) -> dict[str, Any]:
        """The document of a file on disk."""
        facts = path.stat()
        written = d.escape(os.fsencode(path))
        uuid = self._uuids.setdefault(facts.st_ino, d.first_file_uuid(self.node, written))
        identifier = d.file_document_id(self.node, uuid)
        return {
            "_id": identifier,
            "type": "file",
            "inode": d.derived_inode(identifier),
            "name": d.name_of(written),
            "source": {"node_id": self.node, "export_path": written, "export_parent": d.parent_of(written)},
            "size": facts.st_size,
            "mtime": d.format_time(facts.st_mtime_ns // 1000),
            "status": "active",
        }

    def mount(self, directory: Path, **options: Any) -> MountProcess:
        """Mount the tree."""
        mount = spawn_mount(self.home.path, directory, **options)
        self._mounts.append(mount)
        return mount

    def command(self, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``mosaicfs`` on this home."""
        line = [sys.executable, "-c", _COMMAND, "--home", str(self.home.path), *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, **options)

    def _localfs(self) -> dict[str, Any]:
        return {
            "_id": d.plugin_document_id(self.node, "localfs"),
            "type": "plugin",
            "node_id": self.node,
            "plugin_name": "localfs",
            "package": "localfs",
            "plugin_type": "package",
            "enabled": True,
            "name": "Local files",
            "config": {},
            "watches": "paths",
            "settings": {"paths": [str(self.files)]},
            "created_at": d.format_time(d.now_micros()),
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A fresh world; everything it mounted is gone afterwards."""
    reason = unusable()
    if reason:
        pytest.skip(reason)
    made = World(tmp_path)
    yield made
    made.close()
    for point in tmp_path.iterdir():
        if mounts_at(point):
            mountpoint.clear_stale(point)


@pytest.fixture
def point(tmp_path: Path) -> Path:
    """Where to mount."""
    return tmp_path / "mnt"
