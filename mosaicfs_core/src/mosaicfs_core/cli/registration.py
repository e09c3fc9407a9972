"""The documents that the control plane keeps of itself and of the folders that this machine watches."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from mosaicfs_core.agent.node import platform_name
from mosaicfs_core.content.roots import watch_roots
from mosaicfs_core.documents import ids, paths
from mosaicfs_core.errors import UserError
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.first_instances import add_watched_folders
from mosaicfs_core.plugins.instances import Instances
from mosaicfs_core.server.identity import CONTROL_ROLE, Identity

NO_WATCHER: Final = (
    "no plugin that indexes folders works here; `pip install mosaicfs-plugins` brings one, and `mosaicfs plugin list`"
    " shows whether it is left out or broken"
)


async def register_control_plane(core: CoreServices, identity: Identity) -> None:
    """Write the control plane's node document, where it is new or differs from what is so now."""
    control_id = identity.node_id
    name = core.config.agent.name or socket.gethostname()

    def apply(present: dict[str, Any] | None) -> dict[str, Any] | None:
        document = present or {
            "type": "node",
            "node_id": control_id,
            "node_kind": "physical",
            "friendly_name": f"Control plane on {name}",
            "role": CONTROL_ROLE,
            "agent_version": 0,
            "control_version": 0,
        }
        facts = {"status": "online", "platform": platform_name(), "public_key": identity.key.public}
        changed = {**document, **facts}
        if changed == present:
            return None
        versions = {field: document.get(field, 0) + 1 for field in ("agent_version", "control_version")}
        return {**changed, **versions}

    await core.store.update(ids.node_document_id(control_id), apply)


def _watching(core: CoreServices) -> bool:
    """Whether an instance of this node lists folders, even where its package does not work now."""
    return any(document.get("watches") for document in core.store.reader.documents_of("plugin", (core.node_id,)))


async def watched_roots(core: CoreServices) -> tuple[str, ...]:
    """The folders this node watches now, as export paths."""
    found = await core.store.read(lambda reader: reader.documents_of("plugin", (core.node_id,)))
    return watch_roots(found, core.node_id)


async def add_watch_paths(core: CoreServices, new: Sequence[str], *, named: bool = True) -> None:
    """Make the instances that packages ask for by default, and add folders to the settings of the one that watches
    folders. Raises ``UserError`` when there is none and the folders were ``named`` by somebody."""
    native = [os.fsdecode(paths.unescape(root)) for root in new]
    watcher = core.host.watcher()
    first = {watcher.plugin: {watcher.setting: native}} if watcher is not None and native else None
    await Instances(core).ensure_defaults(first)
    if native and watcher is None and not _watching(core):
        if named:
            raise UserError(f"{', '.join(native)} cannot be indexed: {NO_WATCHER}", field="paths")
        return
    if native:
        await add_watched_folders(core.store, core.node_id, native)
