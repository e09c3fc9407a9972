"""Walking the virtual tree for people: directories, some levels deep, within bounds."""

from __future__ import annotations

from typing import Final

from mosaicfs_core.documents.paths import name_of
from mosaicfs_core.errors import NotFound
from mosaicfs_vfs.answers import TreeAnswer
from mosaicfs_vfs.meant import listing_at
from mosaicfs_vfs.namespace import Listing, Namespace

MAX_DIRECTORIES: Final = 1_000
"""An answer names at most so many directories; level by level, so that what is missing is the deepest."""


def tree_answer(namespace: Namespace, path: str, depth: int) -> TreeAnswer:
    """The directories beneath ``path``, ``depth`` levels deep. Raises ``NotFound``."""
    top = _answer(listing_at(namespace, path))
    level = [top]
    named = 1
    for _ in range(depth):
        deeper: list[TreeAnswer] = []
        for answer in level:
            answer.children = []
            for listing in _children(namespace, answer.path):
                if named >= MAX_DIRECTORIES:
                    answer.more = True
                    break
                named += 1
                answer.children.append(_answer(listing))
            deeper += answer.children
        level = deeper
    return top


def _children(namespace: Namespace, path: str) -> list[Listing]:
    found = []
    for entry in namespace.list(path).entries:
        if entry.is_directory:
            try:
                found.append(namespace.list(entry.path))
            except NotFound:  # it went away between the two looks
                continue
    return found


def _answer(listing: Listing) -> TreeAnswer:
    files = sum(not entry.is_directory for entry in listing.entries)
    return TreeAnswer(name=name_of(listing.path), path=listing.path, derived=listing.derived, files=files)
