"""The tree that a fresh instance begins with, kept in step with the machines' sources of files.

For every watched folder, and for every plugin instance that provides files of its own: a directory
``/machines/{node}/{name}``, and a mount in each of ``/recent``, ``/documents``, ``/pictures`` and ``/large``. What was
planted is remembered in a local document, so what the user removes stays removed and what the user edits is left alone;
what nobody touched goes when its folder is not watched any more, or its instance removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mosaicfs_core.content import ProvidedRoot, WatchedRoot, provided_roots, watched_roots
from mosaicfs_core.documents.ids import directory_document_id, node_document_id, path_hash
from mosaicfs_core.documents.paths import join, name_of, parent_of
from mosaicfs_core.documents.times import now_micros
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.rules.tree import ancestry
from mosaicfs_core.store import Reader, Store, WriteTransaction
from mosaicfs_core.store.maintenance import local_put
from mosaicfs_vfs.directories import Directories
from mosaicfs_vfs.namespace.edits import new_directory

logger = logging.getLogger("mosaicfs.vfs")

MEMORY: Final = "vfs-seeds"
MACHINES: Final = "/machines"

_DOCUMENTS: Final = (
    "application/pdf",
    "application/epub+zip",
    "application/msword",
    "application/rtf",
    "application/vnd.ms-*",
    "application/vnd.oasis.opendocument.*",
    "application/vnd.openxmlformats-officedocument.*",
    "text/csv",
    "text/markdown",
    "text/plain",
    "text/rtf",
)

VIEWS: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "/recent": ({"op": "age", "max_days": 30},),
    "/documents": ({"op": "mime", "globs": list(_DOCUMENTS)},),
    "/pictures": ({"op": "mime", "globs": ["image/*"]},),
    "/large": ({"op": "size", "min_bytes": 100 * 1024 * 1024},),
}


class Seed(NamedTuple):
    """A mount to plant in the directory at ``path``. Its ``mount_id`` follows from the folder, so it is always the
    same.
    """

    path: str
    mount: Mapping[str, Any]


class Memory(msgspec.Struct):
    """What was planted: directories by path, and mounts by directory and id, each with a digest of its content."""

    directories: dict[str, bool] = {}
    mounts: dict[str, dict[str, str]] = {}


def plan(watched: Iterable[WatchedRoot], provided: Iterable[ProvidedRoot], names: Mapping[str, str]) -> Iterator[Seed]:
    """Every mount that these sources of files call for. ``names`` are the nodes' names by id. Pure.

    Watched folders choose their places first, so that no plugin makes one of them move.
    """
    taken: set[str] = set()
    roots: list[WatchedRoot | ProvidedRoot] = [*sorted(watched), *sorted(provided)]
    for root in roots:
        machine = machine_directory(names.get(root.node_id) or root.node_id)
        place = join(machine, _folder_name(root.path))
        if place in taken:
            place = f"{place} ({path_hash(root.path)[:6]})"
        taken.add(place)
        yield Seed(place, _mount(root, root.path, (), "last_write_wins"))
        for view, steps in VIEWS.items():
            yield Seed(view, _mount(root, parent_of(root.path), steps, "suffix_node_id"))


def _mount(
    root: WatchedRoot | ProvidedRoot, prefix: str, steps: Sequence[Mapping[str, Any]], policy: str
) -> dict[str, Any]:
    return {
        "mount_id": f"seed-{path_hash(f'{root.node_id}::{root.path}')[:16]}",
        "source": {"node_id": root.node_id, "export_path": root.path},
        "strategy": "prefix_replace",
        "source_prefix": prefix,
        "steps": [dict(step) for step in steps],
        "default_result": "include",
        "conflict_policy": policy,
    }


def _folder_name(path: str) -> str:
    return name_of(path) or "filesystem"


def machine_directory(name: str) -> str:
    """Where the folders of a machine of that name are."""
    plain = name.replace("/", "-").replace("\0", "").strip()
    return join(MACHINES, "machine" if plain in ("", ".", "..") else plain[:60])


class Seeder:
    """Plants and weeds through the control plane's store."""

    def __init__(self, store: Store, directories: Directories) -> None:
        self._store = store
        self._directories = directories

    async def follow(self) -> None:
        """Keep the tree in step until cancelled: at start, and whenever a plugin instance or a node changes."""
        since = self._store.seq
        await self._attempt()
        async for _ in self._store.changes(since, live=True, types=("plugin", "node")):
            await self._attempt()

    async def _attempt(self) -> None:
        try:
            await self.run()
        except MosaicError:
            logger.warning("the tree could not be seeded; it is tried again at the next change", exc_info=True)

    async def run(self) -> None:
        """Plant what is new and weed what has lost its folder, all in one transaction."""
        async with self._directories.lock:
            wanted = await self._store.read(_wanted)
            kept = await self._store.local_get(MEMORY)
            memory = msgspec.convert(kept or {}, Memory)
            before = msgspec.json.encode(memory)
            writes = await self._store.read(lambda reader: _changes(reader, wanted, memory))
            if not writes and msgspec.json.encode(memory) == before:
                return

            body = msgspec.to_builtins(memory) | ({"_rev": kept["_rev"]} if kept else {})

            def write(tx: WriteTransaction) -> None:
                for document in writes:
                    tx.overwrite(document)
                # With the documents: else a crash in between would plant again what the user removed meanwhile.
                local_put(tx, MEMORY, body)

            await self._store.transaction(write)


