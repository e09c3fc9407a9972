"""The bytes of another node's file as a ``ByteSource``: through the cache, or past it when it has no room."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from concurrent.futures import Executor
from typing import Final

from mosaicfs_core.content.cache.cache import Cache
from mosaicfs_core.content.cache.entry import Entry
from mosaicfs_core.content.cache.fetching import RUN
from mosaicfs_core.content.cache.layout import BLOCK, blocks_of, byte_ranges
from mosaicfs_core.content.owners import Differs, Facts, Owners
from mosaicfs_core.content.source import ByteSource, Ranges, Sums
from mosaicfs_core.errors import NoRoom, Unavailable
from mosaicfs_core.hooks import FileRecord

logger = logging.getLogger(__name__)

_WIDEST: Final = 16
# A reader whose next read begins so near to the end of its last one reads on: requests of the kernel overtake another.
_NEAR: Final = 2 * BLOCK
_HELD: Final = 8


class CacheTier:
    """Files of other nodes (tier 4): opening asks nobody, the first read does."""

    name = "cache"
    cost = 40

    def __init__(self, node_id: str, cache: Cache) -> None:
        self._node_id = node_id
        self._cache = cache

    def serves(self, file: FileRecord) -> bool:
        """Every file that is not this node's own."""
        return file.node_id != self._node_id

    async def open(self, file: FileRecord) -> ByteSource:
        """A source that fetches what it is asked for."""
        source = CachedSource(self._cache, file, await self._cache.acquire(file))
        try:
            await source.attach()
        except BaseException:
            source.close()
            raise
        return source


