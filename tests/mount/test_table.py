"""Protects the rule behind the kernel's caches: whatever it was told and is no longer so, it is told to forget."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mount.stand_ins import Changes, Entry, Listing

from mosaicfs_vfs.fuse.table import ForgetAttributes, ForgetName, Table


def folder(name: str, inode: int) -> Entry:
    return Entry(name, inode, file=None)


def root(*entries: Entry) -> Listing:
    return Listing("/", 1, entries)


def table(limit: int = 1000) -> Table[tuple[int, int]]:
    return Table(lambda entries: [(entry.size, entry.mtime) for entry in entries], lambda name: name.encode(), limit)


def test_a_first_listing_needs_no_corrections() -> None:
    made = table()
    listed, corrections = made.install(root(Entry("a", 10), folder("d", 20)))
    assert corrections == []
    assert listed.names == [b"a", b"d"]
    assert made.paths == {1: "/", 20: "/d"}
    assert set(made.files) == {10}


def test_the_same_listing_again_needs_none_either() -> None:
    made = table()
    made.install(root(Entry("a", 10, 1, 1)))
    assert made.install(root(Entry("a", 10, 1, 1)))[1] == []


def test_gone_new_and_changed() -> None:
    made = table()
    listed, _ = made.install(root(Entry("gone", 10), Entry("same", 11), Entry("edited", 12, 1), Entry("other", 13)))
    assert made.remember_absent(listed, b"new")
    assert made.remember_absent(listed, b"never")
    new, corrections = made.install(
        root(Entry("same", 11), Entry("edited", 12, 2), Entry("other", 99), Entry("new", 14))
    )
    assert set(corrections) == {
        ForgetName(1, b"gone"),
        ForgetName(1, b"other"),
        ForgetName(1, b"new"),
        ForgetAttributes(12, data=True),
        ForgetAttributes(1, data=False),
    }
    assert new.absent == {b"never"}
    assert set(made.files) == {11, 12, 14, 99}


def test_a_directory_that_went_takes_what_is_below_with_it() -> None:
    made = table()
    made.install(root(folder("d", 20)))
    made.install(Listing("/d", 20, (Entry("x", 30), folder("e", 40))))
    made.install(Listing("/d/e", 40, (Entry("y", 31),)))
    _, corrections = made.install(root())
    assert {ForgetName(1, b"d"), ForgetName(20, b"x"), ForgetName(20, b"e"), ForgetName(40, b"y")} <= set(corrections)
    assert made.get("/d") is None
    assert made.get("/d/e") is None
    assert made.files == {}


def test_a_renamed_directory_keeps_its_inode_and_is_listed_anew() -> None:
    made = table()
    made.install(root(folder("old", 20)))
    made.install(Listing("/old", 20, (Entry("x", 30),)))
    _, corrections = made.install(root(folder("new", 20)))
    assert {ForgetName(1, b"old"), ForgetName(20, b"x")} <= set(corrections)
    assert made.paths[20] == "/new"
    assert made.get("/old") is None


@pytest.mark.parametrize("loses", ["/a", "/b"])
def test_a_file_in_two_directories_survives_the_loss_of_one(loses: str) -> None:
    made = table()
    made.install(root(folder("a", 20), folder("b", 21)))
    made.install(Listing("/a", 20, (Entry("f", 30, 5),)))
    made.install(Listing("/b", 21, (Entry("f", 30, 5),)))
    made.install(Listing(loses, 20 if loses == "/a" else 21, ()))
    assert made.attributes[30] == (5, 0)
    assert 30 in made.files


@pytest.mark.parametrize("last", ["/a", "/b"])
def test_a_file_in_two_directories_survives_when_one_makes_room(last: str) -> None:
    made = table(limit=3)
    made.install(Listing("/a", 20, (Entry("f", 30, 5),)))
    made.install(Listing("/b", 21, (Entry("f", 30, 5),)))
    made.get(last)
    made.install(Listing("/c", 22, (Entry("x", 31), Entry("y", 32))))
    assert made.get(last) is not None
    assert set(made.files) == set(made.attributes) == {30, 31, 32}


def test_every_listing_of_a_file_has_the_same_attributes() -> None:
    """Those of an open file are mended in place; the mended ones are what any of its names must answer with."""
    made: Table[list[int]] = Table(lambda entries: [[entry.size] for entry in entries], lambda name: name.encode())
    first, _ = made.install(Listing("/a", 20, (Entry("f", 30, 5),)))
    made.attributes[30][0] = 6
    second, _ = made.install(Listing("/b", 21, (Entry("g", 30, 5),)))
    assert first.attributes == second.attributes == [[6]]
    again, _ = made.install(Listing("/a", 20, (Entry("f", 30, 7),)))
    assert again.attributes == [made.attributes[30]] == [[7]]


def test_making_room_forgets_files_and_keeps_directories() -> None:
    made = table(limit=3)
    made.install(root(Entry("a", 10), folder("d", 20)))
    _, corrections = made.install(Listing("/d", 20, (Entry("x", 30), Entry("y", 31))))
    assert corrections == [ForgetName(1, b"a")]
    assert made.get("/") is None
    assert made.known("/")
    _, corrections = made.install(root(Entry("a", 10)))
    assert ForgetName(1, b"d") in corrections
    assert ForgetName(20, b"x") in corrections


def test_which_listings_a_change_touches() -> None:
    made = table()
    made.install(root(folder("d", 20), folder("dd", 21)))
    made.install(Listing("/d", 20, (folder("e", 22),)))
    made.install(Listing("/d/e", 22, ()))
    made.install(Listing("/dd", 21, ()))
    assert made.affected(Changes(directories=frozenset({"/d/e", "/unlisted"}))) == ["/d/e"]
    assert made.affected(Changes(subtrees=frozenset({"/d"}))) == ["/d", "/d/e"]
    assert made.affected(Changes(subtrees=frozenset({"/"}))) == ["/", "/d", "/d/e", "/dd"]
    assert made.changed_files(frozenset({7})) == [ForgetAttributes(7, data=True)]


names = st.sampled_from("abcdef")
states = st.dictionaries(names, st.tuples(st.integers(100, 105), st.integers(0, 2), st.booleans()))


@settings(max_examples=300)
@given(st.lists(states, min_size=1, max_size=5), st.lists(names, max_size=3))
def test_a_kernel_that_obeys_never_knows_anything_wrong(
    history: list[dict[str, tuple[int, int, bool]]], asked: list[str]
) -> None:
    """A model of the kernel's caches: it learns from every listing and forgets what it is told to."""
    made = table()
    known: dict[bytes, int | None] = {}
    facts: dict[int, tuple[int, int]] = {}
    for state in history:
        used: set[int] = set()
        entries = []
        for name, (inode, size, is_file) in sorted(state.items()):
            if inode not in used:
                used.add(inode)
                number = inode if is_file else inode + 1000
                entries.append(Entry(name, number, size if is_file else 0, file=True if is_file else None))
        listed, corrections = made.install(root(*entries))
        for correction in corrections:
            if isinstance(correction, ForgetAttributes):
                facts.pop(correction.inode, None)
            elif correction.parent == 1:
                known.pop(correction.name, None)
        truth = {entry.name.encode(): entry.inode for entry in entries}
        assert all(truth.get(name) == inode for name, inode in known.items())
        reachable = {inode for inode in known.values() if inode is not None}
        sizes = {entry.inode: (entry.size, 0) for entry in entries}
        assert all(sizes[inode] == facts[inode] for inode in reachable & facts.keys())
        for name in asked:
            if name.encode() not in truth and made.remember_absent(listed, name.encode()):
                known[name.encode()] = None
        known.update(truth)
        facts.update(sizes)


shown = st.dictionaries(names, st.integers(100, 104), max_size=4)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(["/a", "/b", "/c"]), shown), max_size=12), st.integers(1, 8))
def test_what_is_known_of_files_is_what_the_held_listings_show(
    history: list[tuple[str, dict[str, int]]], limit: int
) -> None:
    made = table(limit)
    for path, files in history:
        made.install(Listing(path, ord(path[1]), tuple(Entry(name, inode) for name, inode in sorted(files.items()))))
        held = [listed for path in ("/a", "/b", "/c") if (listed := made.get(path)) is not None]
        inodes = {entry.inode for listed in held for entry in listed.entries}
        assert made.files.keys() == made.attributes.keys() == inodes
