"""An instance at work: it follows what its pins want, fetches it, lets go of the rest, and says how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from mosaicfs_core.hooks import (
    FileRecord,
    Held,
    MosaicError,
    NoRoom,
    PluginContext,
    SelectedFiles,
    Selection,
    Status,
    Unavailable,
    UserError,
)
from mosaicfs_plugins.pins.plan import Item, Plan, summary
from mosaicfs_plugins.pins.settings import selections_of

AT_ONCE: Final = 4
"""Files asked for at one time. The host fetches fewer; those that are here already need only be marked."""
REPORT_EVERY_S: Final = 2.0
LOOK_EVERY_S: Final = 5.0
LOOKED_AT: Final = 1000
"""How often it is made sure that what was here still is, and of how many files at a time: the cache may be deleted, or
lose its index. All of a hundred thousand files have had their turn in some minutes."""


async def keep(context: PluginContext) -> None:
    """Run until cancelled, or until something goes wrong that is not a file's fault."""
    keeping = Keeping(context)
    work = (keeping.follow(), keeping.fetch(), keeping.report(), keeping.look())
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end([*tasks, *keeping.under_way.values()])


class Keeping:
    """The pins of an instance as they are set now: other settings are another ``Keeping``."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._selections = selections_of(context.config)
        self._plan = Plan(list(self._selections), context.node_id)
        self._complete = False
        self._warnings: Mapping[str, Sequence[str]] = {}
        self._refused: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._dirty = asyncio.Event()
        self._dirty.set()
        self.under_way: dict[Item, asyncio.Task[None]] = {}

    # What is wanted.

    async def follow(self) -> None:
        """Take over what the selections hold, as it changes."""
        usable = await self._usable()
        pinned = set(await self._context.pinned())
        async with aclosing(self._context.follow_files(usable)) as changes:
            async for found in changes:
                await self._take(found, pinned)
                if found.complete and not self._complete:
                    self._complete = True
                    for place in pinned - self._plan.places():
                        await self._context.unpin(place)
                    pinned.clear()
                self._warnings = found.warnings
                self._stir()

    async def _usable(self) -> dict[str, Selection]:
        """The selections but for those of impossible directories, which must not hold up the others."""
        usable = dict(self._selections)
        for name, selection in self._selections.items():
            try:
                await self._context.check_selection(selection)
            except UserError as error:
                if error.details.get("field") == "directory":  # a wrong step is passed over, with a warning
                    self._refused[name] = error.message
                    del usable[name]
        return usable

    async def _take(self, found: SelectedFiles, pinned: set[Any]) -> None:
        wanted = [one.file for one in found.files if one.file is not None and one.selections]
        held = await self._held(wanted)
        for one in found.files:
            here, _, whole = held.get(one.file_id, Held(0, 0, False))
            marked = one.file is not None and (one.file.node_id, one.file.export_path) in pinned
            former = self._plan.items.get(one.file_id)
            place = self._plan.take(one, here=here, whole=whole and marked, now=self._now())
            if former is not None and not self._plan.holds(former) and former in self.under_way:
                await _end([self.under_way[former]])
            if place is not None:
                await self._context.unpin(place)
                self._plan.freed()

    async def _held(self, files: Sequence[FileRecord]) -> dict[str, Held]:
        return dict(zip((file.file_id for file in files), await self._context.held(files), strict=True))

    # Fetching.

    async def fetch(self) -> None:
        """Have what is wanted fetched, a few files at a time."""
        while True:
            self._wake.clear()
            while len(self.under_way) < AT_ONCE and (item := self._plan.next(self._now())) is not None:
                self._begin(item)
            wait = self._plan.wait(self._now()) if len(self.under_way) < AT_ONCE else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    def _begin(self, item: Item) -> None:
        def ended(_: asyncio.Task[None]) -> None:
            del self.under_way[item]
            self._stir()

        task = self.under_way[item] = asyncio.create_task(self._bring(item))
        task.add_done_callback(ended)

    async def _bring(self, item: Item) -> None:
        try:
            await self._context.pin(item.file)
        except NoRoom as error:
            self._plan.refused(item, error.message, self._now())
        except Unavailable as error:
            self._plan.unreachable(item, error.message, self._now())
        except MosaicError as error:
            self._plan.failed(item, error.message, self._now())
        except Exception as error:  # whatever it is, one file must neither stay on its way for ever nor end the others
            self._context.logger.exception("%s could not be fetched", item.file.export_path)
            self._plan.failed(item, f"{type(error).__name__}: {error}", self._now())
        else:
            self._plan.done(item)

    async def look(self) -> None:
        """Make sure that what is said to be here is: a few files at a time, and at once all others when one is not."""
        waiting: list[Item] = []
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            waiting = waiting or [item for item in self._plan.items.values() if item.state == "present"]
            missed = True
            while missed and waiting:
                batch, waiting = waiting[:LOOKED_AT], waiting[LOOKED_AT:]
                missed = await self._miss(batch)

    async def _miss(self, items: Sequence[Item]) -> bool:
        """Have those of some items fetched again that are not here; whether there are any."""
        held = await self._context.held([item.file for item in items])
        lost = [(item, one.present) for item, one in zip(items, held, strict=True) if not one.whole]
        for item, present in lost:
            self._plan.lost(item, present, self._now())
        if lost:
            self._stir()
        return bool(lost)

    # Telling.

    async def report(self) -> None:
        """Say how far it is whenever that has changed."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_EVERY_S if self.under_way else None):
                    await self._dirty.wait()
            self._dirty.clear()
            coming = list(self.under_way)
            for item, held in zip(coming, await self._context.held([item.file for item in coming]), strict=True):
                self._plan.progress(item, held.present)
            await self._context.report(*self._told())
            await asyncio.sleep(REPORT_EVERY_S)

    def _told(self) -> tuple[Status, str, dict[str, Any]]:
        pins = []
        for name in self._selections:
            figures = self._plan.figures(name)
            refused = self._refused.get(name)
            state = "failed" if refused else summary(figures, self._complete)
            warnings = [refused] if refused else list(self._warnings.get(name, ()))
            pins.append({**figures, "state": state, "warnings": warnings})
        troubled = any(pin["state"] in ("no_room", "failed") for pin in pins)
        detail = "; ".join(_sentence(pin) for pin in pins if pin["state"] != "complete")
        return ("degraded" if troubled else "healthy", detail, {"pins": pins})

    # Parts.

    def _stir(self) -> None:
        self._wake.set()
        self._dirty.set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _sentence(pin: Mapping[str, Any]) -> str:
    """A pin that is not complete, for people."""
    if pin["state"] == "failed" and not pin["files_wanted"]:
        return f"{pin['name']}: {pin['warnings'][0]}"
    text = f"{pin['name']}: {pin['files_present']} of {pin['files_wanted']} files are here"
    if pin["files_without_room"]:
        text += f", {pin['files_without_room']} do not fit ({pin['bytes_without_room']} bytes)"
    if pin["files_failed"]:
        text += f", {pin['files_failed']} cannot be fetched"
    return text


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
