"""Protects what ``df`` shows of the mount: the disks behind it, each once, and no wait for one that does not answer."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_vfs.fuse import space
from mosaicfs_vfs.fuse.space import BLOCK, Disks, Space, space_of


def test_a_disk_is_counted_once_and_what_is_not_there_or_our_own_not_at_all(tmp_path: Path) -> None:
    for name in ("one", "two", "mnt"):
        (tmp_path / name).mkdir()
    one, two, missing, own = (os.fsencode(tmp_path / name) for name in ("one", "two", "missing", "mnt"))
    facts = os.statvfs(one)
    found = space_of([one, two, missing, own], [own])
    assert found.blocks == facts.f_blocks * facts.f_frsize // BLOCK > 0
    assert (found.files, found.available <= found.free <= found.blocks) == (facts.f_files, True)
    assert space_of([own, own + b"/below", missing], [own]) == Space()


async def test_the_home_stands_for_folders_that_are_not_there(tmp_path: Path) -> None:
    assert (await Disks(lambda: (), os.fsencode(tmp_path)).space()).blocks > 0


async def test_a_disk_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    asked: list[Any] = []

    def measure(roots: Any, own: Any) -> Space:
        asked.append(roots)
        answered.wait(30)
        return Space(7)

    monkeypatch.setattr(space, "WAIT_S", 0.01)
    monkeypatch.setattr(space, "space_of", measure)
    disks = Disks(lambda: (b"/slow",), b"/home")
    assert await disks.space() == Space()
    assert await disks.space() == Space()
    assert len(asked) == 1
    answered.set()
    async with asyncio.timeout(10):
        while (await disks.space()).blocks != 7:
            pass


@pytest.mark.fuse
def test_df(world: Any, point: Path) -> None:
    world.mount(point)
    shown, disk = os.statvfs(point), os.statvfs(world.files)
    assert shown.f_blocks * shown.f_frsize == disk.f_blocks * disk.f_frsize // BLOCK * BLOCK
    assert shown.f_files == disk.f_files
    assert shown.f_namemax == 255
