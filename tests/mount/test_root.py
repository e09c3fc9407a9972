"""Protects the root of the mount: the kernel asks for it first, before anything was listed, and it is always itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.mount.stand_ins import Entry, Listing

pytest.importorskip("pyfuse3")

from mosaicfs_vfs.fuse.attributes import Describer
from mosaicfs_vfs.fuse.operations import MountOperations
from mosaicfs_vfs.fuse.table import ROOT_INODE

SINCE = 1_700_000_000_000_000


class Unlistable:
    """A source of listings that must not be asked."""

    async def listing(self, path: str, following: Any) -> Any:
        raise AssertionError(f"{path} was listed")


@pytest.fixture
def operations() -> MountOperations:
    return MountOperations(Unlistable(), SimpleNamespace(), SimpleNamespace(), since=SINCE, disks=SimpleNamespace())


async def test_the_first_question_is_answered_without_a_look_at_the_tree(operations: MountOperations) -> None:
    root = await operations.getattr(ROOT_INODE)
    assert (root.st_ino, stat.S_ISDIR(root.st_mode), root.st_mode & 0o777) == (1, True, 0o555)
    assert root.st_mtime_ns == SINCE * 1000
    assert root.attr_timeout > 3600


async def test_it_stays_a_directory_whatever_is_listed(operations: MountOperations) -> None:
    operations.table.install(Listing("/", ROOT_INODE, (Entry("thief", ROOT_INODE, size=9), Entry("a", 1001))))
    operations.table.attributes[ROOT_INODE] = Describer(SINCE).file(ROOT_INODE, 9, 1)
    assert stat.S_ISDIR((await operations.getattr(ROOT_INODE)).st_mode)
    thief = await operations.lookup(ROOT_INODE, b"thief")
    assert thief.st_ino >= 1000


@pytest.mark.fuse
def test_a_fresh_mount_is_looked_at_before_it_is_listed(world: Any, point: Path) -> None:
    root = world.mount(point).directory
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for found in (os.stat(root), os.fstat(descriptor)):
            assert (found.st_ino, stat.S_ISDIR(found.st_mode)) == (ROOT_INODE, True)
    finally:
        os.close(descriptor)
