"""The cache's index as the cache uses it: opened when that is possible, begun anew when it is lost, and never in the
way of a read.

While it cannot be opened nothing that lies on disk is touched: what is read is fetched, and remembered by nobody.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

from mosaicfs_core.content.cache.index import RETRY_S, Index, IndexClosed, IndexLost
from mosaicfs_core.content.cache.layout import Row
from mosaicfs_core.content.cache.pins import Pins
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.supervision import Standing

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Indexed(Protocol):
    """What an index is about: entries in memory, bytes on disk, and pins."""

    @property
    def pins(self) -> Pins: ...

    def forget_all(self) -> None:
        """No entry is in the index any more, if it ever was."""

    async def remove_all(self) -> None:
        """No bytes on disk belong to anybody any more. Raises OSError."""

    async def agree_with(self, rows: Sequence[Row]) -> None:
        """These are the entries that the index has. Raises OSError, and what ``Index.run`` raises."""


class Mending:
    """Watches over one index for what it is about."""

    def __init__(self, index: Index, indexed: Indexed) -> None:
        self._index = index
        self._indexed = indexed
        self._mending = asyncio.Lock()
        self._problem = Standing(logger)

    async def mend(self) -> None:
        """Begin anew when the index was deleted or replaced, and open it when it could not be opened so far."""
        async with self._mending:
            if self._index.lost:
                await self._begin_anew("the index was deleted or replaced")
            elif self._index.due:
                await self._take_up()

    async def need(self) -> None:
        """Raise ``Unavailable`` when there is no index now."""
        await self.mend()
        if not self._index.is_open:
            raise Unavailable("the cache's index cannot be opened now", retry_after=RETRY_S)

    async def ask(self, asked: Awaitable[T]) -> T | None:
        """What the index answers; None when it cannot, which is logged and, for a lost index, mended."""
        generation = self._index.generation
        try:
            return await asked
        except IndexClosed as error:  # that was logged when it could not be opened
            logger.debug("the cache goes on without an index: %s", error)
        except IndexLost as error:
            await self.reset(str(error), generation)
        except sqlite3.OperationalError as error:
            logger.warning("the cache's index cannot be used: %s", error, extra={"operation": "cache"})
        return None

    async def reset(self, reason: str, generation: int) -> None:
        """Forget everything: what the index of that generation said cannot be trusted. Open sources keep what they
        have verified."""
        async with self._mending:
            if self._index.generation == generation:  # else it was done meanwhile
                await self._begin_anew(reason)

    async def _begin_anew(self, reason: str) -> None:
        logger.warning("the content cache begins anew: %s", reason, extra={"operation": "cache"})
        self._indexed.forget_all()
        try:
            await self._index.reset()
            await self._index.put_pins(self._indexed.pins)
        except (sqlite3.Error, IndexLost, OSError) as error:
            logger.warning("the cache's index cannot be made: %s", error, extra={"operation": "cache"})
        try:
            await self._indexed.remove_all()
        except OSError as error:  # it is in no index: nobody takes it for anything, and the next start removes it
            logger.warning("what lies in the cache cannot be removed: %s", error, extra={"operation": "cache"})

    async def _take_up(self) -> None:
        """Open the index, if that is possible now, and make disk and index agree."""
        try:
            rows, pins = await self._index.open()
            self._indexed.forget_all()  # what there is was made while there was no index, and is in none
            self._indexed.pins.load(pins)
            await self._indexed.agree_with(rows)
        except (sqlite3.Error, IndexLost, OSError) as error:
            await self._index.give_up()  # what it says of a disk that nobody has looked through is not to be used
            text = f"the cache's index cannot be opened now: {error}"
            self._problem.met(logging.WARNING, text, extra={"operation": "cache"})
            return
        self._problem.gone()
