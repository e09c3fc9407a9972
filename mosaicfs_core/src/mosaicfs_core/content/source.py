"""``ByteSource``: an open file's bytes, whatever tier they come from."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from types import TracebackType
from typing import Final

CHUNK: Final = 1 << 20
"""Bytes per read when a source is streamed."""
Ranges = tuple[tuple[int, int], ...]
Sums = tuple[tuple[int, int], ...]


def pread_all(descriptor: int, offset: int, length: int) -> bytes:
    """Up to ``length`` bytes from ``offset``; fewer only at the end of the file. Blocks. Raises OSError."""
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(descriptor, length, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class ByteSource:
    """An open file. It keeps serving one version of the bytes, also when the path is replaced meanwhile.

    ``size`` in bytes, ``mtime`` in microseconds and the strong validator ``etag`` are those of that version. They may
    be guesses (and ``etag`` empty) until ``settle`` has returned. ``sha256`` is the digest of the whole file where it
    is known, ``learn`` is called with it when somebody came to know it.

    ``descriptor`` is an open file in which the byte ranges ``present`` can be read at their own offsets; None where
    the bytes can be had through ``read`` alone. ``ensure`` makes a range present. Reads may run in parallel; a read
    that is under way in a thread when the source is closed keeps the descriptor open until it ends.
    """

    tier: str
    size: int
    mtime: int
    etag: str
    sha256: bytes | None = None
    learn: Callable[[bytes], None] | None = None
    received = 0
    """Bytes that came over the network for this source: a number that grows says that waiting makes sense."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = descriptor
        self._reading = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def present(self) -> Ranges:
        """The sorted, disjoint, half-open byte ranges that ``descriptor`` holds now."""
        return ()

    @property
    def kept(self) -> Ranges:
        """The ranges that can be made present without asking another machine."""
        return self.present

    @property
    def version(self) -> str:
        """Tells apart what is held open: two sources with the same text have the same bytes."""
        return self.etag

    @property
    def stamp(self) -> int | None:
        """The status change time (ns) that ``descriptor`` has when nobody but us wrote to it; None: not watched."""
        return None

    @property
    def doubted(self) -> int:
        """When (ns) it was last noticed that bytes which were ``present`` may have been wrong; 0: never."""
        return 0

    def sums(self, offset: int, length: int) -> Sums:
        """The CRC-32 of the blocks of ``descriptor`` that hold a range, by number, as far as they are known."""
        return ()

    def doubt(self) -> None:
        """Somebody found something wrong in what is ``present``: look again."""

    async def settle(self) -> None:
        """Make ``size``, ``mtime`` and ``etag`` certain. Raises a ``MosaicError``."""

    async def ensure(self, offset: int, length: int) -> None:
        """Make a range of ``descriptor`` present. Raises a ``MosaicError`` within a bounded time without progress."""

    def pread(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes of a present range; fewer only at the end of the file. Blocks. Raises OSError."""
        with self._lock:
            if self._closed or self.descriptor is None:
                raise ValueError("the source is closed")
            descriptor = self.descriptor
            self._reading += 1
        try:
            return pread_all(descriptor, offset, length)
        finally:
            with self._lock:
                self._reading -= 1
                last = self._closed and not self._reading
            if last:
                self._release()

    async def read(self, offset: int, length: int, executor: Executor | None = None) -> bytes:
        """As ``pread``, made present first, in a worker thread. Raises a ``MosaicError`` or OSError."""
        await self.ensure(offset, length)
        return await asyncio.get_running_loop().run_in_executor(executor, self.pread, offset, length)

    async def stream(self, offset: int = 0, length: int | None = None, chunk: int = CHUNK) -> AsyncIterator[bytes]:
        """The bytes from ``offset``, at most ``length`` of them, in chunks of at most ``chunk``."""
        await self.settle()
        left = max(0, self.size - offset) if length is None else length
        while left > 0:
            part = await self.read(offset, min(chunk, left))
            if not part:
                return
            yield part
            offset += len(part)
            left -= len(part)

    def close(self) -> None:
        """Close the descriptor, once no thread reads from it. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle = not self._reading
        if idle:
            self._release()

    def _release(self) -> None:
        """Give back what the source holds open; called once."""
        if self.descriptor is not None:
            os.close(self.descriptor)

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LocalSource(ByteSource):
    """A file on a disk of this machine: all of it is present from the beginning."""

    def __init__(self, descriptor: int, tier: str) -> None:
        super().__init__(descriptor)
        facts = os.fstat(descriptor)
        self.tier = tier
        self.size = facts.st_size
        self.mtime = facts.st_mtime_ns // 1000
        self.etag = etag_of(facts)

    @property
    def present(self) -> Ranges:
        """All of it."""
        return ((0, self.size),)


def etag_of(facts: os.stat_result) -> str:
    """The strong validator of a file on disk: size, mtime, inode and status change time.

    Programs may set the mtime back after they wrote; nobody sets the status change time. That it moves with the name,
    the mode and the number of links too costs a transfer begun anew, no wrong byte.
    """
    return f'"{facts.st_size:x}-{facts.st_mtime_ns:x}-{facts.st_ino:x}-{facts.st_ctime_ns:x}"'
