"""Protects the one decision of what belongs to MosaicFS: true before a mount is there, and asking no mount anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mosaicfs_core.mount_table import OWN_KIND, Mount, WatchedTable
from mosaicfs_core.plugins.own_places import OwnPlaces

NONE: frozenset[Path] = frozenset()


class Table(WatchedTable):
    """A mount table that says what it is given."""

    def __init__(self, *mounts: Mount) -> None:
        super().__init__()
        self.given = mounts

    def mounts(self) -> tuple[Mount, ...]:
        return self.given


def own(point: str | Path) -> Mount:
    return Mount("0:51", os.fspath(point), OWN_KIND, "mosaicfs")


def test_the_home_the_announced_and_the_mounted_belong_to_it(tmp_path: Path) -> None:
    other = Mount("0:52", "/mnt/rclone", "fuse.rclone", "remote")
    table = Table(other, own("/mnt/another-instance"))
    places = OwnPlaces(tmp_path, table)
    assert places.places(NONE) == (tmp_path, Path("/mnt/another-instance"))
    assert places.places({Path("/mnt/a")}) == (tmp_path, Path("/mnt/a"), Path("/mnt/another-instance"))
    table.given = (other,)
    assert places.places(NONE) == (tmp_path,)


def test_the_answer_is_the_same_object_until_something_changes(tmp_path: Path) -> None:
    table = Table(own("/mnt/a"))
    places = OwnPlaces(tmp_path, table)
    first = places.places({Path("/mnt/b")})
    assert places.places({Path("/mnt/b")}) is first
    table.given = (own("/mnt/a"), own("/mnt/c"))
    assert places.places({Path("/mnt/b")}) is not first


def test_a_place_is_reserved_only_where_a_mount_could_be(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "empty").mkdir()
    places = OwnPlaces(tmp_path / "home", Table(own(tmp_path / "mounted")))
    for name in ("full", "full/file", "empty", "missing", "mounted"):
        places.reserve(tmp_path / name)
    assert places.places(NONE)[1:] == tuple(tmp_path / name for name in ("empty", "missing", "mounted"))
    places.release(tmp_path / "empty")
    assert tmp_path / "empty" not in places.places(NONE)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Where something can be mounted."""
    point = tmp_path / "point"
    point.mkdir()
    yield point
    subprocess.run(["umount", point], capture_output=True, check=False)


def test_the_kernel_tells_of_every_change_of_the_table(mounted: Path) -> None:
    table = WatchedTable()
    before = table.mounts()
    assert table.mounts() is before
    done = subprocess.run(["mount", "-t", "tmpfs", "none", mounted], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root can mount")
    assert [mount.kind for mount in table.mounts() if mount.point == os.fspath(mounted)] == ["tmpfs"]
    subprocess.run(["umount", mounted], check=True)
    assert table.mounts() == before


def test_without_a_table_nothing_is_mounted(tmp_path: Path) -> None:
    assert WatchedTable(tmp_path / "absent").mounts() == ()
