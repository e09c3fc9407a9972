"""What a machine says of itself in its ``node`` document: the fields that are the agent's (``NODE_AGENT_FIELDS``)."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mosaicfs_core.agent.jobs.capabilities import with_capabilities
from mosaicfs_core.content.roots import watch_roots
from mosaicfs_core.documents import ids, paths
from mosaicfs_core.mount_table import mounts_at
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.security.node_keys import NodeKey


def platform_name() -> str:
    """``linux-x86_64`` and the like."""
    return f"{sys.platform}-{platform.machine()}"


async def write_node(core: CoreServices, *, endpoints: Sequence[str] = ()) -> None:
    """Bring this machine's node document up to date, where it differs from what is so now.

    ``endpoints`` are the addresses at which other nodes may fetch its files. Where the control plane is in another
    process only the agent's fields are written, of a document that has come from there: it is the control plane that
    registers nodes.
    """
    documents = await core.store.read(lambda reader: reader.documents_of("plugin", (core.node_id,)))
    facts: dict[str, Any] = {
        "platform": platform_name(),
        "vfs_capable": sys.platform == "linux",
        "storage": filesystems(watch_roots(documents, core.node_id)),
        "transfer": {"endpoints": list(endpoints), "protocol": "http"},
        **({} if find_spec("pyfuse3") is None else {"vfs_backend": "pyfuse3"}),
    }
    public_key = NodeKey.of_home(core.home).public

    def apply(present: dict[str, Any] | None) -> dict[str, Any] | None:
        if present is None and not core.control:
            return None
        document = present or _new_document(core)
        changed = {**{key: value for key, value in document.items() if key != "vfs_backend"}, **facts}
        if core.control:
            changed = _registered(changed, public_key)
        changed = with_capabilities(core, changed)
        if present is not None and _plain(changed) == _plain(present):
            return None
        return {**changed, "agent_version": document.get("agent_version", 0) + 1}

    await core.store.update(ids.node_document_id(core.node_id), apply)


def _new_document(core: CoreServices) -> dict[str, Any]:
    return {
        "type": "node",
        "node_id": core.node_id,
        "node_kind": "physical",
        "friendly_name": core.config.agent.name or socket.gethostname(),
        "status": "online",
        "agent_version": 0,
        "control_version": 1,
    }


def _registered(document: dict[str, Any], public_key: str) -> dict[str, Any]:
    """The document with what the control plane says of its own machine, as a new version of that if it differs."""
    ours = {"public_key": public_key, "status": "online" if document["status"] == "offline" else document["status"]}
    if all(document.get(key) == value for key, value in ours.items()):
        return document
    return {**document, **ours, "control_version": document.get("control_version", 0) + 1}


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what changes all the time: how full a disk is stands in the hourly snapshots."""
    storage = [{key: value for key, value in one.items() if key != "used_bytes"} for one in document.get("storage", ())]
    return {**document, "storage": storage}


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
