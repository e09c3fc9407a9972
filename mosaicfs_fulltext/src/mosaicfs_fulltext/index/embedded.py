"""The embedded index as a backend: a journal that acknowledges, and behind it an index that commits in its own time.

Changes that wait together are written to the journal together, with one flush to disk, and are acknowledged then. One
task takes them from there into tantivy, and commits after a second, or after many changes, or when somebody wants to
see them; only then the journal forgets them. What a kill leaves in the journal is taken into the index at the next
start. So an event waits for one small write and never for a commit, and commits may be large.

Before that task writes anything it compares every byte of the index with its checksums: a merge would give damaged
terms a checksum of their own. A large index takes minutes for that; meanwhile the journal takes changes, and searches
answer with what is there.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from mosaicfs_core.hooks import Unavailable
from mosaicfs_fulltext import marks
from mosaicfs_fulltext.backend import Result, Stats
from mosaicfs_fulltext.entries import Change, Entry, bytes_of, pack
from mosaicfs_fulltext.index.engine import Damaged, Engine, Found, guarded, open_index
from mosaicfs_fulltext.index.journal import Journal
from mosaicfs_fulltext.index.verify import damage
from mosaicfs_fulltext.index.waiting import Queue, Waiting
from mosaicfs_fulltext.threads import Threads

T = TypeVar("T")

_PATIENCE_S: Final = 10.0
_AGE_S: Final = 1.0
_AGE_MANY_S: Final = 15.0
_MOST_CHANGES: Final = 20_000
_MOST_BYTES: Final = 64 * 1024 * 1024
_MOST_WAITING_BYTES: Final = 32 * 1024 * 1024


class EmbeddedIndex:
    """Made by ``open``. Belongs to one event loop."""

    def __init__(self, directory: Path, engine: Engine, journal: Journal, threads: _Threads) -> None:
        self._directory = directory
        self._engine, self._journal, self._threads = engine, journal, threads
        self._new: list[Waiting] = []
        self._queue = Queue(_MOST_WAITING_BYTES)
        self._uncommitted = 0
        self._uncommitted_bytes = 0
        self._oldest = 0.0
        self._many = False
        self._wanted: list[asyncio.Future[None]] = []
        self._committed_at: float | None = None
        self._woken, self._indexer_woken = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.Lock()
        self._broken: Exception | None = None
        self._refused: str | None = None
        self._begun = asyncio.Event()
        self._closing = threading.Event()
        self._tasks = [
            asyncio.create_task(self._guard(work()), name=f"fulltext {name}")
            for name, work in (("journal", self._write_journal), ("index", self._fill_index))
        ]

    @classmethod
    async def open(cls, directory: Path) -> EmbeddedIndex:
        """The index in a directory, with what a former run left in its journal.

        Returns before that is done when the index is large. Raises ``Damaged``, having touched nothing, or
        ``Unavailable`` while another process has it.
        """
        threads = _Threads()
        opened: list[tuple[Engine, Journal]] = []
        try:
            await threads.write(lambda: opened.append(_open(directory)))
        except BaseException:
            await asyncio.to_thread(threads.close)  # which waits for the opening, when it is this that is cancelled
            for engine, journal in opened:
                engine.close()
                journal.close()
            raise
        index = cls(directory, *opened[0], threads)
        try:
            await index._wait_for_a_beginning()
        except BaseException:
            await index.close()
            raise
        return index

    # -- what the service calls ------------------------------------------------------------------------------------

    async def apply(self, change: Change, text: str | None = None) -> None:
        """Returns once the change is in the journal. Raises ``Unavailable`` when it cannot be."""
        self._check()
        taken = asyncio.get_running_loop().create_future()
        self._new.append(Waiting(change, text, taken, bytes_of(change, text)))
        self._woken.set()
        await taken

    async def flush(self) -> None:
        """Returns once all that was taken is committed."""
        self._check()
        idle = not (self._queue or self._uncommitted or self._new or self._writing.locked())
        if idle and self._begun.is_set():
            return
        wanted = asyncio.get_running_loop().create_future()
        self._wanted.append(wanted)
        self._indexer_woken.set()
        await wanted

    def expect_many(self, many: bool) -> None:
        """Commit more rarely while a full sync runs."""
        self._many = many
        self._indexer_woken.set()

    async def search(self, text: str, limit: int, seconds: float) -> list[Result]:
        """The best files, with fragments as far as the time allows."""
        from mosaicfs_fulltext.query.ask import ask

        return await self._read(lambda: ask(self._engine, text, limit, time.monotonic() + seconds))

    async def known(self, file_ids: Sequence[str]) -> dict[str, Entry]:
        """What the index has of these files, as of the last commit."""
        from mosaicfs_fulltext.query.build import ids_query

        if not file_ids:
            return {}
        found = await self._read(lambda: self._engine.entries(guarded(lambda: ids_query(file_ids)), len(file_ids)))
        return {entry.file_id: entry for entry in found}

    async def entry(self, file_id: str) -> Entry | None:
        """A file with its text, as of the last commit."""
        from mosaicfs_fulltext.query.build import ids_query

        def read() -> Entry | None:
            found = self._engine.search(guarded(lambda: ids_query([file_id])), 1)
            return _with_text(found[0], self._engine.text(found[0])) if found else None

        return await self._read(read)

    async def of_status(self, status: str, limit: int) -> list[Entry]:
        """Some files of a status."""
        from mosaicfs_fulltext.query.build import status_query

        return await self._read(lambda: self._engine.entries(guarded(lambda: status_query(status)), limit))

    async def stats(self) -> Stats:
        """Counts as of the last commit."""

        def read() -> Stats:
            return Stats(
                documents=self._engine.count(),
                with_text=self._count("text"),
                failed=self._count("failed"),
                postponed=self._count("postponed"),
                size=self._engine.size(),
                committed_at=self._committed_at,
                waiting=len(self._queue) + self._uncommitted,
            )

        return await self._read(read)

    async def close(self) -> None:
        """Stop; what is not committed stays in the journal."""
        self._closing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail(Unavailable("the index is closed"))
        await self._threads.write(self._engine.close)
        await self._threads.journal(self._journal.close)
        self._threads.close()

    @property
    def broken(self) -> bool:
        """Whether something ended the work on the index. What stands in the journal is safe."""
        return self._broken is not None

    @property
    def trouble(self) -> str | None:
        """What came last could not be written down, and why."""
        return self._refused if self._broken is None else _as_unavailable(self._broken).message

    # -- its two tasks ---------------------------------------------------------------------------------------------

    async def _write_journal(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._new:
                await self._queue.room.wait()
                async with self._writing:
                    await self._write_down()

    async def _write_down(self) -> None:
        count = self._queue.fitting(self._new)
        group, self._new = self._new[:count], self._new[count:]
        changes = [one.change for one in group]
        try:
            await self._threads.journal(lambda: self._journal.append(changes))
        except OSError as error:
            refused = Unavailable(f"the journal of the index cannot be written: {error.strerror or error}")
            self._refused = refused.message
            for one in group:
                if not one.taken.done():
                    one.taken.set_exception(refused)
            return
        except asyncio.CancelledError:
            # Written or not, nobody was told so: the host gives these again.
            self._new = [*group, *self._new]
            raise
        self._refused = None
        for one in group:
            if not one.taken.done():
                one.taken.set_result(None)
        self._queue.put(group)
        self._indexer_woken.set()

    async def _wait_for_a_beginning(self) -> None:
        """Wait some seconds for ``_begin``. Raises what ended it."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._begun.wait()
        except TimeoutError:
            return
        if self._broken is not None:
            raise self._broken

    async def _begin(self) -> None:
        """See whether the index is whole, go on learning from it, and take in what stands in the journal."""
        from mosaicfs_fulltext.query.build import status_query

        problem = await self._threads.write(lambda: damage(self._directory / "index", self._closing.is_set))
        if problem is not None:
            await asyncio.to_thread(marks.note_damage, self._directory, problem)
            raise Damaged(problem)
        await self._threads.write(lambda: self._engine.learn_from(guarded(lambda: status_query("text"))))
        self._uncommitted += await self._threads.write(lambda: _take_over(self._engine, self._journal))
        if self._uncommitted:
            await self._commit()

    async def _fill_index(self) -> None:
        await self._begin()
        self._begun.set()
        self._indexer_woken.set()
        while True:
            with suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(self._until_commit()):
                    await self._indexer_woken.wait()
            self._indexer_woken.clear()
            await self._take_queue()
            if self._commit_is_due():
                await self._commit()

    async def _take_queue(self) -> None:
        # No further than to a commit: until then tantivy holds in memory what it was given and has not come to.
        while self._queue and not self._full():
            group = self._queue.take()
            if not self._uncommitted:
                self._oldest = time.monotonic()
            self._uncommitted += len(group)
            self._uncommitted_bytes += sum(one.size for one in group)
            await self._threads.write(partial(_apply, self._engine, group))
            self._queue.done(group)

    async def _commit(self) -> None:
        # Nothing is written down meanwhile, so that all that stands in the files that are dropped is in the index.
        wanted, self._wanted = self._wanted, []
        async with self._writing:
            until = await self._threads.journal(self._journal.rotate)
            rest = self._queue.take()
            # Counted, so that who wants to see them meanwhile waits.
            self._uncommitted += len(rest)
        try:
            await self._threads.write(lambda: _apply(self._engine, rest))
            self._queue.done(rest)
            await self._threads.write(self._engine.commit)
        except BaseException:
            self._wanted += wanted
            raise
        self._uncommitted = self._uncommitted_bytes = 0
        self._committed_at = time.time()
        await self._threads.journal(lambda: self._journal.drop(until))
        for one in wanted:
            if not one.done():
                one.set_result(None)

    def _until_commit(self) -> float | None:
        """Seconds until a commit is due, None when nothing waits for one."""
        if not self._uncommitted:
            return None
        return max(0.0, self._oldest + (_AGE_MANY_S if self._many else _AGE_S) - time.monotonic())

    def _commit_is_due(self) -> bool:
        if self._wanted:
            return True
        if not self._uncommitted:
            return False
        return self._full() or self._until_commit() == 0.0

    def _full(self) -> bool:
        return self._uncommitted >= _MOST_CHANGES or self._uncommitted_bytes >= _MOST_BYTES

    # -- when it breaks --------------------------------------------------------------------------------------------

    def _count(self, status: str) -> int:
        from mosaicfs_fulltext.query.build import status_query

        return self._engine.count(guarded(lambda: status_query(status)))

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - kept, and told to everybody who waits
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._broken = self._broken or error
        self._begun.set()
        waiting = [one.taken for one in self._new]
        for future in [*waiting, *self._wanted]:
            if not future.done():
                future.set_exception(_as_unavailable(error))
        self._new, self._wanted = [], []

    def _check(self) -> None:
        if self._broken is not None:
            raise _as_unavailable(self._broken)

    async def _read(self, function: Callable[[], T]) -> T:
        try:
            return await self._threads.read(function)
        except Damaged as error:
            self._fail(error)
            raise _as_unavailable(error) from error


