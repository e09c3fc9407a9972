"""Protects what is read from the mount table: names with blanks, newlines, backslashes and bytes that are no UTF-8."""

from __future__ import annotations

import os
from pathlib import Path

from mosaicfs_core.mount_table import Mount, mounts, parse

TABLE = b"""\
22 1 259:1 / / rw,relatime - ext4 /dev/root rw
40 22 0:51 / /home/u/My\\040Files ro,nosuid - fuse.mosaicfs mosaicfs ro,user_id=0
41 22 0:52 / /two\\012lines\\134040\xe9 ro shared:1 - fuse.rclone a\\011b ro
a line of another form
"""


def test_names_are_as_they_are_on_disk(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(TABLE)
    assert mounts(table) == [
        Mount("259:1", "/", "ext4", "/dev/root"),
        Mount("0:51", "/home/u/My Files", "fuse.mosaicfs", "mosaicfs"),
        Mount("0:52", os.fsdecode(b"/two\nlines\\040\xe9"), "fuse.rclone", "a\tb"),
    ]
    assert parse("") == mounts(tmp_path / "absent") == []


def test_a_mount_holds_its_point_and_what_is_beneath() -> None:
    root, mount = Mount("", "/", "", ""), Mount("", "/a", "", "")
    assert all(root.holds(path) for path in ("/", "/a"))
    assert [mount.holds(path) for path in ("/a", "/a/b", "/ab", "/")] == [True, True, False, False]
