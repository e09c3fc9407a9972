"""A bound on the memory that texts take between being read and being safe. Belongs to one event loop.

Many events are at work at once, nearly all with a small text, and now and then with one of some megabytes each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """So many bytes in all, for whoever asks first."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @contextmanager
    def share(self) -> Iterator[Share]:
        """A share, of nothing at first, that is given back at the end of a block."""
        share = Share(self)
        try:
            yield share
        finally:
            share.become(0)

    async def reserve(self, size: int) -> None:
        """Wait for ``size`` bytes."""
        if size <= self.free and not self._waiting:
            self.free -= size
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            await granted
        except asyncio.CancelledError:
            # Granted in the same turn, nobody would give it back.
            self.give(size if granted.done() and not granted.cancelled() else 0)
            raise

    def give(self, size: int) -> None:
        """Return bytes, or take them without waiting when ``size`` is negative."""
        self.free += size
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self.free):
            wanted, granted = self._waiting.popleft()
            if not granted.done():
                self.free -= wanted
                granted.set_result(None)


class Share:
    """What one event has of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    async def take(self, size: int) -> None:
        """Wait until there is room for so many bytes more. One that needs more than all waits until it is alone."""
        size = min(size, self._budget.total)
        await self._budget.reserve(size)
        self._size += size

    def become(self, size: int) -> None:
        """Be so many bytes from now on, whether there is room for them or not."""
        size, self._size = self._size - size, size
        self._budget.give(size)
