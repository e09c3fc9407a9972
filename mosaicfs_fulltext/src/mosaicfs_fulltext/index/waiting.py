"""Changes on their way into the index, and the memory that they take."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from mosaicfs_fulltext.entries import Change


class Waiting(NamedTuple):
    """A change, its text unless that has to be unpacked, who waits for it to be safe, and how many bytes it took in
    memory when it came: Python makes a text larger when it is given to tantivy."""

    change: Change
    text: str | None
    taken: asyncio.Future[None]
    size: int


class Queue:
    """Changes that are safe, until they are in the index. ``room`` is set while they take less than ``most`` bytes,
    those that are being put there included."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._changes: list[Waiting] = []
        self._bytes = 0
        self.room = asyncio.Event()
        self.room.set()

    def __len__(self) -> int:
        return len(self._changes)

    def fitting(self, new: Sequence[Waiting]) -> int:
        """How many of the first new ones there is room for, the last of which may be too large."""
        size = self._bytes
        for count, one in enumerate(new):
            if size >= self._most:
                return count
            size += one.size
        return len(new)

    def put(self, group: Sequence[Waiting]) -> None:
        """Add changes."""
        self._changes.extend(group)
        self._grow(sum(one.size for one in group))

    def take(self) -> list[Waiting]:
        """All of them, which count until they are ``done``."""
        group, self._changes = self._changes, []
        return group

    def done(self, group: Sequence[Waiting]) -> None:
        """Those that were taken are in the index."""
        self._grow(-sum(one.size for one in group))

    def _grow(self, size: int) -> None:
        self._bytes += size
        if self._bytes < self._most:
            self.room.set()
        else:
            self.room.clear()
