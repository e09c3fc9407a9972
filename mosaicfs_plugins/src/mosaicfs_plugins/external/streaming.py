"""What a program prints, line by line while it runs, however much that is: for crawls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from mosaicfs_core.hooks import UserError
from mosaicfs_core.hooks.wire import LINE_LIMIT

Taken = Callable[[bytes], None]
"""Takes a part of the output, in the thread that reads it."""
_PARTS: Final = 16
"""Parts that wait to be taken before the program's output is read no further."""


async def lines_of(run: Callable[[Taken], Awaitable[Any]]) -> AsyncGenerator[bytes, None]:
    """The lines that a program prints, each as soon as it is whole. ``run`` runs it, hands over its output, and raises
    how it failed, which is raised here after its last line; it is cancelled when whoever reads leaves. Raises
    ``UserError`` for a line that is too long."""
    parts: asyncio.Queue[bytes] = asyncio.Queue(_PARTS)
    loop, left = asyncio.get_running_loop(), False

    def taken(part: bytes) -> None:
        if not left:
            asyncio.run_coroutine_threadsafe(parts.put(part), loop).result()

    running = asyncio.ensure_future(run(taken))
    begun = bytearray()
    try:
        while (part := await _next(parts, running)) is not None:
            begun += part
            if b"\n" in part:
                *lines, rest = bytes(begun).split(b"\n")
                begun = bytearray(rest)
                for line in lines:
                    yield line + b"\n"
            if len(begun) > LINE_LIMIT:
                raise UserError(f"a line has more than {LINE_LIMIT:,} bytes")
        await running
        yield bytes(begun)
    finally:
        left = True
        while not parts.empty():  # the thread may be waiting for room
            parts.get_nowait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _next(parts: asyncio.Queue[bytes], running: asyncio.Future[Any]) -> bytes | None:
    """The next part, None when the program has ended and all were taken."""
    getting = asyncio.ensure_future(parts.get())
    try:
        await asyncio.wait({getting, running}, return_when=asyncio.FIRST_COMPLETED)
        if getting.done():
            return getting.result()
        return None if parts.empty() else parts.get_nowait()
    finally:
        getting.cancel()
