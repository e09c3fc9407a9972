"""Protects the tree from edits that meet: one of a directory that is being removed or renamed brings nothing back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import NotFound
from mosaicfs_core.store import Store
from mosaicfs_vfs.directories import Directories

CHANGE = {"default_result": "exclude"}


def unchecked(document: Mapping[str, Any]) -> None:
    """Whatever version it is."""


@pytest.fixture
async def directories(tmp_path: Path) -> AsyncIterator[Directories]:
    async with await Store.open(tmp_path / "replica.db") as store:
        made = Directories(store, {})
        await made.create("/work", {}, parents=True, parent_shown=True)
        yield made


async def test_a_change_of_a_directory_that_is_being_removed(directories: Directories) -> None:
    removed, changed = await asyncio.gather(
        directories.remove("/work", unchecked, force=False),
        directories.change("/work", CHANGE, unchecked),
        return_exceptions=True,
    )
    assert removed == ["/work"]
    assert isinstance(changed, NotFound)
    with pytest.raises(NotFound):
        await directories.get("/work")


async def test_a_change_of_a_directory_that_is_being_renamed(directories: Directories) -> None:
    inode = (await directories.get("/work"))["inode"]
    renamed, changed = await asyncio.gather(
        directories.rename("/work", "/play", {}, unchecked, parent_shown=True),
        directories.change("/work", CHANGE, unchecked),
        return_exceptions=True,
    )
    assert isinstance(renamed, dict)
    assert renamed["inode"] == inode
    assert isinstance(changed, NotFound)
    with pytest.raises(NotFound):
        await directories.get("/work")


async def test_the_root_needs_no_document_to_be_changed(directories: Directories) -> None:
    await directories.remove("/work", unchecked, force=False)
    assert (await directories.change("/", CHANGE, unchecked))["virtual_path"] == "/"
