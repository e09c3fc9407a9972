"""What a node says was set for it, taken back by a control plane that was made anew or restored from a copy.

The settings of a node are the control plane's. A node can bring back its own, and only what the control plane has
nothing of: an instance that is there, or was removed here, stays as it is, but for folders of the node's own disk,
which it may add at any time (``seed``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from mosaicfs_core.documents import ids, validate
from mosaicfs_core.documents.instances import settings_of
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import UserError
from mosaicfs_core.plugins.first_instances import add_watched_folders
from mosaicfs_core.server.link.seed import MAX_FOLDERS, MAX_INSTANCES
from mosaicfs_core.store import Reader, Store
from mosaicfs_core.store.revtree import history, leaves, parse_rev

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(ids.INSTANCE_PATTERN + END)


class Taken(msgspec.Struct, kw_only=True):
    """What became of an offer: the instances that were ``made``, the ``folders`` that were added, the instances whose
    settings here are ``differing`` and stay so, and why others were ``refused``, by name."""

    made: list[str] = []
    folders: list[str] = []
    differing: list[str] = []
    refused: dict[str, str] = {}


async def take(store: Store, node_id: str, offered: Sequence[Mapping[str, Any]]) -> Taken:
    """Take back what was set for a node, as far as nothing is known of it here."""
    taken = Taken()
    for given in offered:
        name = str(given.get("plugin_name"))
        document = {key: value for key, value in given.items() if key == "_id" or key[:1] != "_"}
        try:
            _check(node_id, name, document)
            if await store.read(partial(_knows, identifier=document["_id"], rev=given.get("_rev"))):
                continue  # what is here came after it
            await _take_one(store, node_id, name, document, taken)
        except UserError as error:
            taken.refused[name[:100]] = error.message
    if taken.made or taken.folders:
        said = (node_id, ", ".join(taken.made) or "nothing", ", ".join(taken.folders) or "none")
        logger.warning(
            "%s brought back what was set for it and is not known here: instances %s, folders %s",
            *said,
            extra={"operation": "restore"},
        )
    return taken


def _check(node_id: str, name: str, document: Mapping[str, Any]) -> None:
    """Raise ``UserError`` unless it is a plugin document of this node's."""
    if _NAME.fullmatch(name) is None or document.get("_id") != ids.plugin_document_id(node_id, name):
        raise UserError(f"expected an instance of {node_id}", field="_id")
    if (document.get("type"), document.get("node_id")) != ("plugin", node_id):
        raise UserError(f"expected an instance of {node_id}", field="node_id")
    validate(document)


async def _take_one(store: Store, node_id: str, name: str, document: dict[str, Any], taken: Taken) -> None:
    """Write an instance that is nowhere, or that was made here by itself and nobody has told anything; of another one
    add the folders, and say whether it differs. One that was removed here stays so."""
    known = await store.read(lambda reader: reader.get_or_tombstone(document["_id"]))
    if known is not None and known.get("_deleted"):
        return
    if known is None and len(await store.read(partial(_instances, node_id=node_id))) >= MAX_INSTANCES:
        raise UserError(f"a node may bring back {MAX_INSTANCES} instances")

    written = False

    def apply(present: dict[str, Any] | None) -> dict[str, Any] | None:
        nonlocal written
        if present is None:
            written = known is None
        else:
            untouched = present["_rev"].startswith("1-") and not settings_of(present)
            written = untouched and not _same(document, present)
        return document if written else None

    await store.update(document["_id"], apply)
    if written:
        taken.made.append(name)
        return
    taken.folders += await _folders(store, node_id, document)
    now = await store.get(document["_id"])
    if now is not None and not _same(document, now):
        taken.differing.append(name)


def _knows(reader: Reader, identifier: str, rev: object) -> bool:
    """Whether the revision that a machine has is known here, or one so late that its history does not reach back to it:
    nothing of it was lost, and what differs was changed here since."""
    tree = reader.tree(identifier)
    if tree is None or not isinstance(rev, str):
        return False
    parsed = parse_rev(rev)
    return parsed in tree.parents or any(parsed[0] < history(tree, leaf)[-1][0] for leaf in leaves(tree))


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return settings_of(one) == settings_of(other) and one.get("enabled") == other.get("enabled")


async def _folders(store: Store, node_id: str, document: Mapping[str, Any]) -> list[str]:
    """Add the folders that an offered instance watches, and tell which were not there."""
    wanted = settings_of(document).get(str(document.get("watches") or "")) or []
    if not isinstance(wanted, list) or not all(isinstance(one, str) and one.startswith("/") for one in wanted):
        return []
    before = await store.read(partial(_watched, node_id=node_id))
    await add_watched_folders(store, node_id, wanted, most=MAX_FOLDERS)
    after = await store.read(partial(_watched, node_id=node_id))
    return [folder for folder in after if folder not in before]


def _watched(reader: Reader, node_id: str) -> list[str]:
    found = [one for one in _instances(reader, node_id) if one.get("watches")]
    return [folder for one in found for folder in settings_of(one).get(one["watches"]) or ()]


def _instances(reader: Reader, node_id: str) -> list[dict[str, Any]]:
    return reader.documents_of("plugin", (node_id,))
