"""The service of each instance in this process: opened by whoever needs it first, closed when the instance stops.

The host calls hooks in any order, and an instance's settings may change between two calls; then what is under way
finishes with the old service, and the next call finds a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from mosaicfs_core.hooks import SEARCH, MosaicError, PluginContext
from mosaicfs_fulltext.service import Service
from mosaicfs_fulltext.settings import read_settings

_LET_FINISH_S: Final = 1.0


class _Place:
    """Where the service of one instance is."""

    def __init__(self) -> None:
        self._service: Service | None = None
        self._users = 0
        self._changing = asyncio.Lock()
        self._unused = asyncio.Event()
        self._unused.set()

    @asynccontextmanager
    async def using(self, context: PluginContext) -> AsyncIterator[Service]:
        """The service, as the settings want it now, for the length of a block."""
        async with self._changing:
            service = await self._current(context)
            self._users += 1
            self._unused.clear()
        try:
            yield service
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def close(self) -> None:
        """Close the service: once nobody uses it any more, and in a moment whatever it is at."""
        async with self._changing:
            try:
                async with asyncio.timeout(_LET_FINISH_S):
                    await self._unused.wait()
            except TimeoutError:
                pass
            finally:  # whoever will not wait for that has it closed at once
                await self._close()

    async def _current(self, context: PluginContext) -> Service:
        settings = read_settings(context.config)
        if self._service is not None:
            if not self._service.broken and self._service.settings == settings:
                self._service.context = context
                return self._service
            await self._unused.wait()
            await self._close()
        self._service = await Service.open(context, settings)
        return self._service

    async def _close(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.close()


# By loop as well: a service belongs to the loop that it was made on.
_places: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], _Place]]] = WeakKeyDictionary()


def _place(context: PluginContext) -> _Place:
    places = _places.setdefault(asyncio.get_running_loop(), {})
    return places.setdefault((context.node_id, context.instance), _Place())


@asynccontextmanager
async def using(context: PluginContext) -> AsyncIterator[Service]:
    """The instance's service for the length of a block. Raises ``Unavailable`` when it cannot be opened."""
    async with _place(context).using(context) as service:
        yield service


async def _open(place: _Place, context: PluginContext) -> None:
    """Open the service, and say whether searches can be answered."""
    try:
        async with place.using(context):
            context.capability(SEARCH, True)
    except MosaicError:
        context.capability(SEARCH, False)
        raise


async def serve(context: PluginContext) -> None:
    """Hold the service open until cancelled."""
    place = _place(context)
    try:
        await _open(place, context)
        await asyncio.Event().wait()
    finally:
        await place.close()