def _wanted(reader: Reader) -> list[Seed]:
    documents = list(reader.documents_of("plugin"))
    watched, provided = list(watched_roots(documents)), list(provided_roots(documents))
    node_ids = {root.node_id for root in watched} | {root.node_id for root in provided}
    nodes = {node_id: reader.get(node_document_id(node_id)) for node_id in node_ids}
    names = {node_id: node["friendly_name"] for node_id, node in nodes.items() if node is not None}
    return list(plan(watched, provided, names))


def _changes(reader: Reader, wanted: Sequence[Seed], memory: Memory) -> list[dict[str, Any]]:
    """The documents to write. ``memory`` is brought up to date."""
    garden = _Garden(reader, memory)
    garden.make("/")
    if not memory.directories.get(MACHINES):
        for path in (MACHINES, *VIEWS):
            garden.make(path)
    for path, mount in wanted:
        garden.plant(path, mount)
    garden.weed({(path, mount["mount_id"]) for path, mount in wanted})
    return list(garden.changed.values())


class _Garden:
    """The directories as they will be. ``changed`` are the documents to write, by path."""

    def __init__(self, reader: Reader, memory: Memory) -> None:
        self._reader = reader
        self._memory = memory
        self.changed: dict[str, dict[str, Any]] = {}

    def _at(self, path: str) -> dict[str, Any] | None:
        if path in self.changed:
            document = self.changed[path]
            return None if document.get("_deleted") else document
        return self._reader.get(directory_document_id(path))

    def make(self, path: str) -> dict[str, Any] | None:
        """The directory, made with what leads to it; None when the user has removed one of them."""
        found: dict[str, Any] | None = None
        for above in ancestry(path):
            found = self._at(above)
            if found is None:
                if self._memory.directories.get(above):
                    return None
                found = self.changed[above] = new_directory(above, now_micros())
            self._memory.directories[above] = True
        return found

    def plant(self, path: str, mount: Mapping[str, Any]) -> None:
        """Add a mount, unless it was planted before: then it is there, or the user does not want it."""
        planted = self._memory.mounts.setdefault(path, {})
        mount_id = mount["mount_id"]
        if mount_id in planted:
            return
        document = self.make(path)
        planted[mount_id] = _digest(mount)
        mounts = list((document or {}).get("mounts") or ())
        if document is not None and all(one["mount_id"] != mount_id for one in mounts):
            self.changed[path] = {**document, "mounts": [*mounts, dict(mount)]}

    def weed(self, wanted: set[tuple[str, str]]) -> None:
        """Take out planted mounts that nothing calls for any more, if they are as they were planted."""
        for path, planted in list(self._memory.mounts.items()):
            for mount_id in [one for one in planted if (path, one) not in wanted]:
                self._pull(path, mount_id, planted.pop(mount_id))
            if not planted:
                del self._memory.mounts[path]

    def _pull(self, path: str, mount_id: str, digest: str) -> None:
        document = self._at(path)
        if document is None:
            self._forget(path)
            return
        mounts = list(document.get("mounts") or ())
        kept = [one for one in mounts if one["mount_id"] != mount_id or _digest(one) != digest]
        if path.startswith(MACHINES + "/") and not kept and not document.get("steps"):
            self._remove(document)
            self._prune(parent_of(path))
        elif len(kept) != len(mounts):
            self.changed[path] = {**document, "mounts": kept}

    def _remove(self, document: Mapping[str, Any]) -> None:
        path = document["virtual_path"]
        self.changed[path] = {
            "_id": document["_id"],
            "type": document["type"],
            "virtual_path": path,
            "_deleted": True,
        }
        self._forget(path)

    def _prune(self, machine: str) -> None:
        """Remove a planted machine whose last folder went (or took another name), if nobody put anything into it."""
        document = self._at(machine)
        if machine == MACHINES or document is None or not self._memory.directories.get(machine):
            return
        beneath = self._reader.documents_of("virtual_directory.parent", (machine,))
        if any(self._at(child["virtual_path"]) for child in beneath):
            return
        if not any(document.get(field) for field in ("mounts", "steps")):
            self._remove(document)

    def _forget(self, path: str) -> None:
        """A folder that is watched again later gets its place again."""
        if path.startswith(MACHINES + "/"):
            self._memory.directories.pop(path, None)


def _digest(mount: Mapping[str, Any]) -> str:
    return path_hash(msgspec.json.encode(mount, order="deterministic").decode())[:16]
