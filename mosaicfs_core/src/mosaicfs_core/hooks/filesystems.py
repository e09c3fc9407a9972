"""Which filesystem something lies on, and where others are mounted: for sources that index what is on disk. Blocks."""

from __future__ import annotations

import os

from mosaicfs_core import mount_table


def filesystem_id(path: str | bytes | int, device: int) -> int:
    """The number that recognizes the filesystem of ``path`` (or of an open directory) after a remount, below 2**63, as
    ``Entry.device`` has it: ``statvfs``'s id, or ``device``, the device number that ``stat`` tells, where it
    has none. Raises OSError when it cannot be asked: one number or the other would be another filesystem.
    """
    return (os.statvfs(path).f_fsid or device) & 0x7FFF_FFFF_FFFF_FFFF


def mounted_beneath(directory: str) -> dict[str, str]:
    """The mount points beneath a resolved directory, each with what names its device. Empty where the system has no
    table of them; no mount is touched."""
    beneath = directory.rstrip("/") + "/"
    return {
        mount.point: f"{mount.device} {mount.source}"
        for mount in mount_table.mounts()
        if mount.point.startswith(beneath) and mount.point != beneath
    }
