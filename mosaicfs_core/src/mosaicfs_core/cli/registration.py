"""The documents that stand for this machine: its node, its control plane, and the folders it watches."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mosaicfs_core.cli.watch_paths import add_roots
from mosaicfs_core.content.roots import settings_of, watch_roots
from mosaicfs_core.documents import ids, paths
from mosaicfs_core.mount_table import mounts_at
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instances

logger = logging.getLogger(__name__)

CONTROL_ROLE: Final = "control-plane"


async def register_nodes(core: CoreServices, roots: Sequence[str]) -> None:
    """Write this machine's node document and the control plane's, where they are new or differ from what is so now."""
    name = core.config.agent.name or socket.gethostname()
    present = await core.store.read(lambda reader: reader.documents_of("node"))
    facts = {
        "platform": f"{sys.platform}-{platform.machine()}",
        "vfs_capable": sys.platform == "linux",
        "storage": filesystems(roots),
    }
    await _register(core, core.node_id, name, facts)
    control = next((node["node_id"] for node in present if node.get("role") == CONTROL_ROLE), None)
    control_id = control or ids.new_control_plane_id(name)
    await _register(core, control_id, f"Control plane on {name}", {"platform": facts["platform"]}, role=CONTROL_ROLE)


async def _register(
    core: CoreServices, node_id: str, name: str, facts: dict[str, Any], role: str | None = None
) -> None:
    def apply(present: dict[str, Any] | None) -> dict[str, Any] | None:
        document = present or {
            "type": "node",
            "node_id": node_id,
            "node_kind": "physical",
            "friendly_name": name,
            "status": "online",
            "agent_version": 0,
            "control_version": 1,
            **({"role": role} if role else {}),
        }
        changed = {**document, **facts}
        if changed["status"] == "offline":
            changed |= {"status": "online", "control_version": document.get("control_version", 0) + 1}
        if changed == present:
            return None
        return {**changed, "agent_version": document.get("agent_version", 0) + 1}

    await core.store.update(ids.node_document_id(node_id), apply)


async def watched_roots(core: CoreServices) -> tuple[str, ...]:
    """The folders this node watches now, as export paths."""
    found = await core.store.read(lambda reader: reader.documents_of("plugin", (core.node_id,)))
    return watch_roots(found, core.node_id)


async def add_watch_paths(core: CoreServices, new: Sequence[str]) -> None:
    """Add folders to the settings of the plugin that watches folders, which are made on the first start."""
    native = [os.fsdecode(paths.unescape(root)) for root in new]
    watcher = core.host.watcher()
    first = {watcher.plugin: {watcher.setting: native}} if watcher is not None and native else None
    await Instances(core).ensure_defaults(first)
    if not new:
        return
    if watcher is None:
        logger.warning("%s: not indexed, for no plugin that watches folders is installed and works", ", ".join(new))
        return

    def apply(document: dict[str, Any] | None) -> dict[str, Any] | None:
        if document is None:
            return None
        present = list(settings_of(document).get(watcher.setting) or [])
        wanted = add_roots(present, native)
        if wanted == present:
            return None
        return {**document, "settings": {**(document.get("settings") or {}), watcher.setting: wanted}}

    await core.store.update(ids.plugin_document_id(core.node_id, watcher.plugin), apply)


def filesystems(roots: Sequence[str]) -> list[dict[str, Any]]:
    """The filesystems that hold the roots, with what they can take and what is used. Missing roots are left out."""
    found: dict[int, dict[str, Any]] = {}
    for root in roots:
        native = os.fsdecode(paths.unescape(root))
        try:
            device, space = os.stat(native).st_dev, os.statvfs(native)
        except OSError:
            continue
        entry = found.get(device)
        if entry is None:
            point, kind, source = _mount_of(native)
            entry = found[device] = {
                "filesystem_id": f"{space.f_fsid or device:x}",
                "mount_point": point,
                "fs_type": kind,
                "device": source,
                "capacity_bytes": space.f_blocks * space.f_frsize,
                "used_bytes": (space.f_blocks - space.f_bfree) * space.f_frsize,
                "watch_paths_on_fs": [],
            }
        entry["watch_paths_on_fs"].append(root)
    return list(found.values())


def _mount_of(path: str) -> tuple[str, str, str]:
    """Mount point, type and device of the filesystem a path lies on; "unknown" where the system does not tell."""
    point = Path(os.path.realpath(path))
    while not os.path.ismount(point):
        point = point.parent
    here = mounts_at(point)
    return (str(point), here[-1].kind, here[-1].source) if here else (str(point), "unknown", "unknown")
