"""Bringing an entry's blocks: from disk after a check, or from the owner. Who wants the same block waits together."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from mosaicfs_core.content.cache.datafile import (
    Written,
    agreeing,
    move_into_place,
    open_file,
    write_blocks,
)
from mosaicfs_core.content.cache.entry import Entry
from mosaicfs_core.content.cache.layout import BLOCK, temporary_file
from mosaicfs_core.content.owners import Differs, Facts, Sink, Undigested
from mosaicfs_core.errors import NoRoom, Stale, Unavailable

if TYPE_CHECKING:
    from mosaicfs_core.content.cache.cache import Cache

logger = logging.getLogger(__name__)

RUN: Final = 4
"""Blocks in one request. A request's bytes are checked before they count, and are in memory until then."""
_REQUESTS: Final = 8
# A gap of so many blocks that are there already is fetched over rather than asked around.
_BRIDGED: Final = 1
_ROUNDS: Final = 5
_RUN_PATIENCE_S: Final = 5.0
"""How long a run of blocks that nobody reads waits while somebody reads others: then it is fetched all the same."""
_BLOCK_PATIENCE_S: Final = 1.0
"""The same between two blocks of one answer, short enough for the other side not to give up."""


class Fetching:
    """The flights of one cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._requests = asyncio.Semaphore(_REQUESTS)
        self._asking: Counter[Entry] = Counter()
        self._stirred = asyncio.Event()
        self.under_way: set[asyncio.Task[None]] = set()
        self.fetched = 0

    async def ensure(self, entry: Entry, start: int, stop: int) -> None:
        """See ``Cache.ensure``."""
        if entry.descriptor is None and len(entry.present):
            await self._open(entry)  # and look whether it still is as we left it
        for _ in range(_ROUNDS):
            if entry.verified.has(start, stop) and (entry.size or entry.sha256 is not None):
                return
            if entry.failure is not None:
                raise entry.failure
            flights = self.bring(entry, start, max(stop, 1))
            await asyncio.wait(flights)
            for flight in flights:
                _result(flight)
        raise Unavailable("the cache's disk does not give back what was written to it", retry_after=60)

    def bring(self, entry: Entry, start: int, stop: int) -> set[asyncio.Task[None]]:
        """The flights that make a range verified, those under way already included."""
        flights: set[asyncio.Task[None]] = set()
        if not entry.size:
            flights.add(self._depart(entry, 0, 1) if 0 not in entry.flights else entry.flights[0])
            return flights
        for first, last in _bridged(entry.verified.missing(start, min(stop, entry.count))):
            block = first
            while block < last:
                under_way = entry.flights.get(block)
                if under_way is not None:
                    flights.add(under_way)
                    block += 1
                    continue
                begin, end = self._run_at(entry, block, last)
                flights.add(self._depart(entry, begin, end))
                block = end
        return flights

    async def settle(self, entry: Entry) -> None:
        """See ``Cache.settle``."""
        if entry.etag:
            return
        if entry.settling is None or entry.settling.done():
            entry.settling = asyncio.create_task(self._settle(entry))
            self._keep(entry.settling)
        settling = entry.settling
        await asyncio.wait({settling})
        _result(settling)

    async def _settle(self, entry: Entry) -> None:
        facts = await self._cache.owners.facts(entry.file)
        self._agree(entry, facts)

    @staticmethod
    def _agree(entry: Entry, facts: Facts) -> None:
        """Take the owner's facts for the entry's. Raises ``Differs`` when its size is another."""
        if facts.size != entry.size:
            raise Differs(facts)
        if not entry.etag:
            entry.etag = facts.etag
            entry.sha256 = facts.sha256

    @staticmethod
    def _run_at(entry: Entry, block: int, last: int) -> tuple[int, int]:
        """The blocks to bring in one flight that begins at ``block``: all checked, or all fetched."""
        if entry.comes_whole:
            return 0, entry.count
        there = entry.present.has(block, block + 1)
        end, limit = block + 1, min(last, block + RUN)
        while end < limit and end not in entry.flights:
            bridge = not there and end + _BRIDGED < limit and not entry.present.has(end + _BRIDGED, end + _BRIDGED + 1)
            if entry.present.has(end, end + 1) != there and not bridge:
                break
            end += 1
        return block, end

    def _depart(self, entry: Entry, start: int, stop: int) -> asyncio.Task[None]:
        flight = asyncio.create_task(self._fly(entry, start, stop))
        entry.busy += 1
        blocks = range(start, stop)
        entry.flights.update(dict.fromkeys(blocks, flight))

        def landed(_: asyncio.Task[None]) -> None:
            for block in blocks:
                entry.flights.pop(block, None)
            entry.busy -= 1
            self._cache.settle_down(entry)

        flight.add_done_callback(landed)
        self._keep(flight)
        return flight

    def _keep(self, task: asyncio.Task[None]) -> None:
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
        task.add_done_callback(_outcome)

    async def _fly(self, entry: Entry, start: int, stop: int) -> None:
        await self._open(entry)
        if entry.size and entry.present.has(start, stop):
            await self._verify(entry, start, stop)
            return
        try:
            if entry.comes_whole:
                await self._fetch_whole(entry)
            else:
                await self._fetch_run(entry, start, stop)
        except Undigested:
            entry.by_blocks = True
            await self._into_place(entry)
        except Differs:
            raise
        except Stale as error:
            self._cache.outdated(entry, error)
            raise

    async def _open(self, entry: Entry) -> None:
        """Have the data file open, made when it is new."""
        async with entry.opening:
            if entry.descriptor is not None:
                return
            where = entry.path
            if entry.comes_whole:
                where = temporary_file(self._cache.directory, entry.key, entry.id)
            try:
                entry.descriptor, fresh = await self._cache.in_thread(open_file, where, entry.size)
            except OSError as error:
                raise NoRoom(f"the cache's disk cannot be used: {error.strerror}") from error
            if fresh and len(entry.present):
                logger.warning("a data file of the cache is gone", extra={"operation": "cache"})
                entry.present.clear()
                entry.verified.clear()
            entry.watch()

    async def _verify(self, entry: Entry, start: int, stop: int) -> None:
        """Compare blocks with their checksums; what does not agree is not there any more."""
        assert entry.descriptor is not None
        doubts = entry.doubts
        seen = {block: value for block in range(start, stop) if (value := entry.sum_of(block)) is not None}
        expected = seen if len(seen) == stop - start else await self._cache.checksums(entry, start, stop)
        good = await self._cache.in_thread(agreeing, entry.descriptor, expected)
        entry.watch()
        entry.sum_up({block: expected[block] for block in good})
        for block in range(start, stop):
            if block in good and entry.doubts == doubts:
                entry.verified.add(block, block + 1)
        bad = [block for block in range(start, stop) if block not in good]
        if bad:
            logger.warning(
                "%d blocks of a cached file were damaged and are fetched again",
                len(bad),
                extra={"operation": "cache", "file_id": entry.file.file_id},
            )
            before = entry.cached_bytes
            entry.damaged(bad)
            if not len(entry.present):
                entry.sha256 = None
            self._cache.grown(entry, before)
            await self._cache.record(entry, {})

    async def _fetch_run(self, entry: Entry, start: int, stop: int) -> None:
        """Some blocks in one request."""
        await self.settle(entry)
        length = min(stop * BLOCK, entry.size) - start * BLOCK
        await self._cache.room.reserve(length)
        try:
            async with self._turn(entry):
                facts, data = await self._cache.owners.range(
                    entry.file, start * BLOCK, start * BLOCK + length, entry.etag, self._counter(entry)
                )
                self._agree(entry, facts)
                written = await self._write(entry, start, data)
            await self._landed(entry, start, stop, written)
        finally:
            self._cache.room.unreserve(length)

    async def _write(self, entry: Entry, start: int, data: bytearray) -> Written:
        """Write blocks, one answer after the other: so a change of the file's time in between is not ours."""
        async with entry.ordering:
            entry.watch()
            assert entry.descriptor is not None
            stamp = None if entry.detached else entry.stamp
            entry.writing += 1
            entry.unsettled = True
            try:
                written = await self._cache.in_thread(write_blocks, entry.descriptor, start, data, stamp)
            except OSError as error:
                raise NoRoom(f"the cache cannot be written: {error.strerror}") from error
            finally:
                entry.writing -= 1
            entry.stamp = written.stamp
            return written

    async def _fetch_whole(self, entry: Entry) -> None:
        """The whole file, which counts once its digest is its owner's."""
        await self._cache.room.reserve(entry.size)
        descriptor = entry.descriptor
        assert descriptor is not None
        written = Written({}, entry.stamp, alone=True)
        count = self._counter(entry)

        def begin(facts: Facts) -> Sink:
            if facts.size != entry.size:
                raise Differs(facts)
            written.checksums.clear()

            def take(block: bytes) -> None:
                nonlocal written
                sums, stamp, alone = write_blocks(descriptor, len(written.checksums), block, written.stamp)
                written = Written(written.checksums | sums, stamp, alone and written.alone)
                count(len(block))

            return take

        async def between() -> None:
            await self._give_way(entry, _BLOCK_PATIENCE_S)

        entry.writing += 1
        entry.unsettled = True
        try:
            async with self._turn(entry):
                facts, digest = await self._cache.owners.whole(entry.file, entry.etag or None, begin, between)
            entry.etag, entry.sha256 = facts.etag, digest
            alone = await self._into_place(entry, written.stamp) and written.alone
            entry.stamp = os.fstat(descriptor).st_ctime_ns
        except OSError as error:
            raise NoRoom(f"the cache cannot be written: {error.strerror}") from error
        finally:
            entry.writing -= 1
            self._cache.room.unreserve(entry.size)
        await self._landed(entry, 0, entry.count, written._replace(alone=alone))

    @asynccontextmanager
    async def _turn(self, entry: Entry) -> AsyncIterator[None]:
        """Around a request to an owner: few at a time, and what nobody reads after what somebody does."""
        await self._give_way(entry, _RUN_PATIENCE_S)
        self._asking[entry] += 1
        try:
            async with self._requests:
                yield
        finally:
            self._asking[entry] -= 1
            if not self._asking[entry]:
                del self._asking[entry]
            self.stir()

    async def _give_way(self, entry: Entry, longest_s: float) -> None:
        """Wait while others than this entry's are read, unless it comes to be read itself, for ``longest_s`` at
        most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                while not entry.awaited and any(other.awaited for other in self._asking):
                    self._stirred.clear()
                    await self._stirred.wait()

    def stir(self) -> None:
        """Who is read, or what is asked for, has changed."""
        self._stirred.set()

    async def _into_place(self, entry: Entry, stamp: int | None = None) -> bool:
        """Move a data file out of ``tmp``; one of a detached entry has no name any more. Whether nobody else had
        written to it since ``stamp``."""
        if not entry.detached:
            try:
                return await self._cache.in_thread(move_into_place, self._cache.directory, entry, stamp)
            except FileNotFoundError:  # whoever has it open gets its bytes all the same
                self._cache.deleted(entry)
            except OSError as error:
                raise NoRoom(f"the cache cannot be written: {error.strerror}") from error
        return True

    async def _landed(self, entry: Entry, start: int, stop: int, written: Written) -> None:
        """Take note of blocks that have come. When others wrote to the file meanwhile, all must prove themselves."""
        before = entry.cached_bytes
        entry.present.add(start, stop)
        entry.sum_up(written.checksums)
        if written.alone or entry.detached:  # a detached one was touched when its name was taken
            entry.verified.add(start, stop)
        else:
            entry.doubt()
        self._cache.grown(entry, before)
        await self._cache.record(entry, written.checksums)

    def _counter(self, entry: Entry) -> Callable[[int], None]:
        def arrived(count: int) -> None:
            entry.received += count
            self.fetched += count

        return arrived


def _outcome(task: asyncio.Task[None]) -> None:
    """Take note of how a task ended: perhaps nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.debug("blocks did not arrive: %s", error, extra={"operation": "cache"})


def _result(task: asyncio.Task[None]) -> None:
    """Raise what a task ended with."""
    if task.cancelled():
        raise Unavailable("the cache was closed")
    task.result()


def _bridged(missing: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges with the small gaps between them filled."""
    joined: list[tuple[int, int]] = []
    for start, stop in missing:
        if joined and start - joined[-1][1] <= _BRIDGED:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
