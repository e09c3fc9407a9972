"""Protects what is read from the mount table: which path of the tree a native path stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mosaicfs_core.mount_table import tree_path

TABLE = """\
22 1 259:1 / / rw,relatime - ext4 /dev/root rw
40 22 0:51 / /home/u/My\\040Files ro,nosuid - fuse.mosaicfs mosaicfs ro,user_id=0
41 22 0:52 / /home/u/other ro - fuse.rclone remote ro
"""


@pytest.mark.parametrize(
    ("native", "meant"),
    [
        ("/home/u/My Files", "/"),
        ("/home/u/My Files/work/a.txt", "/work/a.txt"),
        ("/home/u/My Files.txt", "/home/u/My Files.txt"),
        ("/home/u/other/a.txt", "/home/u/other/a.txt"),
        ("/work/a.txt", "/work/a.txt"),
    ],
)
def test_a_path_inside_a_mount_stands_for_its_place_in_the_tree(native: str, meant: str, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    assert tree_path(native, table) == meant


def test_without_a_mount_table_every_path_is_itself(tmp_path: Path) -> None:
    assert tree_path("/work/a.txt", tmp_path / "absent") == "/work/a.txt"
