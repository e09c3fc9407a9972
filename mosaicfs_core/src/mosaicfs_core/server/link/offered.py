"""What a node says was set for it, taken back by a control plane that was made anew or restored from a copy.

The settings of a node are the control plane's. A node can bring back its own, and only what the control plane has
nothing of: an instance that is there, or was removed here, stays as it is, but for folders of the node's own disk,
which it may add at any time (``seed``).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from mosaicfs_core.content.roots import watch_roots
from mosaicfs_core.documents import ids, parse, validate
from mosaicfs_core.documents.instances import instance_document, package_of, settings_of
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import Conflict, PluginError, UserError
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.first_instances import (
    FACTS,
    FILESYSTEM,
    seeded_names,
    watched_folders,
    with_watched_folders,
)
from mosaicfs_core.plugins.node_settings import RESERVED, empty_document
from mosaicfs_core.printing import printable
from mosaicfs_core.server.instance_checks import checked_settings, refuse_clash
from mosaicfs_core.server.instance_fields import NewInstance, changes_of
from mosaicfs_core.server.link.seed import MAX_FOLDERS, MAX_INSTANCES, SeedInstance, refuse_no_folder, refuse_wrong
from mosaicfs_core.server.plugin_work import check_work
from mosaicfs_core.store import Reader
from mosaicfs_core.store.revtree import history, leaves, parse_rev
from mosaicfs_core.wording import in_words

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 1 << 18
"""Of the JSON of one instance: it stays, and goes to every machine."""
_NAME: Final = re.compile(ids.INSTANCE_PATTERN + END)
_NOT_CONTROLLED: Final = frozenset(
    ["id", "rev", "deleted", "extra", "created_at", "name", "config", "settings", *FACTS, *FILESYSTEM]
)
"""What a package says of itself, what differs by itself, and what is compared apart."""
Given = TypeVar("Given", bound=msgspec.Struct)


class Taken(msgspec.Struct, kw_only=True):
    """What became of an offer: the instances that were ``made``, the ``folders`` that were added, the instances whose
    settings here are ``differing`` and stay so, and why others were ``refused``, by name."""

    made: list[str] = []
    folders: list[str] = []
    differing: list[str] = []
    refused: dict[str, str] = {}


async def take(core: CoreServices, node_id: str, offered: Sequence[Mapping[str, Any]]) -> Taken:
    """Take back what was set for a node, as far as nothing is known of it here. One at a time, and none beside a
    ``seed``: what is there is counted, and what was made by itself is told from what somebody made."""
    taken = Taken()
    instances = await core.store.read(partial(_instances, node_id=node_id))
    for given in offered:
        said = given.get("plugin_name")
        name = said if isinstance(said, str) else ""
        document = {key: value for key, value in given.items() if key == "_id" or key[:1] != "_"}
        try:
            _check(node_id, name, document)
            if await core.store.read(partial(_knows, identifier=document["_id"], rev=given.get("_rev"))):
                continue  # what is here came after it
            await _take_one(core, document, instances, taken)
        except (UserError, Conflict, PluginError) as error:
            taken.refused[name[:100]] = error.message
    if taken.made or taken.folders:
        folders = printable(", ".join(taken.folders[:20])) + (" ..." if len(taken.folders) > 20 else "")
        logger.warning(
            "%s brought back what was set for it and is not known here: instances %s, folders %s",
            node_id,
            ", ".join(taken.made) or "none",
            folders or "none",
            extra={"operation": "restore"},
        )
    return taken


def _check(node_id: str, name: str, document: Mapping[str, Any]) -> None:
    """Raise ``UserError`` unless it is a plugin document of this node's."""
    if _NAME.fullmatch(name) is None or document.get("_id") != ids.plugin_document_id(node_id, name):
        raise UserError(f"expected an instance of {node_id}", field="_id")
    if (document.get("type"), document.get("node_id")) != ("plugin", node_id):
        raise UserError(f"expected an instance of {node_id}", field="node_id")
    if len(msgspec.json.encode(document)) > MAX_BYTES:
        raise UserError(f"at most {MAX_BYTES:,} bytes of an instance are taken back")
    validate(document)


