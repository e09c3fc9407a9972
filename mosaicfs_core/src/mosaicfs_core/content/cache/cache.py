"""The content cache: bytes of other nodes' files on this disk, fetched when they are read, one writer (the agent).

What may be believed (docs/decisions/0011-cache-trusts-checksums.md has the reasons):

* A source shows a block only after this process has fetched it or has compared it with its checksum.
* All of an entry's blocks were fetched with ``If-Match`` on one ETag; a change at the owner ends the entry.
* Small files come whole and enter only when their SHA-256 is the owner's.
* A row is deleted before its data file, and an id is given once, so that no crash can pair a row with foreign bytes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from mosaicfs_core.content.blockmap import BlockMap
from mosaicfs_core.content.cache import startup
from mosaicfs_core.content.cache.entry import Entry, held_of
from mosaicfs_core.content.cache.fetching import RUN, Fetching
from mosaicfs_core.content.cache.index import Index
from mosaicfs_core.content.cache.layout import Row, cache_key, data_file
from mosaicfs_core.content.cache.mending import Mending
from mosaicfs_core.content.cache.pins import PinRow, Pins
from mosaicfs_core.content.cache.room import Room
from mosaicfs_core.content.owners import Owners
from mosaicfs_core.errors import Stale
from mosaicfs_core.hooks import FilePlace, FileRecord, Held

logger = logging.getLogger(__name__)
T = TypeVar("T")

_THREADS: Final = 4
# Entries remembered beyond those in use: what is remembered need not be verified again.
_REMEMBERED: Final = 10_000
# Entries compared with their documents between two turns of the event loop.
_COMPARED_AT_ONCE: Final = 100


@dataclass(frozen=True)
class Usage:
    """Figures for status: bytes cached, entries, the size cap, and bytes fetched since the start."""

    cached_bytes: int
    entries: int
    capacity: int
    fetched: int


class Cache:
    """The cache in one directory. ``start`` it before use and ``close`` it afterwards.

    ``capacity`` and ``minimum_free`` are bytes, which ``room`` keeps. ``pins`` are the files whose entries must stay.
    """

    def __init__(self, directory: Path, owners: Owners, *, capacity: int, minimum_free: int) -> None:
        self.directory = directory
        self.owners = owners
        self.room = Room(self, capacity, minimum_free)
        self.pins = Pins()
        self.pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="cache")
        self._index = Index(directory)
        self._fetching = Fetching(self)
        self._entries: dict[str, Entry] = {}
        # Detached ones that somebody still has open.
        self._open_aside: set[Entry] = set()
        self._next_id = startup.first_id()
        self._mending = Mending(self._index, self)
        self._background: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Open the index and make disk and index agree. While it cannot be opened, nothing that lies here is touched:
        what is read is fetched, and remembered by nobody."""
        await self._mending.mend()
        if not self._index.is_open:
            # None of it can be evicted, for nobody knows what it is; it takes up room all the same.
            self.room.held = await self.in_thread(startup.occupied, self.directory)

    async def close(self) -> None:
        """End what is being fetched and close everything. Sources still open can be read as far as they are present."""
        self._closed = True
        for task in self._fetching.under_way:
            task.cancel()
        await asyncio.gather(*self._fetching.under_way, *self._background, return_exceptions=True)
        await self.owners.close()
        for entry in [*self._entries.values(), *self._open_aside]:
            entry.close_descriptor()
        self._entries.clear()
        await self._index.close()
        self.pool.shutdown(wait=True)

    @property
    def usage(self) -> Usage:
        """How full it is."""
        return Usage(self.room.held, self.room.entries, self.room.capacity, self._fetching.fetched)

    async def acquire(self, file: FileRecord) -> Entry:
        """The entry of a file in its present version, made when there is none; ``release`` it. Asks no network."""
        await self._mending.mend()
        key = cache_key(file.node_id, file.export_path)
        entry = await self._present_entry(key, file)
        if entry is None:
            entry = Entry(self._next_id, key, file, data_file(self.directory, key, self._next_id))
            self._next_id += 1
            self._make_way()
            self._entries[key] = entry
        entry.users += 1
        self._fetching.stir()
        entry.last_access = time.time_ns() // 1000
        return entry

    async def _present_entry(self, key: str, file: FileRecord) -> Entry | None:
        """The entry of a file in its present version; another version's is dropped. None when there is none at the
        moment of the return: whoever makes one must not wait in between."""
        dropped: set[int] = set()
        while True:
            entry = self._entries.get(key)
            if entry is None:
                row = await self._mending.ask(self._index.find(key))
                if key in self._entries:
                    continue
                if row is None or row.id in dropped or not self._remember(row, file):
                    return None
                entry = self._entries[key]
            if entry.is_version_of(file) and entry.failure is None and entry.is_there():
                return entry
            self._forget(entry)
            dropped.add(entry.id)
            await self._mending.ask(self._index.delete([entry.id]))

    async def fill(self, file: FileRecord, *, patient: bool = False) -> None:
        """Have all of a file in the cache. Raises as ``ensure``; what came until then stays. ``patient``: while others
        are read it gives way to them."""
        entry = await self.acquire(file)
        entry.fillers += patient
        try:
            await self._fetching.settle(entry)
            for start in range(0, max(entry.count, 1), RUN):
                await self.ensure(entry, start, min(start + RUN, entry.count))
        finally:
            entry.fillers -= patient
            self.release(entry)

    async def held(self, files: Sequence[FileRecord]) -> list[Held]:
        """How much there is of each file in its present version. Asks no network, and does not look whether the bytes
        are still right, only that there are any: the rest shows when they are read."""
        await self._mending.mend()
        keys = [cache_key(file.node_id, file.export_path) for file in files]
        rows = await self._mending.ask(self._index.find_many(keys)) or {}
        there = await self.in_thread(startup.existing, self.directory, list(rows.values()))
        rows = {key: row for key, row in rows.items() if row.id in there}
        return [held_of(file, self._entries.get(key), rows.get(key)) for key, file in zip(keys, files, strict=True)]

    # Staying.

    async def pin(self, file: FileRecord, holder: str) -> None:
        """Never evict the entry of a file, in whatever version, there already or not. Known after a restart, too.
        Raises ``Unavailable`` while there is no index to write it down in."""
        await self._mending.need()
        row = PinRow(holder, cache_key(file.node_id, file.export_path), file.node_id, file.export_path)
        if not self.pins.has(holder, row.cache_key):
            self.pins.add(row)
            await self._mending.ask(self._index.put_pins([row]))

    async def pinned(self, holder: str) -> list[FilePlace]:
        """What a holder has pinned. Raises ``Unavailable`` while there is no index that says so."""
        await self._mending.need()
        return self.pins.of(holder)

    async def unpin(self, place: FilePlace, holder: str) -> None:
        """Take back a holder's pin."""
        key = cache_key(*place)
        if self.pins.has(holder, key):
            self.pins.remove(holder, key)
            await self._mending.ask(self._index.delete_pin(holder, key))

    async def unpin_all(self, holder: str) -> None:
        """Take back all pins of a holder."""
        for place in self.pins.of(holder):
            self.pins.remove(holder, cache_key(*place))
        await self._mending.ask(self._index.delete_pins(holder))

    def release(self, entry: Entry) -> None:
        """Give an entry back."""
        entry.users -= 1
        self._fetching.stir()
        self.settle_down(entry)

    def settle_down(self, entry: Entry) -> None:
        """Close the data file of an entry that nobody uses any more."""
        if not entry.idle:
            return
        entry.close_descriptor()
        self._open_aside.discard(entry)
        if entry.recorded and not entry.detached:
            self._later(self._index.touch, entry.id, entry.last_access)
        elif not entry.recorded and self._entries.get(entry.key) is entry:
            # Nothing of it was kept: what there is on disk belongs to nobody.
            del self._entries[entry.key]
            self._later(self.in_thread, startup.remove_files, self.directory, entry.key, entry.id)

    async def ensure(self, entry: Entry, start: int, stop: int) -> None:
        """Make an entry's blocks from ``start`` up to ``stop`` verified. Raises ``NoRoom`` when they cannot be kept,
        ``Stale`` when the owner has another version by now, and what ``Owners.range`` raises."""
        if not entry.watch():
            self.deleted(entry)
        entry.settle()
        await self._fetching.ensure(entry, start, stop)

    def prefetch(self, entry: Entry, start: int, stop: int) -> None:
        """Begin to bring blocks without waiting for them."""
        if entry.failure is None:
            self._fetching.bring(entry, start, min(stop, entry.count))

    async def settle(self, entry: Entry) -> None:
        """Learn the ETag of what the owner has. Raises ``Differs`` when it is of another size than the document says,
        and what ``Owners.facts`` raises."""
        await self._fetching.settle(entry)

    # Going.

    async def holds_anything(self) -> bool:
        """Whether there is an entry that a changed document may outdate."""
        return bool(await self._mending.ask(self._index.has_entries()))

    async def changed(self, file_ids: Iterable[str], now: Callable[[str], FileRecord | None]) -> int:
        """Documents have changed: drop the entries that are not of a present version. ``now`` tells the file of an id,
        None when there is none any more. The number of entries dropped."""
        rows = await self._mending.ask(self._index.of_files(file_ids)) or []
        return await self._drop_outdated(rows, now)

    async def compare(self, now: Callable[[str], FileRecord | None]) -> int:
        """As ``changed``, for all entries."""
        return await self._drop_outdated(await self._mending.ask(self._index.rows()) or [], now)

    async def _drop_outdated(self, rows: Iterable[Row], now: Callable[[str], FileRecord | None]) -> int:
        outdated = []
        for number, row in enumerate(rows, 1):
            if number % _COMPARED_AT_ONCE == 0:
                await asyncio.sleep(0)
            file = now(row.file_id)
            same = file is not None and (file.node_id, file.export_path, file.size, file.mtime) == (
                row.node_id,
                row.export_path,
                row.file_size,
                row.mtime,
            )
            if not same:
                outdated.append(row)
        await self.drop(outdated)
        return len(outdated)

    async def drop(self, rows: Iterable[Row]) -> None:
        """Remove entries: their rows first, then their bytes. Who has one open goes on with it."""
        given = list(rows)
        await self._mending.ask(self._index.delete([row.id for row in given]))
        for row in given:
            entry = self._entries.get(row.cache_key)
            if entry is not None and entry.id == row.id:
                self._forget(entry)
            else:
                self.room.give_up(row.cached_bytes)
                await self.in_thread(startup.remove_files, self.directory, row.cache_key, row.id)

    def _forget(self, entry: Entry) -> None:
        """Take an entry out of the cache; its row is the caller's to delete."""
        if entry.detached:
            return
        entry.detached = True
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        if entry.recorded:
            self.room.give_up(entry.cached_bytes)
        entry.present = BlockMap(entry.verified)  # what the others must sum up to is not known any more
        self._later(self.in_thread, startup.remove_files, self.directory, entry.key, entry.id)
        if not entry.idle:
            self._open_aside.add(entry)
        self.settle_down(entry)

    def outdated(self, entry: Entry, error: Stale) -> None:
        """The owner has another version: nothing can be added to this one any more."""
        entry.failure = error
        self.deleted(entry)

    def deleted(self, entry: Entry) -> None:
        """An entry's file has no name any more, or must not have one: only those who have it open go on with it."""
        if not entry.detached:
            self._forget(entry)
            self._later(self._index.delete, [entry.id])

    # Room.

    async def to_go(self, lacking: int) -> list[Row]:
        """Of the entries that may go those used longest ago, as many as have ``lacking`` bytes together; none when all
        have not, so that what does not fit does not empty the cache either."""
        staying: set[int] = set()
        while True:
            rows = await self._mending.ask(self._index.to_go(lacking, staying)) or []
            busy = {row.id for row in rows if not self._may_go(row)}
            if not busy:
                return rows
            staying |= busy

    async def unpinned_bytes(self) -> int:
        """Bytes of the entries that no pin keeps."""
        return await self._mending.ask(self._index.unpinned_bytes()) or 0

    def _may_go(self, row: Row) -> bool:
        """Whether an entry may be evicted: nobody has it open or wants it to stay."""
        entry = self._entries.get(row.cache_key)
        if entry is not None and entry.id == row.id and not entry.idle:
            return False
        return row.cache_key not in self.pins

    def grown(self, entry: Entry, before: int) -> None:
        """An entry that had ``before`` bytes has more or fewer now."""
        if entry.recorded and not entry.detached:
            self.room.held += entry.cached_bytes - before

    # The index.

    async def record(self, entry: Entry, checksums: dict[int, int]) -> None:
        """Write down which blocks an entry has. Without an index the bytes serve until the process ends."""
        if entry.detached:
            return
        if entry.recorded:
            writing = self._index.put_blocks(entry.id, entry.present.to_bytes(), entry.cached_bytes, checksums)
        else:
            entry.recorded = True
            self.room.hold(entry.cached_bytes)
            writing = self._index.insert(entry.row(), checksums)
        await self._mending.ask(writing)

    async def checksums(self, entry: Entry, start: int, stop: int) -> dict[int, int]:
        """What an entry's blocks must sum up to."""
        return await self._mending.ask(self._index.checksums(entry.id, start, stop)) or {}

    def forget_all(self) -> None:
        """Take all entries out of the cache: they are in no index."""
        for entry in list(self._entries.values()):
            self._forget(entry)

    async def remove_all(self) -> None:
        """Remove the bytes of all entries: the index is a new one."""
        used = {entry.id for entry in self._entries.values()}
        self.room.entries = self.room.held = 0  # first: what comes meanwhile counts
        await self.in_thread(startup.remove_all, self.directory, used)

    async def agree_with(self, rows: Sequence[Row]) -> None:
        """Make disk and index agree: what only one of them has goes. Raises OSError, and what ``Index.run`` raises."""
        found = await self.in_thread(startup.reconcile, self.directory, rows)
        if found.gone:
            await self._index.delete(found.gone)  # at once: their bytes do not count, and nobody must give them up
        self._next_id = max(self._next_id, found.next_id)
        self.room.entries, self.room.held = found.entries, found.cached_bytes

    # Helpers.

    async def in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Run blocking work in the cache's threads."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    def _later(self, work: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Do something that nobody waits for but ``close``."""
        if self._closed:
            return

        async def run() -> None:
            try:
                await self._mending.ask(work(*arguments))
            except OSError as error:
                logger.warning("the cache's disk fails: %s", error, extra={"operation": "cache"})

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _remember(self, row: Row, file: FileRecord) -> bool:
        """Take an entry from the index; False when its row makes no sense."""
        try:
            entry = Entry.of(row, file, data_file(self.directory, row.cache_key, row.id))
        except (ValueError, TypeError) as error:
            logger.warning("an entry of the cache is damaged: %s", error, extra={"operation": "cache"})
            self._later(self._index.delete, [row.id])
            return False
        self._make_way()
        self._entries[row.cache_key] = entry
        return True

    def _make_way(self) -> None:
        if len(self._entries) > _REMEMBERED:
            for key in [key for key, entry in self._entries.items() if entry.may_be_forgotten][: _REMEMBERED // 2]:
                del self._entries[key]
