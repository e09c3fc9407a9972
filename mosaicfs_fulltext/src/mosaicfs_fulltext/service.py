"""One instance at work: events in, answers out, and what it does of its own accord."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from mosaicfs_core.hooks import (
    FileEvent,
    FileRecord,
    HealthReport,
    Hit,
    MosaicError,
    NotFound,
    PluginContext,
    QueryRequest,
    ResultEnvelope,
    Unavailable,
)
from mosaicfs_fulltext import marks, report
from mosaicfs_fulltext.backend import Backend
from mosaicfs_fulltext.budget import Budget, Share
from mosaicfs_fulltext.entries import Removal, entry_of
from mosaicfs_fulltext.locks import KeyedLocks
from mosaicfs_fulltext.opening import open_backend
from mosaicfs_fulltext.reading import PATIENCE_S, FileReader, ReadFile
from mosaicfs_fulltext.refill import is_current, own_files
from mosaicfs_fulltext.settings import Settings

MOST_BYTES: Final = 32 * 1024 * 1024
"""Texts in memory that are not safe yet, of all events together. The embedded index holds as much again."""
_TEND_S: Final = 60.0
_AT_ONCE: Final = 4
_SOME: Final = 100
_SPARE_S: Final = 0.4


class Service:
    """Made by ``open``; ``close`` ends all that it began. Belongs to one event loop.

    ``context`` is the one that the host gave last: those of before may lead to a connection that is gone.
    """

    def __init__(self, context: PluginContext, settings: Settings, backend: Backend) -> None:
        self.settings = settings
        self.context = context
        self._backend = backend
        self._reader = FileReader(settings)
        self._locks = KeyedLocks()
        self._budget = Budget(MOST_BYTES)
        self._woken = asyncio.Event()
        self._woken.set()
        self._refilled = 0
        self._tending = asyncio.create_task(self._tend(), name="fulltext tend")

    @classmethod
    async def open(cls, context: PluginContext, settings: Settings) -> Service:
        """Open the backend, mending what can be mended. Raises ``Unavailable``."""
        return cls(context, settings, await open_backend(context, settings))

    @property
    def broken(self) -> bool:
        """Whether the index broke down while it was used; then the service must be opened anew."""
        return self._backend.broken

    @property
    def trouble(self) -> str | None:
        """Why changes are not taken at present, None when they are."""
        return self._backend.trouble

    async def close(self) -> None:
        """Stop."""
        self._tending.cancel()
        await asyncio.gather(self._tending, return_exceptions=True)
        await self._reader.close()
        await self._backend.close()

    # -- what the host asks ----------------------------------------------------------------------------------------

    async def handle(self, event: FileEvent) -> None:
        """Take an event in. Raises when it has to come again."""
        if event.event == "sync.started":
            self._backend.expect_many(True)
        elif event.event == "sync.completed":
            self._backend.expect_many(False)
            await self._backend.flush()
        elif event.file is not None and event.event == "file.deleted":
            async with self._locks.of(event.file.file_id):
                await self._backend.apply(Removal(file_id=event.file.file_id))
        elif event.file is not None:
            await self._index(event.file, event.local_path, moved=event.previous_export_path is not None)

    async def search(self, request: QueryRequest) -> ResultEnvelope:
        """Files by the text in them. No query is an error."""
        text = _text_of(request.query)
        found = await self._backend.search(text, request.limit, request.timeout_s * _SPARE_S)
        hits = [
            Hit(
                file_id=one.file_id,
                score=one.score,
                fragments=one.fragments,
                data={key: value for key, value in (("title", one.title), ("language", one.language)) if value},
            )
            for one in found
        ]
        incomplete = self._incomplete()
        return ResultEnvelope(results=tuple(hits), description=incomplete or "", syncing=incomplete is not None)

    async def widget(self) -> ResultEnvelope:
        """Figures for people."""
        stats = await self._backend.stats()
        failed = await self._backend.of_status("failed", report.SHOWN_FAILURES)
        return ResultEnvelope(data=report.widget(stats, failed, self._incomplete(), self.settings.backend))

    async def health(self) -> HealthReport:
        """How the instance is."""
        if self.trouble is not None:
            return report.in_trouble(self.trouble)
        return report.health(await self._backend.stats(), self._incomplete(), self._refilled)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _incomplete(self) -> str | None:
        """Why the index lacks files, a sentence; None when it does not."""
        reason = marks.refill_reason(self.context.state_dir)
        return None if reason is None else f"The index is being filled again: {reason}."

    async def _index(self, file: FileRecord, local_path: str | None, *, moved: bool) -> None:
        async with self._locks.of(file.file_id):
            with self._budget.share() as share:
                read = await self._moved(file, share) if moved else None
                if read is None:
                    read = await self._reader.read(self.context, file, local_path, PATIENCE_S, share)
                await self._backend.apply(read.entry, read.text)
        if read.entry.status == "postponed":
            self._woken.set()

    async def _index_in_background(self, file: FileRecord) -> None:
        """Read a file without an event that could come again: one that cannot be read at present is postponed."""
        async with self._locks.of(file.file_id):
            with self._budget.share() as share:
                try:
                    read = await self._reader.read(self.context, file, None, None, share)
                except NotFound:
                    await self._backend.apply(Removal(file_id=file.file_id))
                    return
                except Unavailable as error:
                    read = ReadFile(entry_of(file, "postponed", reason=error.message), "")
                await self._backend.apply(read.entry, read.text)

    async def _moved(self, file: FileRecord, share: Share) -> ReadFile | None:
        """The file under its new name, without reading it again, when the index knows it as it is."""
        await share.take(self.settings.most_bytes_of(self.settings.max_characters))
        entry = await self._backend.entry(file.file_id)
        if entry is None or (entry.mtime, entry.size) != (file.mtime, file.size) or entry.status != "text":
            share.become(0)
            return None
        read = self._reader.renamed(entry, file)
        share.become(read.size)
        return read

    async def _tend(self) -> None:
        """Fill what is lacking, read what was postponed, end what is idle; for ever."""
        while True:
            with suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(_TEND_S):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._refill()
                await self._read_postponed()
            except MosaicError as error:
                self.context.logger.warning("what the index lacks is read later: %s", error)
            self._reader.end_idle()

    async def _refill(self) -> None:
        directory = self.context.state_dir
        if self._incomplete() is None:
            return
        self._backend.expect_many(True)
        try:
            async for page in own_files(self.context):
                known = await self._backend.known([file.file_id for file in page])
                await self._index_some([file for file in page if not is_current(known.get(file.file_id), file)])
            await self._backend.flush()
        finally:
            self._backend.expect_many(False)
        await asyncio.to_thread(marks.refilled, directory)

    async def _read_postponed(self) -> None:
        """Read each file that was postponed once; what cannot be read now either waits for the next round."""
        tried: set[str] = set()
        while True:
            await self._backend.flush()
            postponed = await self._backend.of_status("postponed", len(tried) + _SOME)
            entries = [entry for entry in postponed if entry.file_id not in tried]
            if not entries:
                return
            tried.update(entry.file_id for entry in entries)
            await self._index_some([entry.record() for entry in entries])

    async def _index_some(self, files: list[FileRecord]) -> None:
        """Read files in the background, a few at a time. The first error of the index ends the others."""
        some = asyncio.Semaphore(_AT_ONCE)

        async def one(file: FileRecord) -> None:
            async with some:
                await self._index_in_background(file)
                self._refilled += 1

        async with _all_or_first_error() as group:
            for file in files:
                group.append(asyncio.ensure_future(one(file)))


@asynccontextmanager
async def _all_or_first_error() -> AsyncIterator[list[asyncio.Future[None]]]:
    """Wait for all that is appended; the first error ends the others and is raised as it is."""
    futures: list[asyncio.Future[None]] = []
    try:
        yield futures
        await asyncio.gather(*futures)
    finally:
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)


def _text_of(query: str | Mapping[str, Any]) -> str:
    """What somebody wrote, of a text or of an object with ``text``, ``query`` or ``q``."""
    if isinstance(query, str):
        return query
    written = next((query[key] for key in ("text", "query", "q") if key in query), "")
    return written if isinstance(written, str) else ""
