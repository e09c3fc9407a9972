"""How full this machine's filesystems are, once an hour, for as long as its settings say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mosaicfs_core.agent.node import filesystems
from mosaicfs_core.documents import ids, times
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.store import Reader, WriteTransaction

HOUR: Final = 3600 * times.MICROS_PER_SECOND
DAY: Final = 24 * HOUR
LOOK_S: Final = 60.0
_KEPT: Final = ("_id", "type", "node_id")


def snapshot(node_id: str, roots: Sequence[str], now: int) -> dict[str, Any]:
    """The document of this hour. ``now`` in microseconds, ``roots`` are export paths."""
    captured = times.format_time(now)
    return {
        "_id": ids.utilization_document_id(node_id, captured),
        "type": "utilization_snapshot",
        "node_id": node_id,
        "captured_at": captured,
        "filesystems": [_use(one) for one in filesystems(roots)],
    }


async def keep_hourly(core: CoreServices, roots: Sequence[str], now: int) -> None:
    """Write this hour's snapshot, and take those away that are older than the settings say."""
    document = await asyncio.to_thread(snapshot, core.node_id, roots, now)
    oldest = times.format_time(now - core.settings.current.snapshot_days * DAY)

    def old(reader: Reader) -> list[dict[str, Any]]:
        found = reader.documents_of("utilization_snapshot", (core.node_id,))
        return [one for one in found if one["captured_at"] < oldest]

    gone = await core.store.read(old)

    def write(tx: WriteTransaction) -> None:
        tx.overwrite(document)
        for one in gone:
            tx.overwrite({**{key: one[key] for key in _KEPT}, "_deleted": True})

    await core.store.transaction(write)


def _use(filesystem: dict[str, Any]) -> dict[str, Any]:
    point = Path(filesystem["mount_point"])
    space = os.statvfs(point)
    return {
        "filesystem_id": filesystem["filesystem_id"],
        "mount_point": str(point),
        "used_bytes": filesystem["used_bytes"],
        "available_bytes": space.f_bavail * space.f_frsize,
        "inodes_used": space.f_files - space.f_ffree,
        "inodes_total": space.f_files,
    }
