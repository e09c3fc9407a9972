"""Keeping files of other nodes on this one: what a plugin's ``pin`` means for the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from mosaicfs_core.content.cache.cache import Cache
from mosaicfs_core.errors import NoRoom
from mosaicfs_core.hooks import FilePlace, FileRecord, Held

FILLED_AT_ONCE: Final = 2
"""Files that are fetched at one time for nobody who waits, however many plugins pin."""


class Keeper:
    """Pins over a cache, by holder (a plugin instance). Files of this very node need nothing: they are here."""

    def __init__(self, node_id: str, cache: Cache) -> None:
        self._node_id = node_id
        self._cache = cache
        self._filling = asyncio.Semaphore(FILLED_AT_ONCE)
        self._coming: dict[str, FileRecord] = {}

    async def pin(self, file: FileRecord, holder: str) -> None:
        """Have a file's bytes stay in the cache for a holder, and wait until all of them are there.

        The pin stands at once and whatever comes of the bytes. Raises ``NoRoom`` before anything is fetched when not
        all of it would fit, and what ``Owners.range`` raises.
        """
        if file.node_id == self._node_id:
            return
        await self._cache.pin(file, holder)
        (held,) = await self._cache.held([file])
        if held.whole:
            return
        async with self._filling:
            await self._fill(file)

    async def _fill(self, file: FileRecord) -> None:
        # What the others under way still need is not there yet and must not be given away twice.
        wanted = await self._cache.held([file, *self._coming.values()])
        missing = await self._cache.room.missing(sum(held.size - held.present for held in wanted))
        if missing:
            raise NoRoom(f"{missing} bytes too few for it beside what else is to stay", missing=missing)
        self._coming[file.file_id] = file
        try:
            await self._cache.fill(file, patient=True)
        finally:
            self._coming.pop(file.file_id, None)

    async def unpin(self, place: FilePlace, holder: str) -> None:
        """A file's bytes need not stay for this holder any more; they go when room is wanted."""
        await self._cache.unpin(place, holder)

    async def pinned(self, holder: str) -> list[FilePlace]:
        """What a holder has pinned. Raises ``Unavailable`` while the cache does not know."""
        return await self._cache.pinned(holder)

    async def held(self, files: Sequence[FileRecord]) -> list[Held]:
        """How much of each file is on this node in the version of its document. Asks no network."""
        others = [file for file in files if file.node_id != self._node_id]
        found = iter(await self._cache.held(others))
        return [
            next(found) if file.node_id != self._node_id else Held(present=file.size, size=file.size, whole=True)
            for file in files
        ]

    async def keep_only(self, holders: Collection[str]) -> None:
        """Release what was pinned for anybody else: instances that are gone."""
        for holder in sorted(set(self._cache.pins.holders()).difference(holders)):
            await self._cache.unpin_all(holder)
