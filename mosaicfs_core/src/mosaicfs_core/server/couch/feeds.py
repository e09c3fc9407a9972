"""``_changes``: one answer, or one that goes on while the connection lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from mosaicfs_core.server.couch import pages
from mosaicfs_core.server.couch.pages import Changes, ChangesPage
from mosaicfs_core.server.couch.view import View
from mosaicfs_core.store import Store

Kind = Literal["normal", "longpoll", "continuous", "eventsource"]
KINDS: Final[tuple[Kind, ...]] = ("normal", "longpoll", "continuous", "eventsource")
TIMEOUT_S: Final = 60.0
"""How long a feed without heartbeat waits for a change, unless it is told."""
PAUSE_S: Final = 0.05
"""After a look that told nothing: a crawl commits far more often than that, and most of it is not for browsers."""
HEARTBEATS: Final[dict[Kind, bytes]] = {
    "normal": b"\n",
    "longpoll": b"\n",
    "continuous": b"\n",
    "eventsource": b"event: heartbeat\ndata: \n\n",
}


@dataclass(frozen=True)
class Asked:
    """A request for changes. ``heartbeat`` and ``timeout`` are seconds; with a heartbeat a feed does not end by
    itself."""

    kind: Kind
    since: int
    limit: int | None
    heartbeat: float | None
    timeout: float
    what: Changes


class Feed:
    """One reader's changes. ``seq`` is how far they have been looked at.

    ``allowed`` says whether the reader still may: it is asked before every look, so that a key that is disabled ends
    its feeds.
    """

    def __init__(self, store: Store, view: View, asked: Asked, allowed: Callable[[], Awaitable[bool]]) -> None:
        self._store = store
        self._view = view
        self._asked = asked
        self._allowed = allowed
        self.seq = asked.since
        self.pending = 0

    async def _pages(self) -> AsyncIterator[ChangesPage | None]:
        """Pages that have rows, and None when a heartbeat is due."""
        asked, clock = self._asked, asyncio.get_running_loop().time
        left, told, some = asked.limit, clock(), False
        while left != 0 and not self._store.closed and await self._allowed():
            read = partial(pages.changes, view=self._view, asked=asked.what, since=self.seq, limit=left)
            page = await self._store.read(read)
            self.seq = page.seq
            self.pending = self._store.seq - page.seq if page.more else 0
            if page.rows:
                yield page
                told, some = clock(), True
                left = None if left is None else left - len(page.rows)
            if page.more:
                continue
            if asked.kind == "normal" or left == 0 or (asked.kind == "longpoll" and some):
                return
            patience = asked.timeout if asked.heartbeat is None else asked.heartbeat
            # Changes that are not for this reader wake it too, and do not count as a sign of life.
            if not page.rows:
                await asyncio.sleep(min(PAUSE_S, patience))
            if await self._store.wait(self.seq, max(0.0, told + patience - clock())) and clock() < told + patience:
                continue
            if asked.heartbeat is None:
                return
            yield None
            told = clock()

    def lines(self) -> AsyncIterator[bytes]:
        """The body of the answer."""
        return self._object() if self._asked.kind in ("normal", "longpoll") else self._stream()

    async def _object(self) -> AsyncIterator[bytes]:
        yield b'{"results":[\n'
        first = True
        async for page in self._pages():
            if page is None:
                yield HEARTBEATS[self._asked.kind]
                continue
            rows = pages.SEPARATOR.join(page.rows)
            yield rows if first else pages.SEPARATOR + rows
            first = False
        yield b'\n],\n"last_seq":%d,"pending":%d}\n' % (self.seq, max(0, self.pending))

    async def _stream(self) -> AsyncIterator[bytes]:
        events = self._asked.kind == "eventsource"
        async for page in self._pages():
            if page is None:
                yield HEARTBEATS[self._asked.kind]
            elif events:
                yield b"".join(b"data: %b\nid: %d\n\n" % row for row in zip(page.rows, page.seqs, strict=True))
            else:
                yield b"\n".join(page.rows) + b"\n"
        if not events:
            yield b'{"last_seq":%d,"pending":%d}\n' % (self.seq, max(0, self.pending))
