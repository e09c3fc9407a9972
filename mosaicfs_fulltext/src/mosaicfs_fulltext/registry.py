"""The service of each instance in this process: opened by whoever needs it first, closed when the instance stops.

The host calls hooks in any order, and an instance's settings may change between two calls; then what is under way
finishes with the old service, and the next call finds a new one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from mosaicfs_core.hooks import SEARCH, HealthReport, MosaicError, PluginContext, Unavailable
from mosaicfs_fulltext import report
from mosaicfs_fulltext.service import Service
from mosaicfs_fulltext.settings import read_settings

_LET_FINISH_S: Final = 1.0
_LOOK_S: Final = 5.0
"""How often it is looked whether the index is in trouble; one that broke is opened again by that."""
_NOT_AGAIN_S: Final = 1.0
"""How long an opening that failed is not tried again, which costs as much as one that succeeds."""


class _Place:
    """Where the service of one instance is. ``context`` is the one that the host gave last."""

    def __init__(self, context: PluginContext) -> None:
        self.context = context
        self._service: Service | None = None
        self._users = 0
        self._failed: tuple[float, str] | None = None
        self._changing = asyncio.Lock()
        self._unused = asyncio.Event()
        self._unused.set()

    @asynccontextmanager
    async def using(self, context: PluginContext) -> AsyncIterator[Service]:
        """The service, as the settings want it now, for the length of a block."""
        self.context = context
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
        if self._failed is not None and time.monotonic() < self._failed[0] + _NOT_AGAIN_S:
            raise Unavailable(self._failed[1])
        try:
            self._service = await Service.open(context, settings)
        except Unavailable as error:
            self._failed = time.monotonic(), error.message
            raise
        self._failed = None
        return self._service

    async def _close(self) -> None:
        service, self._service = self._service, None
        if service is not None:
            await service.close()


# By loop as well: a service belongs to the loop that it was made on.
_places: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], _Place]]] = WeakKeyDictionary()


def _place(context: PluginContext) -> _Place:
    places = _places.setdefault(asyncio.get_running_loop(), {})
    return places.setdefault((context.node_id, context.instance), _Place(context))


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
        await _watch(place)
    finally:
        await place.close()


async def health(context: PluginContext) -> HealthReport:
    """How the index is, also when it cannot be opened."""
    try:
        async with using(context) as service:
            return await service.health()
    except Unavailable as error:
        return report.in_trouble(error.message)


async def _watch(place: _Place) -> None:
    """Tell of trouble when it begins and when it is over, for ever: the host asks for that every few minutes only."""
    told: bool | None = None
    while True:
        await asyncio.sleep(_LOOK_S)
        in_trouble = await _trouble(place) is not None
        if told != in_trouble:
            try:
                await _tell(place.context, await health(place.context))
            except Unavailable as error:  # the host's disk may be the full one: it is told at the next look
                told = None  # a part of it may have been told
                place.context.logger.info("how the index is cannot be told at present: %s", error)
            else:
                told = in_trouble


async def _trouble(place: _Place) -> str | None:
    try:
        async with place.using(place.context) as service:
            return service.trouble
    except Unavailable as error:
        return error.message


async def _tell(context: PluginContext, told: HealthReport) -> None:
    await context.report(told.status, told.detail)
    for notice in told.notices:
        await context.raise_notification(notice)
    for key in told.resolved:
        await context.resolve_notification(key)
