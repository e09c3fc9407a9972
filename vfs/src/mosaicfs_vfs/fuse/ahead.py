"""Listing directories ahead of a walk, as a file is read ahead of its reader.

``find``, ``ls -R`` and backup programs list a tree in order: a directory, then what is beneath it, then its next
sibling. Listing one directory per request costs a trip to the tree's thread each; whoever asks for the directory that
such a walk comes to next is therefore given the following ones in the same trip, twice as many each time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mosaicfs_core.errors import NotFound
from mosaicfs_vfs.fuse.tree import Listing, Tree

# Directories listed ahead at once, and what ends that sooner: entries listed, seconds spent.
_WIDEST: Final = 32
_ENTRIES: Final = 5_000
_SECONDS: Final = 0.02
# Walks told apart at a time.
_WALKS: Final = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """Listings in the order of a walk, the one asked for first. ``next`` is where the walk would miss next."""

    listings: list[Listing]
    next: str | None


class Walks:
    """The walks under way: where each would ask next, and how many directories it was given ahead last."""

    def __init__(self) -> None:
        self._expected: dict[str, int] = {}

    def asked(self, path: str) -> int:
        """How many directories to list ahead of one that is asked for: none unless a walk was to come there."""
        last = self._expected.pop(path, None)
        return 0 if last is None else min(2 * last + 1, _WIDEST)

    def given(self, batch: Batch) -> None:
        """Note what was listed."""
        if batch.next is not None:
            self._expected[batch.next] = len(batch.listings) - 1
            if len(self._expected) > _WALKS:
                del self._expected[next(iter(self._expected))]


def list_ahead(tree: Tree, path: str, following: Sequence[str], ahead: int) -> Batch:
    """List a directory and up to ``ahead`` more: those beneath it, then the ``following``.

    Only derived directories are listed unasked: which files pass their mounts' steps is known from their parent's
    listing, while another's may take a scan of the whole replica. Raises ``NotFound`` for ``path`` alone.
    """
    listing = tree.list(path)
    listings, entries = [listing], 0
    waiting = [*reversed(following), *_beneath(listing)]
    until = time.monotonic() + _SECONDS
    while waiting and len(listings) <= ahead and entries < _ENTRIES and time.monotonic() < until:
        try:
            listing = tree.list(waiting.pop())
        except NotFound:
            continue
        listings.append(listing)
        entries += len(listing.entries)
        waiting += _beneath(listing)
    return Batch(listings, waiting[-1] if waiting else None)


def _beneath(listing: Listing) -> Iterator[str]:
    """The derived directories in a listing, last first."""
    top = "" if listing.path == "/" else listing.path
    return (f"{top}/{entry.name}" for entry in reversed(listing.entries) if entry.derived)
