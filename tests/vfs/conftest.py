"""Fixtures for the namespace: a replica to fill with documents, and the namespace over it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.store import Reader, Store
from mosaicfs_vfs.namespace import Namespace
from mosaicfs_vfs.namespace.edits import new_directory

NOW = 1_780_000_000_000_000
DAY = d.MICROS_PER_DAY


class World:
    """A replica and a namespace over it, driven without an event loop of the caller's. ``now`` is the clock."""

    def __init__(self, path: Path) -> None:
        self.now = NOW
        self._loop = asyncio.Runner()
        self.store: Store = self._loop.run(Store.open(path))
        self.path = path
        self._uuids = itertools.count(1)
        self._open: list[Namespace] = []
        self._closed = False
        self.namespace = self.fresh()

    def fresh(self, ops: Mapping[str, Any] | None = None) -> Namespace:
        """A namespace that remembers nothing."""
        namespace = Namespace(Reader.open(self.path), ops or {}, lambda: self.now)
        self._open.append(namespace)
        return namespace

    def close(self) -> None:
        """Close everything; closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        for namespace in self._open:
            namespace.close()
        self._loop.run(self.store.close())
        self._loop.close()

    def put(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Write a document over whatever is there."""

        def replace(current: dict[str, Any] | None) -> dict[str, Any]:
            return {key: value for key, value in document.items() if key != "_rev"}

        written = self._loop.run(self.store.update(document["_id"], replace))
        assert written is not None
        return written

    def get(self, document_id: str) -> dict[str, Any] | None:
        return self._loop.run(self.store.get(document_id))

    def remove(self, document: Mapping[str, Any], *more: str, **instead: Any) -> None:
        """Leave a tombstone that keeps the type, the owner and ``more`` fields, or has others ``instead``."""
        kept = {key: document[key] for key in ("_id", "type", "node_id", *more) if key in document} | instead
        self._loop.run(self.store.update(document["_id"], lambda _: {**kept, "_deleted": True}))

    def file(
        self, path: str, node: str = "node-a", *, size: int = 1, age: float = 1.0, mime: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """Index a file; ``age`` in days."""
        name, parent = d.name_of(path), d.parent_of(path)
        uuid = d.first_file_uuid(node, path)
        document = {
            "_id": d.file_document_id(node, uuid),
            "type": "file",
            "inode": d.derived_inode(d.file_document_id(node, uuid)),
            "name": name,
            "source": {"node_id": node, "export_path": path, "export_parent": parent},
            "size": size,
            "mtime": d.format_time(int(self.now - age * DAY)),
            "status": "active",
            **({"mime_type": mime} if mime else {}),
            **more,
        }
        return self.put(document)

    def delete_file(self, document: Mapping[str, Any]) -> dict[str, Any]:
        return self.put({**document, "status": "deleted", "deleted_at": d.format_time(self.now)})

    def move_file(self, document: Mapping[str, Any], path: str) -> dict[str, Any]:
        source = {**document["source"], "export_path": path, "export_parent": d.parent_of(path)}
        before = document["source"]["export_path"]
        return self.put({**document, "name": d.name_of(path), "source": source, "moved_from": before})

    def directory(self, path: str, *mounts: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """Make or replace a virtual directory."""
        return self.put(new_directory(path, NOW, {**fields, "mounts": list(mounts)}))

    def label(self, path: str, *labels: str, node: str = "node-a") -> dict[str, Any]:
        return self.put(
            {
                "_id": d.label_assignment_id(node, path),
                "type": "label_assignment",
                "node_id": node,
                "export_path": path,
                "labels": list(labels),
                "updated_at": d.format_time(self.now),
            }
        )

    def rule(self, prefix: str, *labels: str, node: str = "*", number: int = 1) -> dict[str, Any]:
        return self.put(
            {
                "_id": d.label_rule_id(f"00000000-0000-4000-8000-{number:012d}"),
                "type": "label_rule",
                "node_id": node,
                "path_prefix": prefix,
                "labels": list(labels),
                "name": "rule",
                "enabled": True,
                "created_at": d.format_time(NOW),
            }
        )

    def annotate(self, path: str, plugin: str, data: Mapping[str, Any], node: str = "node-a") -> dict[str, Any]:
        time = d.format_time(self.now)
        return self.put(
            {
                "_id": d.annotation_id(node, path, plugin),
                "type": "annotation",
                "node_id": node,
                "export_path": path,
                "plugin_name": plugin,
                "annotated_by": node,
                "data": dict(data),
                "annotated_at": time,
                "updated_at": time,
                "source_mtime": time,
                "source_size": 1,
            }
        )

    @staticmethod
    def mount(source: str, node: str = "node-a", **fields: Any) -> dict[str, Any]:
        """A mount in stored form."""
        return {"mount_id": "m1", "source": {"node_id": node, "export_path": source}, **fields}

    def names(self, path: str) -> list[str]:
        """Refresh, then list: names, those of directories with a slash at the end."""
        self.namespace.refresh()
        return [entry.name + ("/" if entry.is_directory else "") for entry in self.namespace.list(path).entries]


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[], World]]:
    """Makes worlds, each with a replica of its own; they are closed after the test."""
    made: list[World] = []

    def make() -> World:
        world = World(tmp_path / f"replica-{len(made)}.db")
        made.append(world)
        return world

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[[], World]) -> World:
    return make_world()
