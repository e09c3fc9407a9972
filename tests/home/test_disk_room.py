"""The room on a home's disk: when there is too little of it, and what is said then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mosaicfs_core import disk_room
from mosaicfs_core.disk_room import Room

GB = 10**9


@pytest.mark.parametrize(
    ("room", "little", "full", "said"),
    [
        (Room(50 * GB, 100 * GB, None), False, False, "50.0 GB free"),
        (Room(50 * GB, 100 * GB, 10**6), False, False, "50.0 GB free"),
        (Room(90_000_000, 100 * GB, None), True, False, "90 MB free"),
        (Room(5_000_000, 64_000_000, None), False, False, "5 MB free"),
        (Room(3_000_000, 64_000_000, None), True, False, "3 MB free"),
        (Room(400_000, 64_000_000, None), True, True, "0 MB free"),
        (Room(50 * GB, 100 * GB, 12), True, False, "50.0 GB and 12 inodes free"),
        (Room(50 * GB, 100 * GB, 0), True, True, "50.0 GB and 0 inodes free"),
    ],
)
def test_what_is_little_and_what_is_full(room: Room, little: bool, full: bool, said: str) -> None:
    assert (room.little, room.full, str(room)) == (little, full, said)


def test_the_room_is_that_of_the_disk_a_home_will_be_on(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    assert disk_room.room_on(tmp_path / "not" / "made" / "yet").size == facts.f_blocks * facts.f_frsize


def told(monkeypatch: pytest.MonkeyPatch, room: Room, failure: str | None = None) -> tuple[str, str]:
    monkeypatch.setattr(disk_room, "room_on", lambda _: room)
    part = disk_room.subsystem(Path("/home/ada"), failure)
    assert part["figures"] == {"free_bytes": room.free}
    return part["status"], part["detail"]


def test_a_status_says_where_how_much_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, Room(50 * GB, 100 * GB, None)) == ("healthy", "")
    little = "less than 100 MB free on the disk of /home/ada; make room there"
    assert told(monkeypatch, Room(90_000_000, 100 * GB, None)) == ("degraded", little)
    few = "less than 100 GB and fewer than 20 inodes free on the disk of /home/ada; make room there"
    assert told(monkeypatch, Room(50 * GB, 100 * GB, 12)) == ("degraded", few)
    full = "nothing can be written: less than 2 MB free on the disk of /home/ada; make room there"
    assert told(monkeypatch, Room(0, 100 * GB, None), "database or disk is full") == ("unhealthy", full)


def test_a_quota_is_full_although_the_disk_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    status, detail = told(monkeypatch, Room(50 * GB, 100 * GB, None), "disk I/O error")
    assert status == "unhealthy"
    assert detail.startswith("the last write failed (disk I/O error): less than 100 GB free on the disk of /home/ada")


def test_what_is_said_changes_seldom_while_a_disk_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is written anew, and goes to every machine, when it says something else."""
    said = {told(monkeypatch, Room(free, 100 * GB, None))[1] for free in range(1_000_000, 99_000_000, 50_000)}
    assert len(said) == 6
    said = {told(monkeypatch, Room(50 * GB, 100 * GB, files))[1] for files in range(1, 1_000)}
    assert len(said) == 9  # from 2 to 1,000


def test_a_disk_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> Room:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk_room, "room_on", broken)
    part = disk_room.subsystem(Path("/home/ada"), None)
    assert part == {"status": "unhealthy", "detail": "the disk of /home/ada cannot be used: Input/output error"}
