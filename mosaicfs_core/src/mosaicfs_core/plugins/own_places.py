"""What of this machine's disk belongs to MosaicFS itself: never entered by a crawl, a watch or a report.

There is one decision, and it must be true before a mount comes to be: a crawl that enters the tree indexes its own
index, and a thread that asks the tree something may wait for a process that waits for it. So nothing here asks a mount
anything. A mount point counts from when it is announced, before its directory is made, and as long as the mount table
names it, whoever mounted it.
"""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path

from mosaicfs_core.mount_table import OWN_KIND, WATCHED, Mount, WatchedTable


class OwnPlaces:
    """The home and every mount of MosaicFS. ``places`` may be asked from any thread."""

    def __init__(self, home: Path, table: WatchedTable = WATCHED) -> None:
        self._home = Path(os.path.realpath(home))
        self._table = table
        self._reserved: frozenset[Path] = frozenset()
        self._last: tuple[tuple[Mount, ...], frozenset[Path], tuple[Path, ...]] = ((), frozenset(), (self._home,))

    def reserve(self, point: Path) -> None:
        """Count a mount point from now on, if a mount could come to be there: an absolute path whose parent is
        resolved. A directory that holds something is not reserved; the mount will be refused. Blocks."""
        if self._may_become_a_mount(point):
            self._reserved |= {point}

    def release(self, point: Path) -> None:
        """The mount is not going to be."""
        self._reserved -= {point}

    def places(self, announced: Set[Path]) -> tuple[Path, ...]:
        """The home, then the mounts (reserved, ``announced`` or in the table), resolved; the same object until
        something changes."""
        mounts, wanted = self._table.mounts(), self._reserved | announced
        last = self._last
        if last[0] is not mounts or last[1] != wanted:
            mounted = {Path(mount.point) for mount in mounts if mount.kind == OWN_KIND}
            last = self._last = (mounts, wanted, (self._home, *sorted(mounted | wanted)))
        return last[2]

    def _may_become_a_mount(self, point: Path) -> bool:
        if any(mount.kind == OWN_KIND and mount.point == os.fspath(point) for mount in self._table.mounts()):
            return True
        try:
            with os.scandir(point) as entries:
                return next(entries, None) is None
        except FileNotFoundError:
            return True
        except OSError:
            return False
