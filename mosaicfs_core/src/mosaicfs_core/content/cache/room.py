"""The room on the cache's disk: what is held and promised of it, and which entries go when more is wanted."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mosaicfs_core.content.cache.layout import in_directory
from mosaicfs_core.errors import NoRoom

if TYPE_CHECKING:
    from mosaicfs_core.content.cache.cache import Cache


class Room:
    """The room of one cache. ``capacity`` and ``minimum_free`` are bytes and may be changed at any time; ``entries``
    and ``held`` are the number and the bytes of what is written down."""

    def __init__(self, cache: Cache, capacity: int, minimum_free: int) -> None:
        self._cache = cache
        self._making = asyncio.Lock()
        self._reserved = 0
        self.capacity = capacity
        self.minimum_free = minimum_free
        self.entries = 0
        self.held = 0

    def hold(self, size: int) -> None:
        """One more entry, of so many bytes."""
        self.entries += 1
        self.held += size

    def give_up(self, size: int) -> None:
        """One entry less."""
        self.entries -= 1
        self.held -= size

    async def reserve(self, size: int) -> None:
        """Make room for ``size`` bytes, evicting what was used longest ago. Raises ``NoRoom``. ``unreserve`` them once
        they are written."""
        async with self._making:
            lacking = await self._lacking(size)
            if lacking > 0:
                await self._cache.drop(await self._cache.to_go(lacking))
                lacking = await self._lacking(size)
            if lacking > 0:
                raise NoRoom(f"the cache has no room for {size} bytes more", missing=lacking)
            self._reserved += size

    def unreserve(self, size: int) -> None:
        """Reserved bytes are written, or will not be."""
        self._reserved -= size

    async def missing(self, size: int) -> int:
        """How many bytes there are too few for ``size`` more that are to stay, after all that may go; 0 when they fit.
        What is reserved at the moment is not counted: whoever asks knows what of his own is on its way."""
        lacking = await self._lacking(size - self._reserved)
        return 0 if lacking <= 0 else max(0, lacking - await self._cache.unpinned_bytes())

    async def _lacking(self, size: int) -> int:
        try:
            facts = await self._cache.in_thread(_disk_of, self._cache.directory)
        except OSError as error:
            raise NoRoom(f"the cache's disk cannot be used: {error.strerror}") from error
        free = facts.f_bavail * facts.f_frsize
        wanted = self._reserved + size
        return max(self.held + wanted - self.capacity, self.minimum_free + wanted - free)


def _disk_of(directory: Path) -> os.statvfs_result:
    return in_directory(directory, lambda: os.statvfs(directory))