class CachedSource(ByteSource):
    """A file in the cache. What cannot be kept there is read past it: ``descriptor`` then does not come to hold it."""

    tier = "cache"

    def __init__(self, cache: Cache, file: FileRecord, entry: Entry) -> None:
        super().__init__()
        self.size = file.size
        self.mtime = file.mtime
        self._cache = cache
        self._file = file
        self._entry = entry
        self._past: StreamedSource | None = None
        self._next = 0
        self._streak = 0

    @property
    def etag(self) -> str:  # type: ignore[override]  # a plain field of the others
        """The owner's own, so that whoever reads through us can compare it with what the owner says."""
        return self._past.etag if self._past is not None else self._entry.etag

    @property
    def sha256(self) -> bytes | None:  # type: ignore[override]  # a plain field of the others
        """The digest that the owner told, or that was verified."""
        return self._past.sha256 if self._past is not None else self._entry.sha256

    @property
    def received(self) -> int:  # type: ignore[override]  # a plain field of the others
        """Grows while bytes come."""
        return self._entry.received + (0 if self._past is None else self._past.received)

    @property
    def present(self) -> Ranges:
        """What is verified."""
        return () if self.descriptor is None else byte_ranges(self._entry.verified, self._entry.size)

    @property
    def kept(self) -> Ranges:
        """What is on disk, verified yet or not."""
        return byte_ranges(self._entry.present, self._entry.size)

    @property
    def version(self) -> str:
        """The entry's number: an entry is one version."""
        return f"cache:{self._entry.id}"

    @property
    def stamp(self) -> int | None:
        """The change time that our own last write left; 0, which no file has, while that does not say enough."""
        return 0 if self._entry.unsettled and not self._entry.detached else self._entry.stamp

    @property
    def doubted(self) -> int:
        """When somebody else was last seen to have written to the data file, or a block of it was damaged."""
        return self._entry.doubted

    def sums(self, offset: int, length: int) -> Sums:
        """Of the blocks that are there."""
        blocks = range(offset // BLOCK, min(blocks_of(offset + length), self._entry.count))
        return tuple((block, value) for block in blocks if (value := self._entry.sum_of(block)) is not None)

    def doubt(self) -> None:
        """All blocks must prove themselves again."""
        self._entry.doubt()

    async def attach(self) -> None:
        """Open the data file, if there is one already."""
        if self._entry.present.total:
            try:
                await self._cache.ensure(self._entry, 0, 0)
            except NoRoom as error:
                logger.warning("a cached file cannot be opened: %s", error, extra={"operation": "cache"})
            self._describe()

    async def settle(self) -> None:
        """Ask the owner for its ETag, once."""
        if self._past is not None:
            return
        try:
            await self._cache.settle(self._entry)
        except Differs as error:
            self._go_past(error.facts)

    async def ensure(self, offset: int, length: int) -> None:
        """Fetch what is missing and begin to fetch what a sequential reader comes to next. Raises ``NoRoom`` when
        only ``read`` can give the bytes."""
        if self._past is not None:
            raise NoRoom("this version of the file is not kept in the cache")
        stop = min(offset + length, self.size)
        first, last = offset // BLOCK, blocks_of(stop)
        if offset >= stop and self.size:
            return
        ahead = min(self._read_ahead(offset, stop), self._entry.count)
        verified = self._entry.verified
        if not verified.has(first, last):
            self._cache.prefetch(self._entry, first, last)  # departs before what may be wanted later
        if ahead > last and not verified.has(last, ahead):
            self._cache.prefetch(self._entry, last, ahead)
        try:
            await self._cache.ensure(self._entry, first, last)
        except Differs as error:
            self._go_past(error.facts)
            raise NoRoom("this version of the file is not kept in the cache") from error
        if self._closed:
            raise Unavailable("the file was closed while it was fetched")
        self._describe()

    async def read(self, offset: int, length: int, executor: Executor | None = None) -> bytes:
        """Bytes from the cache, or from the owner when the cache cannot keep them."""
        try:
            await self.ensure(offset, length)
        except NoRoom:
            if self._past is None:
                await self.settle()
            if self._past is None:
                facts = Facts(self.size, self.mtime, self._entry.etag, self._entry.sha256)
                self._past = StreamedSource(self._cache.owners, self._file, facts)
            return await self._past.read(offset, length, executor)
        length = max(0, min(length, self.size - offset))
        if not length:
            return b""
        data = await asyncio.get_running_loop().run_in_executor(executor, self.pread, offset, length)
        if len(data) != length:
            raise Unavailable("the cache's data file was cut off while it was read", retry_after=0)
        return data

    def _describe(self) -> None:
        if self.descriptor is None and self._entry.descriptor is not None:
            self.descriptor = self._entry.reopen()

    def _go_past(self, facts: Facts) -> None:
        """The owner has a version that no document tells of yet: serve it, and keep nothing of it."""
        self.size, self.mtime = facts.size, facts.mtime or self.mtime
        self._past = StreamedSource(self._cache.owners, self._file, facts)

    def _read_ahead(self, offset: int, stop: int) -> int:
        """The block up to which to fetch: as far ahead as was read in one go so far, within bounds."""
        reads_on = abs(offset - self._next) <= _NEAR and self._streak > 0
        self._streak = self._streak + (stop - offset) if reads_on else stop - offset
        self._next = max(self._next, stop) if reads_on else stop
        if not reads_on:
            return 0
        ahead = blocks_of(self._next + min(self._streak, _WIDEST * BLOCK))
        # Few big requests rather than many small ones.
        return ahead // RUN * RUN if ahead - self._next // BLOCK >= RUN else 0

    def _release(self) -> None:
        super()._release()
        if self._past is not None:
            self._past.close()
        self._cache.release(self._entry)


class StreamedSource(ByteSource):
    """A file read from its owner and kept nowhere, but for the last few blocks in memory and those that readers wait
    for at the moment."""

    tier = "owner"

    def __init__(self, owners: Owners, file: FileRecord, facts: Facts) -> None:
        super().__init__()
        self.size = facts.size
        self.mtime = facts.mtime
        self.etag = facts.etag
        self.sha256 = facts.sha256
        self._owners = owners
        self._file = file
        self._held: OrderedDict[int, asyncio.Task[bytes]] = OrderedDict()
        self._waiting: Counter[int] = Counter()
        self._last = -1

    async def read(self, offset: int, length: int, executor: Executor | None = None) -> bytes:
        """Bytes from the owner. Raises what ``Owners.range`` raises."""
        stop = min(offset + length, self.size)
        if offset >= stop:
            return b""
        first, last = offset // BLOCK, blocks_of(stop)
        ahead = RUN if first in (self._last, self._last + 1) else 0
        self._last = last - 1
        wanted = [self._block(number) for number in range(first, last)]
        for number in range(last, min(last + ahead, blocks_of(self.size))):
            self._block(number)
        self._waiting.update(range(first, last))
        try:
            data = b"".join([await _shared(task) for task in wanted])
        finally:
            for number in range(first, last):
                self._leave(number)
            self._make_room()
        return data[offset - first * BLOCK : stop - first * BLOCK]

    def _block(self, number: int) -> asyncio.Task[bytes]:
        task = self._held.get(number)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._held[number] = asyncio.create_task(self._fetch(number))
            task.add_done_callback(_retrieve)
        self._held.move_to_end(number)
        return task

    def _leave(self, number: int) -> None:
        """A reader waits for a block no longer."""
        self._waiting[number] -= 1
        if not self._waiting[number]:
            del self._waiting[number]

    def _make_room(self) -> None:
        """Let go of what was wanted longest ago, arrived or not, but of nothing that another reader waits for."""
        idle = [number for number in self._held if number not in self._waiting]
        for number in idle[: max(0, len(idle) - _HELD)]:
            self._held.pop(number).cancel()

    async def _fetch(self, number: int) -> bytes:
        start = number * BLOCK
        stop = min(start + BLOCK, self.size)
        facts, data = await self._owners.range(self._file, start, stop, self.etag, self._arrived)
        if facts.size != self.size:
            raise Differs(facts)
        return bytes(data)

    def _arrived(self, count: int) -> None:
        self.received += count

    def _release(self) -> None:
        for task in self._held.values():
            task.cancel()
        self._held.clear()


async def _shared(task: asyncio.Task[bytes]) -> bytes:
    """What a task that others wait for too gives. Raises ``Unavailable`` when it was cancelled, and not whoever waits
    here: that must not look as if he were."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if task.cancelled() and not (waiting and waiting.cancelling()):
            raise Unavailable("the file was closed while it was fetched", retry_after=0) from None
        raise


def _retrieve(task: asyncio.Task[bytes]) -> None:
    if not task.cancelled():
        task.exception()
