"""Worker threads that can be closed under whoever still wants something of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from mosaicfs_core.hooks import Unavailable

T = TypeVar("T")

CLOSING: Final = "the index is closing"


class Threads:
    """Some threads. What is asked of them from the moment they close, or has not begun by then, is ``Unavailable``:
    whoever switches an instance off makes nothing fail."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, name)
        self._closed = False

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function in a thread. Raises ``Unavailable``, and what the function raises."""
        if self._closed:
            raise Unavailable(CLOSING)
        try:
            return await asyncio.wrap_future(self._pool.submit(function))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise Unavailable(CLOSING) from None
            raise

    def refuse(self) -> None:
        """Take nothing more. Plain function, for the loop's thread."""
        self._closed = True

    def close(self) -> None:
        """Wait for what has begun, and drop the rest. Blocks."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
