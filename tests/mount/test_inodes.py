"""Protects files from one another: whatever inodes documents name, the kernel never takes one entry for another."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mount.stand_ins import Entry, Listing

from mosaicfs_core import documents as d
from mosaicfs_vfs.fuse.table import ForgetAttributes, Table
from mosaicfs_vfs.namespace.edits import new_directory

THIEF = "node-thief-aaaa"


def table() -> Table[tuple[int, int]]:
    return Table(lambda entries: [(entry.inode, entry.size) for entry in entries], lambda name: name.encode())


def folder(name: str, inode: int) -> Entry:
    return Entry(name, inode, file=None)


def foreign(path: str, inode: int) -> dict[str, Any]:
    """The document of another machine's file, with an inode that the machine chose."""
    return {
        "_id": d.file_document_id(THIEF, d.first_file_uuid(THIEF, path)),
        "type": "file",
        "inode": inode,
        "name": d.name_of(path),
        "source": {"node_id": THIEF, "export_path": path, "export_parent": d.parent_of(path)},
        "size": 4,
        "mtime": d.format_time(d.now_micros()),
        "status": "active",
    }


@pytest.mark.parametrize("together", [True, False])
def test_of_two_files_with_one_inode_each_is_itself(together: bool) -> None:
    made = table()
    first, second = Entry("a", 10, known_as="a"), Entry("b", 10, known_as="b")
    if together:
        listed, _ = made.install(Listing("/", 1, (first, second)))
        own = listed.entries[1].inode
    else:
        made.install(Listing("/", 1, (first, folder("d", 20))))
        listed, _ = made.install(Listing("/d", 20, (second,)))
        own = listed.entries[0].inode
    assert own != 10
    assert made.files[10].name == "a"
    assert made.files[own].name == "b"
    assert (made.attributes[10][0], made.attributes[own][0]) == (10, own)


def test_what_gave_way_keeps_its_inode_when_the_other_is_gone() -> None:
    made = table()
    first, second = Entry("a", 10, known_as="a"), Entry("b", 10, known_as="b")
    own = made.install(Listing("/", 1, (first, second)))[0].entries[1].inode
    listed, corrections = made.install(Listing("/", 1, (second,)))
    assert listed.entries[0].inode == own
    assert {correction.name for correction in corrections if not isinstance(correction, ForgetAttributes)} == {b"a"}
    renamed, _ = made.install(Listing("/", 1, (Entry("c", 10, known_as="b"),)))
    assert renamed.entries[0].inode == own


def test_what_changed_is_forgotten_under_every_inode_that_it_may_have() -> None:
    made = table()
    own = (
        made.install(Listing("/", 1, (Entry("a", 10, known_as="a"), Entry("b", 10, known_as="b"))))[0].entries[1].inode
    )
    assert made.changed_files({10, 11}) == [ForgetAttributes(inode, data=True) for inode in (*{10, 11}, own)]


@pytest.mark.parametrize("inode", [1, 20])
@pytest.mark.parametrize("file_first", [True, False])
def test_a_file_is_never_taken_for_a_directory(inode: int, file_first: bool) -> None:
    made = table()
    file, directory = Entry("f", inode), folder("d", 20)
    listed, _ = made.install(Listing("/", 1, (file, directory) if file_first else (directory, file)))
    by_name = dict(zip(listed.names, listed.entries, strict=True))
    inodes = {by_name[b"f"].inode, by_name[b"d"].inode, 1}
    assert len(inodes) == 3
    below, _ = made.install(Listing("/d", 20, (Entry("x", 30),)))
    assert below.inode == by_name[b"d"].inode
    assert made.paths == {1: "/", by_name[b"d"].inode: "/d"}
    assert made.files.keys() == {by_name[b"f"].inode, 30}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(10, 12), st.integers(0, 1)), max_size=12))
def test_at_any_time_an_inode_is_one_file_and_a_file_one_inode(steps: list[tuple[int, int, int]]) -> None:
    """Each step shows or hides a file (by number, all asking for few inodes) in one of two directories."""
    made = table()
    shown: dict[str, dict[int, int]] = {"/a": {}, "/b": {}}
    given: dict[int, int] = {}
    made.install(Listing("/", 1, (folder("a", 20), folder("b", 21))))
    for file, inode, place in steps:
        path = ("/a", "/b")[place]
        wanted = next((there[file] for there in shown.values() if file in there), inode)
        shown[path] = {k: v for k, v in shown[path].items() if k != file} | (
            {} if file in shown[path] else {file: wanted}
        )
        entries = tuple(Entry(f"f{k}", v, known_as=str(k)) for k, v in sorted(shown[path].items()))
        made.install(Listing(path, 20 + place, entries))
        held: dict[int, int] = {}
        for directory in shown:
            listed = made.get(directory)
            for entry in listed.entries if listed else ():
                assert held.setdefault(int(str(entry.identity)), entry.inode) == entry.inode
                assert made.files[entry.inode].identity == entry.identity
        assert len(set(held.values())) == len(held)
        assert all(given.get(one, own) == own for one, own in held.items() if given.get(one, 0) >= 1 << 61)
        given |= held


