"""The room on the disk that a home lies on: how much there is, and whether MosaicFS can go on with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, NamedTuple

LITTLE_BYTES: Final = 100_000_000
LITTLE_SHARE: Final = 0.05
"""Of a small disk this share is little, as ``LITTLE_BYTES`` are of a large one."""
FEW_FILES: Final = 1_000
TIGHT_BYTES: Final = 1_000_000
"""With less than this any write may be the one that fails."""
NOTHING_WRITTEN: Final = "nothing can be written"


class Room(NamedTuple):
    """What is free on a filesystem. ``free`` and ``size`` are bytes, ``files`` how many more files it can hold: None
    where it sets no bound."""

    free: int
    size: int
    files: int | None

    @property
    def full(self) -> bool:
        """Whether nothing more can be relied on to be written."""
        return self.free < TIGHT_BYTES or self.files == 0

    @property
    def little(self) -> bool:
        """Whether it will soon be full."""
        return self.free < min(LITTLE_BYTES, int(self.size * LITTLE_SHARE)) or (
            self.files is not None and self.files < FEW_FILES
        )

    def __str__(self) -> str:
        megabytes = f"{self.free / 1e6:,.0f} MB" if self.free < 1e9 else f"{self.free / 1e9:,.1f} GB"
        if self.files is not None and self.files < FEW_FILES:
            return f"{megabytes} and {self.files:,} inodes free"
        return f"{megabytes} free"

    @property
    def roughly(self) -> str:
        """How much there is, in words that stay the same for long while a disk fills."""
        bound = _bound(self.free / 1e6)
        room = f"less than {bound:,} MB" if bound < 1_000 else f"less than {bound // 1_000:,} GB"
        if self.files is not None and self.files < FEW_FILES:
            return f"{room} and fewer than {_bound(self.files):,} inodes free"
        return f"{room} free"


def _bound(count: float) -> int:
    """The least of 2, 5, 10, 20, 50, and so on, that ``count`` is less than."""
    unit = 1
    while count >= 10 * unit:
        unit *= 10
    return next(step * unit for step in (2, 5, 10) if count < step * unit)


def room_on(path: Path) -> Room:
    """The room where ``path`` is, or will be. Raises ``OSError``."""
    while not path.exists():
        path = path.parent
    facts = os.statvfs(path)
    return Room(
        free=facts.f_bavail * facts.f_frsize,
        size=facts.f_blocks * facts.f_frsize,
        files=facts.f_favail if facts.f_files else None,
    )


def subsystem(home: Path, failure: str | None) -> dict[str, Any]:
    """The part ``disk`` of a status: ``unhealthy`` while nothing can be written. ``failure`` is the write that failed
    lately for want of room, None when none did: a quota leaves room that nobody may use."""
    try:
        room = room_on(home)
    except OSError as error:
        return {"status": "unhealthy", "detail": f"the disk of {home} cannot be used: {error.strerror}"}
    status, detail = "healthy", ""
    if failure is not None or room.full:
        what = NOTHING_WRITTEN if room.full else f"the last write failed ({failure})"
        status, detail = "unhealthy", f"{what}: {room.roughly} on the disk of {home}; make room there"
    elif room.little:
        status, detail = "degraded", f"{room.roughly} on the disk of {home}; make room there"
    return {"status": status, "detail": detail, "figures": {"free_bytes": room.free}}
