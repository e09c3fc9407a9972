"""One mounted session: from an empty directory to a served file system, and back."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pyfuse3

from mosaicfs_core.errors import UserError
from mosaicfs_core.supervision import end_tasks, supervised
from mosaicfs_vfs.fuse import mountpoint, readiness
from mosaicfs_vfs.fuse.follow import Pings, follow
from mosaicfs_vfs.fuse.handles import FileOpener
from mosaicfs_vfs.fuse.notify import Notifier
from mosaicfs_vfs.fuse.operations import MountOperations
from mosaicfs_vfs.fuse.policy import ReadPolicy
from mosaicfs_vfs.fuse.source import Source
from mosaicfs_vfs.fuse.space import Disks
from mosaicfs_vfs.fuse.xattrs import XattrOperations

_log = logging.getLogger(__name__)
# A thread that works on the tree must not keep requests waiting for the interpreter lock for long (default: 5 ms).
_SWITCH_INTERVAL_S: Final = 0.0005


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to mount: who may read files of other machines, whether other users see it, whether files have extended
    attributes."""

    policy: ReadPolicy
    allow_other: bool = False
    xattr: bool = False


def options(allow_other: bool) -> set[str]:
    """The mount options. ``ro`` makes the kernel itself refuse every write with EROFS."""
    chosen = {
        "ro",
        "default_permissions",
        f"fsname={mountpoint.SUBTYPE}",
        f"subtype={mountpoint.SUBTYPE}",
        "nodev",
        "nosuid",
    }
    if allow_other:
        chosen.add("allow_other")
    if os.geteuid() == 0:
        # fusermount3 stands by and unmounts when this process is killed.
        chosen.add("auto_unmount")
    return chosen


async def serve(
    point: Path,
    source: Source,
    opener: FileOpener,
    pings: Pings,
    disks: Disks,
    ready: Callable[[], None],
    wishes: Wishes,
) -> None:
    """Mount ``point``, call ``ready`` once requests are answered, and serve until unmounted or told to stop (SIGTERM).

    Raises ``UserError`` when the mount cannot be made.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    notifier = Notifier()
    kind = XattrOperations if wishes.xattr else MountOperations
    operations = kind(source, opener, notifier, time.time_ns() // 1000, disks, wishes.policy)
    readiness.install(lambda: source.busy)
    _mount(operations, point, wishes.allow_other)
    loop = asyncio.get_running_loop()
    stop = _Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    background = [
        asyncio.create_task(_announce(point, operations, ready)),
        asyncio.create_task(supervised("following changes", partial(follow, source, operations, pings), {})),
    ]
    try:
        await readiness.serve()
    finally:
        await end_tasks(*background)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        notifier.close()
        operations.close()
        pyfuse3.close(unmount=True)


def _mount(operations: MountOperations, point: Path, allow_other: bool) -> None:
    try:
        pyfuse3.init(operations, os.fspath(point), options(allow_other))
    except RuntimeError as error:
        raise UserError(_reason(point, allow_other)) from error


class _Stop:
    """Ends the session once, however often it is asked."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> None:
        if not self._asked:
            self._asked = True
            pyfuse3.terminate()


async def _announce(point: Path, operations: MountOperations, ready: Callable[[], None]) -> None:
    await operations.started.wait()
    if not mountpoint.widen_read_ahead(point):
        _log.info("Read-ahead stays at the kernel's default (only root can widen it)")
    # Asked from a thread: the answer comes from this very loop.
    await asyncio.to_thread(os.stat, point)
    ready()


def _reason(point: Path, allow_other: bool) -> str:
    if allow_other and os.geteuid() != 0:
        return f"{point} cannot be mounted: --allow-other needs the line user_allow_other in /etc/fuse.conf"
    return f"{point} cannot be mounted: the kernel or fusermount3 refused; its message is in the log above"