@pytest.mark.fuse
class TestThroughTheKernel:
    """A machine names the inodes of others in its documents (a replica may hold such ones from before they were
    refused)."""

    @pytest.mark.parametrize("first", ["all", "thief"])
    def test_another_machines_file_with_the_inode_of_ours(self, world: Any, point: Path, first: str) -> None:
        mine = world.document(world.write("essay.txt", b"mine"))
        world.put(foreign("/x/essay.txt", mine["inode"]))
        shown = {"mount_id": "t", "source": {"node_id": THIEF, "export_path": "/x"}, "source_prefix": "/x"}
        world.put_directory("/thief", {**world.source(world.files), **shown})
        root = world.mount(point).directory
        for name in (first, "all", "thief"):
            os.listdir(root / name)
        os.stat(root / "thief" / "essay.txt")
        assert (root / "all" / "essay.txt").read_bytes() == b"mine"
        assert (root / "all" / "essay.txt").stat().st_ino == mine["inode"]
        assert (root / "thief" / "essay.txt").stat().st_ino == d.derived_inode(foreign("/x/essay.txt", 1)["_id"])

    def test_in_one_directory_both_are_shown(self, world: Any, point: Path) -> None:
        mine = world.document(world.write("essay.txt", b"mine"))
        world.put(foreign("/x/essay.txt", mine["inode"]))
        theirs = {"mount_id": "t", "source": {"node_id": THIEF, "export_path": "/x"}, "source_prefix": "/x"}
        both = [world.source(world.files, conflict_policy="suffix_node_id")]
        world.put_directory("/both", *both, {**both[0], **theirs})
        root = world.mount(point).directory / "both"
        assert sorted(os.listdir(root)) == [f"essay ({world.node}).txt", "essay.txt"]
        assert (root / f"essay ({world.node}).txt").read_bytes() == b"mine"

    @pytest.mark.parametrize("inode", [1, 2, 999])
    def test_the_reserved_inodes(self, world: Any, point: Path, inode: int) -> None:
        world.put({**world.document(world.write("a.txt", b"mine")), "inode": inode})
        root = world.mount(point).directory
        assert os.listdir(root / "all") == ["a.txt"]
        assert (root / "all" / "a.txt").stat().st_ino >= 1000
        assert (root / "all" / "a.txt").read_bytes() == b"mine"
        assert stat.S_ISDIR(root.stat().st_mode)
        assert root.stat().st_ino == 1

    def test_the_inode_of_a_directory(self, world: Any, point: Path) -> None:
        """A directory made since with a file's inode: both are there, and renames and restarts keep what each has."""
        path = world.write("a.txt", b"mine")
        inode = world.document(path)["inode"]
        root = world.mount(point).directory
        assert (root / "all" / "a.txt").stat().st_ino == inode
        world.put({**new_directory("/made", d.now_micros(), {"mounts": [world.source(world.files)]}), "inode": inode})
        world.wait_until((root / "made").is_dir)
        made = (root / "made").stat().st_ino
        assert made != inode
        assert (root / "made" / "a.txt").read_bytes() == (root / "all" / "a.txt").read_bytes() == b"mine"
        path.rename(world.files / "b.txt")
        world.index(world.files / "b.txt")
        world.wait_until((root / "all" / "b.txt").exists)
        assert (root / "all" / "b.txt").stat().st_ino == inode
        assert (root / "made").stat().st_ino == made

    def test_restarts_and_renames_keep_inodes(self, world: Any, point: Path) -> None:
        inode = world.document(path := world.write("a.txt", b"mine"))["inode"]
        mount = world.mount(point)
        assert (mount.directory / "all" / "a.txt").stat().st_ino == inode
        mount.stop()
        path.rename(world.files / "b.txt")
        world.index(world.files / "b.txt")
        assert (world.mount(point).directory / "all" / "b.txt").stat().st_ino == inode
