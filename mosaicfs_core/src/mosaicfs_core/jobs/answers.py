"""Answers of plugins on their way into the store: those that wait together are stored in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.jobs import finishing
from mosaicfs_core.jobs.finishing import Answer, Bench

TOGETHER: Final = 500
"""Answers stored in one transaction, at most."""
AtBench: TypeAlias = Callable[[Callable[[Bench], Any]], Awaitable[Any]]
"""Runs a function over the tables, in a transaction."""


class Answers:
    """``at_bench`` stores them, ``gather_s`` seconds after the first one came; ``stored`` is called each time that some
    were. Lives on the store's event loop."""

    def __init__(self, at_bench: AtBench, gather_s: float, stored: Callable[[], None]) -> None:
        self._at_bench, self._gather_s, self._stored = at_bench, gather_s, stored
        self._waiting: list[tuple[Answer, asyncio.Future[bool]]] = []
        self.storing: asyncio.Task[None] | None = None
        """What stores the answers that were given, as long as there are some."""

    async def store(self, answer: Answer) -> bool:
        """As ``JobQueue.done``."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, future))
        if self.storing is None or self.storing.done():
            self.storing = asyncio.ensure_future(self._store_all())
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # nobody asks any more
            raise

    async def _store_all(self) -> None:
        while self._waiting:
            # More of them in one transaction, which costs the same whatever their number.
            await asyncio.sleep(self._gather_s)
            given, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            outcomes = await self._finished([answer for answer, _ in given])
            for (_, future), outcome in zip(given, outcomes, strict=True):
                if future.done():
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
            self._stored()

    async def _finished(self, answers: Sequence[Answer]) -> Sequence[bool | BaseException]:
        try:
            outcomes: Sequence[bool | BaseException] = await self._at_bench(partial(finishing.finish, answers=answers))
        except Unavailable as error:
            return [error] * len(answers)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            if len(answers) == 1:
                return [error]
            # One of them is to blame, and must not take the others along.
            return [(await self._finished([answer]))[0] for answer in answers]
        return outcomes
