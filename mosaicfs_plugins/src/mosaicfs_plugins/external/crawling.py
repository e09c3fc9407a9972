"""What a program prints for a crawl, taken as it comes: one object, or an operation on each line, however many."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from typing import Any, Final

import msgspec

from mosaicfs_core.hooks import FileOperation, UserError
from mosaicfs_core.hooks.wire import operation_of

PIECE_LIMIT: Final = 4 << 20
"""Bytes of one line, or of an object that is printed over several lines."""
_BATCH: Final = 500
_AHEAD: Final = 4


class Listing:
    """Operations out of the bytes of a listing. Every method raises ``UserError`` for what is none."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._by_line = False

    def feed(self, part: bytes) -> Iterator[FileOperation]:
        """The operations that are complete with this part."""
        self._rest += part
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            if line.strip():
                try:
                    body = _decoded(line)
                except UserError:
                    if self._by_line:
                        raise
                    break  # an object over several lines begins here
                self._by_line = True
                yield from _operations(body)
            del self._rest[: end + 1]
        if len(self._rest) > PIECE_LIMIT:
            raise UserError(f"more than {PIECE_LIMIT:,} bytes in one piece; print an operation on each line")

    def end(self) -> Iterator[FileOperation]:
        """What is left when no more comes."""
        if self._rest.strip() or not self._by_line:
            yield from _operations(_decoded(bytes(self._rest)))


class Crawl:
    """Between the thread that reads a program and the loop that takes its operations, a few batches at a time."""

    def __init__(self) -> None:
        self._listing = Listing()
        self._loop = asyncio.get_running_loop()
        self._batches: asyncio.Queue[Sequence[FileOperation]] = asyncio.Queue()
        self._made: list[FileOperation] = []
        self._room = threading.Semaphore(_AHEAD)
        self._unwanted = threading.Event()

    def take(self, part: bytes) -> None:
        """In the thread: what the program printed next. Waits while enough is on its way. Raises ``UserError``."""
        for operation in self._listing.feed(part):
            self._made.append(operation)
            if len(self._made) >= _BATCH:
                self._pass_on()

    def end(self, complete: bool) -> None:
        """In the thread: the program prints no more. When it failed, what it has named stands, and what is left of its
        last line does not count. Raises ``UserError``."""
        if complete:
            self._made.extend(self._listing.end())
        self._pass_on()

    async def operations(self, running: Awaitable[Any]) -> AsyncGenerator[Sequence[FileOperation], None]:
        """In the loop: the batches until ``running`` has ended, whose error is raised; it is cancelled when nobody
        wants more."""
        task = asyncio.ensure_future(running)
        try:
            while True:
                batch = asyncio.ensure_future(self._batches.get())
                await asyncio.wait({task, batch}, return_when=asyncio.FIRST_COMPLETED)
                if not batch.done():
                    batch.cancel()
                    break
                self._room.release()
                yield batch.result()
            while not self._batches.empty():
                yield self._batches.get_nowait()
            await task
        finally:
            self._unwanted.set()
            self._room.release()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _pass_on(self) -> None:
        if not self._made:
            return
        self._room.acquire()
        if self._unwanted.is_set():
            raise UserError("nobody wants the rest")
        self._loop.call_soon_threadsafe(self._batches.put_nowait, self._made)
        self._made = []


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{error}: {text[:80].decode('utf-8', 'replace').strip() or 'nothing'}") from None


def _operations(body: Any) -> Iterator[FileOperation]:
    """Of an object ``{"files": […]}`` each entry, of any other the operation that it is."""
    if isinstance(body, dict) and "files" in body:
        files = body["files"]
        for entry in files if isinstance(files, list) else [files]:
            yield operation_of(entry)
    else:
        yield operation_of(body)
