"""Protects that a walk in order is given directories ahead, that nobody else is, and that no scan is done unasked."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from mosaicfs_core.errors import NotFound
from mosaicfs_vfs.fuse.ahead import Walks, list_ahead
from mosaicfs_vfs.fuse.table import Table


class Entry(msgspec.Struct, frozen=True):
    name: str
    inode: int
    size: int = 0
    mtime: int = 0
    file: object = None
    derived: bool = True
    identity: object = None


class Listing(msgspec.Struct, frozen=True):
    path: str
    inode: int
    entries: tuple[Entry, ...]


class PlainTree:
    """Directories by path, each with the names of its sub-directories; those in ``documents`` are not derived."""

    def __init__(self, directories: dict[str, Sequence[str]], documents: frozenset[str] = frozenset()) -> None:
        self.directories = directories
        self.documents = documents
        self.asked: list[str] = []

    def list(self, path: str) -> Any:
        self.asked.append(path)
        if path not in self.directories:
            raise NotFound(f"there is no directory {path}")
        entries = tuple(
            Entry(name, hash((path, name)), derived=name not in self.documents) for name in self.directories[path]
        )
        return Listing(path, hash(path), entries)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"listing ahead must not use {name}")


TREE = {
    "/": ["a", "b", "c"],
    "/a": ["x", "y"],
    "/a/x": [],
    "/a/y": ["deep"],
    "/a/y/deep": [],
    "/b": [],
    "/c": [],
}
IN_ORDER = ["/", "/a", "/a/x", "/a/y", "/a/y/deep", "/b", "/c"]


def walk(tree: PlainTree, order: Sequence[str]) -> list[list[str]]:
    """What each request for a directory not listed yet was given."""
    table: Table[int] = Table(lambda entries: [0] * len(entries), lambda name: name.encode())
    walks = Walks()
    given = []
    for path in order:
        if table.get(path) is None:
            ahead = walks.asked(path)
            batch = list_ahead(tree, path, table.following(path, ahead + 1), ahead)
            walks.given(batch)
            for listing in reversed(batch.listings):
                table.install(listing)
            given.append([listing.path for listing in batch.listings])
    return given


def test_a_walk_in_order_is_given_more_each_time_and_every_directory_once() -> None:
    tree = PlainTree(TREE)
    assert walk(tree, IN_ORDER) == [["/"], ["/a", "/a/x"], ["/a/y", "/a/y/deep", "/b", "/c"]]
    assert tree.asked == IN_ORDER


def test_who_jumps_about_is_given_what_was_asked_for_alone() -> None:
    assert walk(PlainTree(TREE), ["/", "/c", "/b"]) == [["/"], ["/c"], ["/b"]]


def test_directories_with_documents_are_never_listed_unasked() -> None:
    given = walk(PlainTree(TREE, frozenset({"b", "y"})), IN_ORDER)
    assert ["/b"] in given
    assert all("/b" not in paths[1:] and "/a/y" not in paths[1:] for paths in given)


def test_a_directory_that_went_meanwhile_is_passed_over() -> None:
    tree = PlainTree({path: names for path, names in TREE.items() if path != "/a/x"})
    batch = list_ahead(tree, "/a", ["/b"], 3)
    assert [listing.path for listing in batch.listings] == ["/a", "/a/y", "/a/y/deep", "/b"]
    with pytest.raises(NotFound):
        list_ahead(tree, "/a/x", [], 3)
