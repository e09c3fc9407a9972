"""What is mounted where, as Linux tells it: ``/proc/self/mountinfo``. No mount is touched, so dead ones do no harm."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

TABLE: Final = Path("/proc/self/mountinfo")
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