async def _allowed(core: CoreServices, document: dict[str, Any]) -> dict[str, Any]:
    """The document as it may be written, after the checks of what nodes ask for by themselves (``seed``) and of what
    owners do. Raises ``UserError`` and ``Conflict``."""
    node_id, host = document["node_id"], core.host
    settings = settings_of(document)
    if document["plugin_name"] == RESERVED:
        document = {**empty_document(node_id), "created_at": document["created_at"]}
    else:
        refuse_wrong(_converted(document, SeedInstance))
        await asyncio.to_thread(check_work, changes_of(_converted(document, NewInstance)), host.step_ops())
    node = await core.store.get(ids.node_document_id(node_id)) or {}
    flat = {**document, "config": {}, "settings": settings}
    allowed = {**flat, **checked_settings(host, flat, settings, node.get("public_key"))}
    for number, folder in enumerate(watched_folders(allowed)):
        refuse_no_folder(folder, f"settings.{allowed['watches']}.{number}")
    return allowed


def _converted(document: Mapping[str, Any], wanted: type[Given]) -> Given:
    """What a document says of the fields of a request. Raises ``UserError``."""
    named = {**document, "package": package_of(document)}
    given = {field: named[field] for field in wanted.__struct_fields__ if named.get(field) is not None}
    try:
        return msgspec.convert(given, wanted)
    except msgspec.ValidationError as error:
        field, problem = in_words(error, wanted)
        raise UserError(f"{field}: {problem}", field=field) from None


async def _take_one(
    core: CoreServices, document: dict[str, Any], instances: dict[str, dict[str, Any]], taken: Taken
) -> None:
    """Write an instance that is nowhere, or that was made here by itself and nobody has told anything; of another one
    add the folders, and say whether it differs. One that was removed here stays so. ``instances`` are the node's, by
    name, and are brought up to date."""
    store, node_id, name = core.store, document["node_id"], document["plugin_name"]
    known = await store.read(lambda reader: reader.get_or_tombstone(document["_id"]))
    if known is not None and (known.get("_deleted") or _same(document, known)):
        return
    _refuse_many(document, instances)
    document = await _allowed(core, document)
    seeded = name in await seeded_names(store, node_id)
    added: list[str] = []
    written = False

    def apply(present: dict[str, Any] | None) -> dict[str, Any] | None:
        nonlocal written, added
        replaced = known is None if present is None else seeded and _untouched(present) and not _same(document, present)
        changed = document if replaced else _with_folders(document, present)
        if changed is None:
            return None
        refuse_clash(core.host, list(instances.values()), changed)
        written = replaced
        added = _added(changed, present)
        return changed

    now = await store.update(document["_id"], apply)
    if now is not None:
        instances[name] = now
    if written:
        taken.made.append(name)
        return
    taken.folders += added
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


def _refuse_many(document: Mapping[str, Any], instances: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ``UserError`` where a node would have too many instances, or folders: what compares them takes the square
    of the time."""
    together = {**instances, document["plugin_name"]: document}
    if len(together) > max(MAX_INSTANCES, len(instances)):
        raise UserError(f"a node may bring back {MAX_INSTANCES} instances")
    if sum(len(watch_roots([one], one["node_id"])) for one in together.values()) > MAX_FOLDERS:
        raise UserError(f"a machine may bring back folders up to {MAX_FOLDERS}; set more in the settings")


def _with_folders(document: Mapping[str, Any], present: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is there with the folders that are offered for the very instance, if it still watches folders; None when
    that changes nothing."""
    if (
        present is None
        or document.get("watches") != present.get("watches")
        or package_of(document) != package_of(present)
    ):
        return None
    return with_watched_folders(watched_folders(document), MAX_FOLDERS, present)


def _watching(document: Mapping[str, Any]) -> tuple[str, Any]:
    """The package of an instance, and the setting that lists its folders."""
    return package_of(document), document.get("watches")


def _added(changed: Mapping[str, Any], present: Mapping[str, Any] | None) -> list[str]:
    before = set() if present is None else set(watched_folders(present))
    return [folder for folder in watched_folders(changed) if folder not in before]


def _untouched(present: Mapping[str, Any]) -> bool:
    """Whether nobody has told an instance anything since it was made by itself."""
    made = instance_document(
        present["node_id"], present["plugin_name"], package=package_of(present), created_at=present["created_at"]
    )
    return str(present["_rev"]).startswith("1-") and _same(made, present)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return settings_of(one) == settings_of(other) and _controlled(one) == _controlled(other)


def _controlled(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is set of an instance beside its settings, with what holds by default."""
    fields = msgspec.structs.asdict(parse(document))
    told = {field: value for field, value in fields.items() if field not in _NOT_CONTROLLED}
    return {**told, "package": package_of(document)}


def _instances(reader: Reader, node_id: str) -> dict[str, dict[str, Any]]:
    return {one["plugin_name"]: one for one in reader.documents_of("plugin", (node_id,))}
