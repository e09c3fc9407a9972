"""The live changes feed: waits for the writer, reads in bounded batches, never holds a statement open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

from .reader import Reader
from .records import Change
from .selector import compile_selector

BATCH = 500


class Signal:
    """Tells waiting coroutines that the update sequence has moved. Lives on one event loop."""

    def __init__(self, seq: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self.seq = seq
        self.closed = False

    def committed(self, seq: int) -> None:
        """Called in the writer's thread after a commit."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._wake, seq)

    def _wake(self, seq: int) -> None:
        self.seq = max(self.seq, seq)
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def close(self) -> None:
        """End all waiting; feeds stop."""
        self.closed = True
        self._wake(self.seq)

    async def wait(self, after: int, timeout: float | None = None) -> bool:
        """Until the sequence is above ``after`` or the store closes; False when ``timeout`` seconds passed before."""
        if self.seq > after or self.closed:
            return True
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        return True


async def follow(
    read: Callable[[Callable[[Reader], list[Change]]], Awaitable[list[Change]]],
    signal: Signal,
    *,
    since: int,
    live: bool,
    limit: int | None,
    include_docs: bool,
    selector: Mapping[str, Any] | None,
    types: Collection[str] | None,
    heartbeat: float | None,
) -> AsyncIterator[Change | None]:
    """The changes after ``since``; see ``Store.changes``."""
    matches = None if selector is None else compile_selector(selector)
    with_docs = include_docs or matches is not None
    left = limit
    while not signal.closed and (left is None or left > 0):
        batch = await read(partial(Reader.changes, since=since, limit=BATCH, include_docs=with_docs))
        for change in batch:
            since = change.seq
            if types is not None and change.type not in types:
                continue
            if matches is not None and not matches(change.doc or {}):
                continue
            yield change if include_docs else change._replace(doc=None)
            if left is not None:
                left -= 1
                if left == 0:
                    return
        if len(batch) == BATCH:
            continue
        if not live:
            return
        if not await signal.wait(since, heartbeat):
            yield None
