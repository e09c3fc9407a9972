"""What removed plugin instances leave behind on this node: taken out of the index and off the disk.

A removal is a tombstone that somebody made, and nothing else is taken for one: an instance whose document has not
arrived (yet), or of which a control plane that was set back knows nothing, keeps what it has. Tombstones are looked at
once, in the order of the replica's sequence, so that one that came while the agent was down, or that another release
did not heed, is found as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mosaicfs_core.agent.indexer import Indexer
from mosaicfs_core.agent.planner import Source
from mosaicfs_core.agent.session import Session
from mosaicfs_core.documents import ids, paths
from mosaicfs_core.documents.paths import is_under
from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import Delete, FileOperation
from mosaicfs_core.jobs import WhichAnnotations, forget
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instance
from mosaicfs_core.plugins.notifying import resolve_all
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.plugins.prefixes import removed_places
from mosaicfs_core.replication.recovery import gone
from mosaicfs_core.store import Reader

logger = logging.getLogger(__name__)

PAGE: Final = 1_000
FAR: Final = 5_000
"""Changes that are not looked at twice."""
_SEEN: Final = "removed-instances"
_INSTANCE: Final = re.compile(ids.INSTANCE_PATTERN)


class Removals:
    """Clears up after the instances of a node. One sweep at a time."""

    def __init__(self, core: CoreServices, indexer: Indexer) -> None:
        self._core = core
        self._indexer = indexer

    async def sweep(self, current: Mapping[str, Instance]) -> None:
        """Clear up after every instance that was removed since the last sweep and is not one of ``current``. What they
        ran must have ended."""
        store, own = self._core.store, ids.plugin_document_id(self._core.node_id, "")
        kept = await store.local_get(_SEEN)
        since = int(kept["seq"]) if kept else 0
        found, end = await store.read(lambda reader: _tombstones(reader, own, since))
        for name, tombstone in found:
            # The name becomes part of paths that are removed: one that no instance can have is nobody's.
            if name not in current and _INSTANCE.fullmatch(name):
                await self._clear(name, tombstone, current)
        if found or kept is None or end - since >= FAR:  # a little that was looked at in vain may be looked at again
            await store.local_put(_SEEN, {"seq": end, **({"_rev": kept["_rev"]} if kept else {})})

    async def _clear(self, name: str, tombstone: Mapping[str, Any], current: Mapping[str, Instance]) -> None:
        prefix, folders = removed_places(name, tombstone)
        others = [path for one in current.values() for path in one.context.places.own]
        await self._unindex(name, name, [prefix], Places((prefix,), on_disk=False))
        await self._unindex(name, None, folders, Places((), tuple(others)))
        await forget(self._core.store, self._core.node_id, WhichAnnotations(plugin=name))
        await resolve_all(self._core.store, self._core.node_id, lambda one: one["source"]["component"] == name)
        kept = [self._core.home.state_dir / name]
        if not any(is_under(prefix, path) or is_under(path, prefix) for path in others):
            kept += self._provided(prefix)
        for directory in kept:
            await asyncio.to_thread(_remove, directory)
        logger.info("cleared up after an instance", extra={"plugin": name, "operation": "remove"})

    async def _unindex(self, name: str, provider: str | None, trees: list[str], places: Places) -> None:
        """Take the files of ``provider`` (None: those on disk) beneath these paths out of the index."""
        source = Source(
            node_id=self._core.node_id,
            instance=name,
            on_disk=provider is None,
            provider=provider,
            places=lambda: places,
        )
        session = Session(self._indexer, source, lambda problem: None, matching=False)
        operations: list[FileOperation] = [Delete(export_path=tree) for tree in trees]
        try:
            await session.feed(operations)
            await session.finish()
        finally:
            session.close()

    def _provided(self, prefix: str) -> list[Path]:
        """Where an instance kept the bytes of the files it provided, if that is a place of its own."""
        root = os.fspath(self._core.bridge_files)
        try:
            native = os.fsdecode(paths.unescape(prefix))
        except UserError:
            return []
        found = os.path.normpath(f"{root}/{native}")
        return [Path(found)] if found.startswith(f"{root}/") else []


def _tombstones(reader: Reader, own: str, since: int) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """The tombstones after a sequence whose ids begin with ``own``, with the rest of the id; and how far that was."""
    found: list[tuple[str, dict[str, Any]]] = []
    while True:
        entries, since, more = reader.entries_since(since, PAGE, files=False)
        mine = [one for one in entries if one.deleted and one.id.startswith(own) and one.rev != gone(one.id)]
        found += [(one.id.removeprefix(own), reader.get_revision(one.id, one.rev) or {}) for one in mine]
        if not more:
            return found, since


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        logger.warning("%s cannot be removed: %s", directory, error, extra={"operation": "remove"})
