"""``ByteSource``: an open file's bytes, whatever tier they come from."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final

CHUNK: Final = 1 << 20
"""Bytes per read when a source is streamed."""


class ByteSource:
    """An open file. It keeps serving the bytes it was opened on, also when the path is replaced meanwhile.

    ``size`` in bytes and ``mtime`` in microseconds are those of the open file; ``etag`` is a strong validator of it.
    ``present`` lists the half-open byte ranges that ``descriptor`` holds: all of it for a local file. Not for use from
    two tasks after ``close``; reads may run in parallel.
    """

    def __init__(self, descriptor: int, tier: str, present: tuple[tuple[int, int], ...] | None = None) -> None:
        facts = os.fstat(descriptor)
        self.descriptor = descriptor
        self.tier = tier
        self.size = facts.st_size
        self.mtime = facts.st_mtime_ns // 1000
        self.etag = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}-{facts.st_ino:x}"'
        self.present = ((0, self.size),) if present is None else present
        self._closed = False

    def pread(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only at the end of the file. Blocks. Raises OSError."""
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(self.descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read(self, offset: int, length: int) -> bytes:
        """As ``pread``, in a worker thread."""
        return await asyncio.to_thread(self.pread, offset, length)

    async def stream(self, offset: int = 0, length: int | None = None, chunk: int = CHUNK) -> AsyncIterator[bytes]:
        """The bytes from ``offset``, at most ``length`` of them, in chunks of at most ``chunk``."""
        left = max(0, self.size - offset) if length is None else length
        while left > 0:
            part = await self.read(offset, min(chunk, left))
            if not part:
                return
            yield part
            offset += len(part)
            left -= len(part)

    def close(self) -> None:
        """Close the descriptor. A second call does nothing."""
        if not self._closed:
            self._closed = True
            os.close(self.descriptor)

    def detach(self) -> int:
        """Hand the descriptor to the caller, who closes it from now on."""
        self._closed = True
        return self.descriptor

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
