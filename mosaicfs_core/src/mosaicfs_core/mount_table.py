"""What is mounted where, as Linux tells it: ``/proc/self/mountinfo``. No mount is touched, so dead ones do no harm."""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

TABLE: Final = Path("/proc/self/mountinfo")
OWN_KIND: Final = "fuse.mosaicfs"
"""The type of every mount that MosaicFS makes, of this instance or another."""
PSEUDO_KINDS: Final = frozenset(
    [
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fusectl",
        "mqueue",
        "nsfs",
        "proc",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "sysfs",
        "tracefs",
    ]
)
"""Filesystems in which the kernel shows itself: what stands there is no file that anybody keeps."""
_LINKS: Final = 40
"""Symbolic links followed in one path, as the kernel does."""
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A line of the table. ``device`` is ``major:minor``, ``kind`` the type of the filesystem, ``source`` what is
    mounted. Names hold surrogates where they are not UTF-8, as paths do in Python."""

    device: str
    point: str
    kind: str
    source: str

    def holds(self, path: str) -> bool:
        """Whether an absolute path is the mount point or lies beneath it."""
        return path == self.point or path.startswith(self.point.rstrip("/") + "/")


def mounts(table: Path = TABLE) -> list[Mount]:
    """All mounts, in mount order: a later one on the same point covers the earlier. None where there is no table."""
    try:
        text = table.read_bytes().decode(errors="surrogateescape")
    except OSError:
        return []
    return parse(text)


def mounts_at(point: Path) -> list[Mount]:
    """What is mounted on a path, the visible one last."""
    wanted = os.fspath(point)
    return [mount for mount in mounts() if mount.point == wanted]


def mount_of(path: str) -> Mount | None:
    """The visible mount that a resolved path lies on, None where there is no table."""
    found: Mount | None = None
    for mount in WATCHED.mounts():
        if mount.holds(path) and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def tree_path(native: str, table: Path = TABLE) -> str:
    """The virtual path of an absolute native path that lies inside a mount of ours; any other path as it is."""
    for mount in mounts(table):
        if mount.kind == OWN_KIND and mount.holds(native):
            return native[len(mount.point) :] or "/"
    return native


def mount_point(directory: Path) -> Path:
    """The path the mount table will show: absolute, links of the parent resolved, the last component left alone.

    The last component may be a dead mount, where every question fails.
    """
    directory = Path(os.path.abspath(directory.expanduser()))
    return directory.parent.resolve() / directory.name if directory.name else directory


class WatchedTable:
    """The table as it is now, read again only when the kernel tells of a change: cheap enough to be asked about every
    directory of a crawl. For any thread."""

    def __init__(self, table: Path = TABLE) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._poll: select.poll | None = None
        self._mounts: tuple[Mount, ...] = ()

    def mounts(self) -> tuple[Mount, ...]:
        """All mounts, in mount order; the same object until one comes or goes. None where there is no table."""
        with self._lock:
            if self._poll is None:
                self._open()
            elif self._poll.poll(0):
                self._mounts = tuple(mounts(self._table))
            return self._mounts

    def _open(self) -> None:
        try:
            # Kept open for as long as the process lives: what was told already is told per open file.
            descriptor = os.open(self._table, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLPRI | select.POLLERR)
        self._poll.poll(0)
        self._mounts = tuple(mounts(self._table))


WATCHED: Final = WatchedTable()


def resolved(path: str, own: Collection[str]) -> str:
    """An absolute path without symbolic links, as ``os.path.realpath`` finds it, but nothing in ``own`` or beneath is
    asked anything: what is left of the path is kept as it is."""
    left, base, links = path.split("/")[::-1], "", 0
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        here = os.path.dirname(base) if part == ".." else f"{base}/{part}"
        if here in own:
            return os.path.normpath("/".join([here, *reversed(left)]))
        try:
            target = os.readlink(here) if links < _LINKS else ""
        except OSError:
            target = ""
        if not target:
            base = "" if here == "/" else here
            continue
        links += 1
        base = "" if target.startswith("/") else base
        left += target.split("/")[::-1]
    return base or "/"


def own_points() -> frozenset[str]:
    """Where MosaicFS is mounted now, this instance or another."""
    return frozenset(mount.point for mount in WATCHED.mounts() if mount.kind == OWN_KIND)


def parse(text: str) -> list[Mount]:
    """The mounts that a table's text names."""
    found = []
    for line in text.split("\n"):
        before, _, after = line.partition(" - ")
        fields, facts = before.split(" "), after.split(" ")
        if len(fields) >= 5 and len(facts) >= 2:
            found.append(Mount(fields[2], _unescape(fields[4]), facts[0], _unescape(facts[1])))
    return found


def _unescape(text: str) -> str:
    """Undo the octal escapes (of blank, tab, newline and backslash)."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)
