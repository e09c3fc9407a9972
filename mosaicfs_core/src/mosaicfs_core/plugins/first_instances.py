"""The first plugin instances of a node and its watched folders: documents of the control plane, written there for its
own node and for any other that asks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from mosaicfs_core.documents import ids, paths
from mosaicfs_core.documents.instances import settings_of
from mosaicfs_core.errors import UserError
from mosaicfs_core.plugins.prefixes import tombstone_of
from mosaicfs_core.store import Reader, Store

logger = logging.getLogger(__name__)

FACTS: Final = ("settings_schema", "watches", "answers")
"""What a plugin document keeps of its package, for when and where that does not load."""
FILESYSTEM: Final = ("provides_filesystem", "file_path_prefix")
"""Where its files are: said once. Where they are, they are found later on as well."""
_SEEDED: Final = "default-instances"


async def seed_instances(
    store: Store, node_id: str, documents: Iterable[Mapping[str, Any]], *, here: bool = True
) -> list[str]:
    """Write these instances of a node where there are none of the name and never were: a removed one does not come
    back. ``here`` is whether it is the node of this very process. Returns the names of what was made."""
    place = _place(None if here else node_id)
    kept = await store.local_get(place)
    seeded: list[str] = list(kept["names"]) if kept else []
    made: list[str] = []
    for document in documents:
        name = str(document["plugin_name"])
        if name not in seeded and name not in made:
            await store.update(document["_id"], partial(_first, dict(document)))
            made.append(name)
    if made:
        body = {"names": seeded + made}
        await store.local_put(place, {**body, "_rev": kept["_rev"]} if kept else body)
    return made


def with_facts(facts: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any] | None:
    """A plugin document with these facts of its package in place of its own, but for where its files are, which only
    one that does not say it is told; None when there is nothing to change."""
    if present is None:
        return None
    rest = {name: value for name, value in present.items() if name not in FACTS}
    changed = {**facts, **rest}
    return None if changed == present else changed


async def was_seeded(store: Store, name: str) -> bool:
    """Whether the node of this process was ever given a first instance of this name."""
    return name in await seeded_names(store)


async def seeded_names(store: Store, node_id: str | None = None) -> frozenset[str]:
    """The first instances that a node was ever given, by name; without ``node_id`` the node of this process."""
    return _names(await store.local_get(_place(node_id)))


def seeded_here(reader: Reader) -> frozenset[str]:
    """``seeded_names`` of the node whose replica is read."""
    return _names(reader.local_get(_SEEDED))


def _names(kept: Mapping[str, Any] | None) -> frozenset[str]:
    return frozenset(kept["names"]) if kept is not None else frozenset()


def _place(node_id: str | None) -> str:
    return _SEEDED if node_id is None else f"{_SEEDED}-{node_id}"


async def withdraw(store: Store, node_id: str, installed: Collection[str]) -> list[str]:
    """Take back the first instances of this process's node whose packages are gone, as far as nobody has told them
    anything (they have their first revision, and no settings such as the folders of the first start). They are made
    again should the package return. Returns their names."""
    taken: list[str] = []
    for name in sorted(await seeded_names(store)):
        if name in installed:
            continue
        document = await store.get(ids.plugin_document_id(node_id, name))
        if document is not None and document["_rev"].startswith("1-") and not document.get("settings"):
            await store.update(document["_id"], partial(_withdrawn, document["_rev"]))
            taken.append(name)
    if taken:
        kept = await store.local_get(_SEEDED) or {}
        left = [name for name in kept.get("names", ()) if name not in taken]
        await store.local_put(_SEEDED, {**kept, "names": left})
    return taken


async def add_watched_folders(store: Store, node_id: str, native: Sequence[str], *, most: int | None = None) -> None:
    """Add folders to the settings of the plugin that watches folders on a node, as its document says. Raises
    ``UserError`` when there would be more than ``most``, or what is set there is no list of folders."""
    watcher = next((one for one in store.reader.documents_of("plugin", (node_id,)) if one.get("watches")), None)
    if watcher is None:
        logger.warning("%s: not indexed, for no plugin that watches folders is on %s", ", ".join(native), node_id)
        return
    await store.update(watcher["_id"], partial(with_watched_folders, native, most))


def with_watched_folders(
    native: Sequence[str], most: int | None, document: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The document of an instance that watches folders with these among them; None where that changes nothing. Raises
    ``UserError`` like ``add_watched_folders``. Pure."""
    if document is None or not document.get("watches"):
        return None
    setting, present = str(document["watches"]), watched_folders(document)
    wanted = add_roots(present, native)
    if wanted == present:
        return None
    if most is not None and len(wanted) > most:
        raise UserError(f"paths: a machine may add folders up to {most}; set more in the settings", field="paths")
    return {**document, "settings": {**(document.get("settings") or {}), setting: wanted}}


def watched_folders(document: Mapping[str, Any]) -> list[str]:
    """The folders that an instance is set to watch, as its document says. Raises ``UserError`` when they are none."""
    setting = document.get("watches")
    present = (settings_of(document).get(str(setting)) if setting else None) or []
    if not isinstance(present, list) or not all(isinstance(one, str) for one in present):
        field = f"settings.{setting}"
        raise UserError(f"{field}: {document['plugin_name']} is to have a list of folders there", field=field)
    return present


def add_roots(present: Iterable[str], new: Iterable[str]) -> list[str]:
    """The roots with new ones added: none twice, and none that another one covers already."""
    roots = list(dict.fromkeys([*present, *new]))
    return [root for root in roots if not any(root != other and paths.is_under(root, other) for other in roots)]


def _withdrawn(rev: str, present: dict[str, Any] | None) -> dict[str, Any] | None:
    """The tombstone of the document, None when it is another one by now."""
    if present is None or present["_rev"] != rev:
        return None
    return tombstone_of(present, None)


def _first(made: dict[str, Any], present: dict[str, Any] | None) -> dict[str, Any] | None:
    return made if present is None else None
