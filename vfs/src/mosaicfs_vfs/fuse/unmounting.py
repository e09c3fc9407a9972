"""Ending a mount from outside its process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from mosaicfs_core.errors import Conflict, NotFound, UserError
from mosaicfs_core.mount_table import mount_point, mounts_at
from mosaicfs_vfs.fuse import mountpoint

_GONE_S: Final = 5.0


def unmount_directory(directory: Path, *, force: bool = False) -> Path:
    """Unmount a mount of ours, and return its path once the mount table is clear of it.

    Raises ``NotFound`` when none is there, ``Conflict`` while files of it are open (``force`` detaches it even then).
    """
    point = mount_point(directory)
    if not any(mount.kind == mountpoint.FILE_SYSTEM_TYPE for mount in mounts_at(point)):
        raise NotFound(f"MosaicFS is not mounted on {point}")
    result = mountpoint.unmount(point, lazy=force)
    if result.returncode:
        if "busy" in result.stderr.lower():
            raise Conflict(
                f"{point} is in use: close what is open there (`fuser -vm {point}` lists it), or add --force"
            )
        raise UserError(f"{point} could not be unmounted: {result.stderr.strip()}")
    deadline = time.monotonic() + _GONE_S
    while any(mount.kind == mountpoint.FILE_SYSTEM_TYPE for mount in mounts_at(point)):
        if time.monotonic() > deadline:
            raise Conflict(f"{point} is still mounted: another mount lay beneath; run the command again")
        time.sleep(0.02)
    return point
