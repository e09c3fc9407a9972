"""From a file to its entry: find the bytes, take the text out of them, tell the language, pack it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, NamedTuple

from mosaicfs_core.hooks import FileRecord, NotAllowed, NotFound, PluginContext, Unavailable
from mosaicfs_fulltext.budget import Share
from mosaicfs_fulltext.entries import Entry, bytes_of, entry_of, pack
from mosaicfs_fulltext.extraction.extractor import Extractor
from mosaicfs_fulltext.extraction.kinds import Kind, kind_of
from mosaicfs_fulltext.extraction.messages import Extracted
from mosaicfs_fulltext.extraction.pool import Closed
from mosaicfs_fulltext.language import detect_language
from mosaicfs_fulltext.places import TooLarge, readable
from mosaicfs_fulltext.settings import Settings
from mosaicfs_fulltext.threads import CLOSING, Threads

PATIENCE_S: Final = 20.0
"""How long an event waits for a reader of documents before its file is postponed: less than the time it has."""
_TEXT_THREADS: Final = 4


class ReadFile(NamedTuple):
    """A file's entry, and its text so that it need not be unpacked."""

    entry: Entry
    text: str

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return bytes_of(self.entry, self.text)


class FileReader:
    """Reads files for one instance. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._extractor = Extractor(settings)
        self._free = asyncio.Semaphore(settings.extractors)
        self._texts = Threads(_TEXT_THREADS, "fulltext-text")
        self._documents = Threads(settings.extractors, "fulltext-documents")

    @property
    def killed(self) -> int:
        """How many reading processes had to be killed or broke down."""
        return self._extractor.pool.killed

    async def read(
        self, context: PluginContext, file: FileRecord, local_path: str | None, patience: float | None, share: Share
    ) -> ReadFile:
        """A file's entry, once there is room for it, which ``share`` holds from then on. With ``patience`` (seconds) it
        is postponed when no reader becomes free in time.

        Raises ``NotFound`` when the file is gone, ``Unavailable`` when it cannot be read at present.
        """
        kind = kind_of(file.name, file.mime_type)
        if kind.way == "nothing" or file.size == 0:
            return ReadFile(entry_of(file, "empty"), "")
        try:
            async with readable(context, file, local_path, self._settings.max_file_bytes) as path:
                if kind.way == "document":
                    return await self._read_document(file, path, kind, patience, share)
                await share.take(self._settings.most_bytes_of(file.size))
                read = await self._texts.run(lambda: self._finish(file, self._extractor.read_text(path, kind)))
                share.become(read.size)
                return read
        except TooLarge:
            return _failed(file, f"it is larger than {self._settings.max_file_mb:,} MB")
        except (PermissionError, NotAllowed) as error:
            return _failed(file, f"it may not be read: {getattr(error, 'strerror', None) or error}")
        except FileNotFoundError as error:
            raise NotFound(f"{file.export_path} is not on disk any more", file_id=file.file_id) from error
        except OSError as error:
            raise Unavailable(f"{file.export_path} cannot be read: {error.strerror or error}") from error
        except Closed as error:
            raise Unavailable(CLOSING) from error

    def renamed(self, entry: Entry, file: FileRecord) -> ReadFile:
        """The entry of a file that was moved and is otherwise as it was."""
        moved = entry_of(
            file,
            entry.status,
            title=entry.title,
            language=entry.language,
            reason=entry.reason,
            packed=entry.packed,
        )
        return ReadFile(moved, moved.text())

    def end_idle(self) -> None:
        """End reading processes that have nothing to do."""
        self._extractor.pool.end_idle()

    async def close(self) -> None:
        """Kill the reading processes and wait for the threads."""
        for threads in (self._texts, self._documents):
            threads.refuse()
        self._extractor.close()
        await asyncio.to_thread(self._shut_down)

    async def _read_document(
        self, file: FileRecord, path: Path, kind: Kind, patience: float | None, share: Share
    ) -> ReadFile:
        try:
            async with asyncio.timeout(patience):
                await self._free.acquire()
        except TimeoutError:
            return ReadFile(entry_of(file, "postponed", reason="others were read first"), "")
        try:
            read = await self._documents.run(lambda: self._finish(file, self._extractor.read_document(path, kind)))
            # How much text there is shows only now: while it waits for room, its reader begins no other.
            await share.take(read.size)
            return read
        finally:
            self._free.release()

    def _finish(self, file: FileRecord, extracted: Extracted) -> ReadFile:
        """Runs in a worker thread: telling the language and packing take as long as reading does."""
        text = extracted.text
        if extracted.problem is not None:
            return _failed(file, extracted.problem)
        if not text.strip():
            return ReadFile(entry_of(file, "empty", title=extracted.title), "")
        language = detect_language(text, self._settings.languages)
        return ReadFile(entry_of(file, "text", title=extracted.title, language=language, packed=pack(text)), text)

    def _shut_down(self) -> None:
        for threads in (self._texts, self._documents):
            threads.close()


def _failed(file: FileRecord, reason: str) -> ReadFile:
    return ReadFile(entry_of(file, "failed", reason=reason), "")
