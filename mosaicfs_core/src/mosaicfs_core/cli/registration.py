"""The documents that stand for this machine: its node, its control plane, and the folders it watches."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mosaicfs_core.cli.watch_paths import add_roots
from mosaicfs_core.content.roots import WATCHER, settings_of, watch_roots
from mosaicfs_core.documents import ids, paths
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instances
from mosaicfs_core.server.identity import CONTROL_ROLE, Identity, identity_of


async def register_nodes(core: CoreServices, roots: Sequence[str]) -> None:
    """Write this machine's node document and the control plane's, where they are new or differ from what is so now."""
    name = core.config.agent.name or socket.gethostname()
    facts = {
        "platform": f"{sys.platform}-{platform.machine()}",
        "vfs_capable": sys.platform == "linux",
        "storage": filesystems(roots),
    }
    identity = await identity_of(core)
    await _register(core, identity, core.node_id, name, facts)
    control = {"platform": facts["platform"]}
    await _register(core, identity, identity.node_id, f"Control plane on {name}", control, role=CONTROL_ROLE)


async def _register(
    core: CoreServices, identity: Identity, node_id: str, name: str, facts: dict[str, Any], role: str | None = None
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
        control = {"public_key": identity.key.public}
        if changed["status"] == "offline":
            control["status"] = "online"
        if changed != {**changed, **control}:
            changed |= {**control, "control_version": document.get("control_version", 0) + 1}
        if changed == present:
            return None
        return {**changed, "agent_version": document.get("agent_version", 0) + 1}

    await core.store.update(ids.node_document_id(node_id), apply)


async def watched_roots(core: CoreServices) -> tuple[str, ...]:
    """The folders this node watches now, as export paths."""
    found = await core.store.read(lambda reader: reader.documents_of("plugin", (core.node_id,)))
    return watch_roots(found, core.node_id)


async def add_watch_paths(core: CoreServices, new: Sequence[str]) -> None:
    """Add folders to the watcher's settings, which are made on the first start."""
    native = [os.fsdecode(paths.unescape(root)) for root in new]
    await Instances(core).ensure_defaults({WATCHER: {"paths": native}} if native else None)
    if not new:
        return

    def apply(document: dict[str, Any] | None) -> dict[str, Any] | None:
        if document is None:
            return None
        present = list(settings_of(document).get("paths") or [])
        wanted = add_roots(present, native)
        if wanted == present:
            return None
        return {**document, "settings": {**(document.get("settings") or {}), "paths": wanted}}

    await core.store.update(ids.plugin_document_id(core.node_id, WATCHER), apply)


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
    try:
        table = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return str(point), "unknown", "unknown"
    for line in reversed(table.splitlines()):
        before, _, after = line.partition(" - ")
        fields = after.split()
        if before.split()[4].replace("\\040", " ") == str(point) and len(fields) > 1:
            return str(point), fields[0], fields[1]
    return str(point), "unknown", "unknown"
