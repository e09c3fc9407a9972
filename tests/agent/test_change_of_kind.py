"""Protects paths that change from a file to a directory and back: what was known of the other kind goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.hooks import Create, Delete, Directory, Entry, Rename

OLD = [
    Create(export_path="/t/x", size=1, mtime=10),
    Create(export_path="/t/d/y", size=1, mtime=10),
    Create(export_path="/t/d/e/z", size=1, mtime=10),
    Create(export_path="/t/other", size=1, mtime=10),
]


@pytest.fixture
async def known(sources: Any) -> Any:
    await sources.say("the disk", *OLD)
    return sources


async def test_a_file_takes_the_place_of_a_directory(known: Any) -> None:
    await known.say("the disk", Create(export_path="/t/d", size=3, mtime=30))
    assert set(known.files()) == {"/t/x", "/t/d", "/t/other"}


async def test_a_directory_takes_the_place_of_a_file(known: Any) -> None:
    await known.say("the disk", Directory(export_path="/t/x", files=(Entry("y", 1, 10),), directories=()))
    assert set(known.files()) == {"/t/x/y", "/t/d/y", "/t/d/e/z", "/t/other"}


async def test_so_does_a_very_large_one(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaicfs_core.agent.session.LARGE_DIRECTORY", 2)
    entries = tuple(Entry(name, 1, 10) for name in "abcde")
    await known.say("the disk", Directory(export_path="/t/x", files=entries, directories=()))
    assert {path for path in known.files() if path.startswith("/t/x")} == {f"/t/x/{name}" for name in "abcde"}


async def test_a_deletion_takes_both(known: Any) -> None:
    # Both are known at once when a name under the file is told before the file is gone.
    await known.say("the disk", Create(export_path="/t/x/y", size=1, mtime=10))
    await known.say("the disk", Delete(export_path="/t/x"))
    assert set(known.files()) == {"/t/d/y", "/t/d/e/z", "/t/other"}


@pytest.mark.parametrize("source", ["/t/d", "/t/x"])
async def test_a_renamed_thing_of_the_other_kind_moves_nothing(known: Any, source: str) -> None:
    before = known.files()
    rename = Rename(export_path="/t/new", previous_export_path=source, directory=source == "/t/x")
    await known.say("the disk", rename)
    assert known.files() == before


@pytest.mark.parametrize("directory", [None, True])
async def test_a_renamed_directory_takes_what_is_beneath_it(known: Any, directory: bool | None) -> None:
    before = known.files()
    await known.say("the disk", Rename(export_path="/t/new", previous_export_path="/t/d", directory=directory))
    after = known.files()
    assert (after["/t/new/y"], after["/t/new/e/z"]) == (before["/t/d/y"], before["/t/d/e/z"])


async def test_changes_of_kind_are_followed(node: Any, write: Any, tmp_path: Path) -> None:
    write(node.tree, {"x": "1", "d/y": "2", "d/e/z": "3", "keep": "4"})
    await node.configure(watch=True)
    await node.start()
    (node.tree / "x").unlink()
    write(node.tree, {"x/y": "5"})
    os.rename(node.tree / "d", tmp_path / "away")
    (node.tree / "d").write_text("a file now")
    await node.settled(node.agrees)
    assert set(node.rows()) == {"x/y", "d", "keep"}