class _Threads:
    """One thread that writes the index, one for the journal, two for readers."""

    def __init__(self) -> None:
        self._writer = Threads(1, "fulltext-index")
        self._journal = Threads(1, "fulltext-journal")
        self._readers = Threads(2, "fulltext-search")

    async def write(self, function: Callable[[], T]) -> T:
        return await self._writer.run(function)

    async def journal(self, function: Callable[[], T]) -> T:
        return await self._journal.run(function)

    async def read(self, function: Callable[[], T]) -> T:
        return await self._readers.run(function)

    def close(self) -> None:
        for pool in (self._writer, self._journal, self._readers):
            pool.close()


def _open(directory: Path) -> tuple[Engine, Journal]:
    journal = Journal(directory / "journal")
    return open_index(directory / "index"), journal


def _take_over(engine: Engine, journal: Journal) -> int:
    """Apply what a former run left in its journal; returns how many changes."""
    count = 0
    for change in journal.replay():
        engine.apply(change)
        count += 1
    return count


def _apply(engine: Engine, group: Sequence[Waiting]) -> None:
    for one in group:
        engine.apply(one.change, one.text)


def _with_text(found: Found, text: str) -> Entry:
    return msgspec.structs.replace(found.entry, packed=pack(text))


def _as_unavailable(error: Exception) -> Unavailable:
    return error if isinstance(error, Unavailable) else Unavailable(f"the index cannot be used: {error}")
