"""Peers that misbehave, and surroundings without a clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from mosaicfs_core.errors import Unavailable, UserError
from mosaicfs_core.replication import Filter, Page, Peer, PeerInfo, Refused, Row, Surroundings, Wanted
from mosaicfs_core.replication.peer import Document, Fetched, Seq

T = TypeVar("T")


class Time:
    """A clock that moves when somebody sleeps. ``slept`` has the waits; ``on_sleep`` is called in each."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.on_sleep()
        await asyncio.sleep(0)

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(
            monotonic=lambda: self.now, now=lambda: int(self.now * 1_000_000), sleep=self.sleep, random=lambda: 1.0
        )


class PeerAround:
    """A peer that does what another one does; subclasses come between. ``asked`` names every request."""

    def __init__(self, inner: Peer, *, near: bool | None = None) -> None:
        self.inner = inner
        self.near = inner.near if near is None else near
        self.asked: list[str] = []

    async def around(self, name: str, request: Callable[[], Awaitable[T]]) -> T:
        self.asked.append(name)
        return await request()

    async def identity(self) -> str:
        return await self.around("identity", self.inner.identity)

    async def info(self) -> PeerInfo:
        return await self.around("info", self.inner.info)

    async def checkpoint(self, name: str) -> dict[str, Any] | None:
        return await self.around("checkpoint", lambda: self.inner.checkpoint(name))

    async def save_checkpoint(self, name: str, document: Document) -> str:
        return await self.around("save", lambda: self.inner.save_checkpoint(name, document))

    async def changes(self, since: Seq, limit: int, chosen: Filter) -> Page:
        return await self.around("changes", lambda: self.inner.changes(since, limit, chosen))

    async def live(self, since: Seq, limit: int, chosen: Filter, heartbeat: float) -> AsyncGenerator[Page | None, None]:
        async with aclosing(self.inner.live(since, limit, chosen, heartbeat)) as feed:
            async for page in feed:
                await self.around("live", lambda: asyncio.sleep(0))
                yield page

    async def revs_diff(self, rows: Sequence[Row]) -> list[Wanted]:
        return await self.around("revs_diff", lambda: self.inner.revs_diff(rows))

    async def bulk_get(self, wanted: Sequence[Wanted]) -> Fetched:
        return await self.around("bulk_get", lambda: self.inner.bulk_get(wanted))

    async def leaves(self, identifiers: Sequence[str]) -> Fetched:
        return await self.around("leaves", lambda: self.inner.leaves(identifiers))

    async def bulk_docs(self, documents: Sequence[Document]) -> list[Refused]:
        return await self.around("bulk_docs", lambda: self.inner.bulk_docs(documents))

    def backlog(self, since: Seq) -> int | None:
        return self.inner.backlog(since)

    async def close(self) -> None:
        await self.inner.close()


class Flaky(PeerAround):
    """The connection breaks at the request number ``at`` (from 1), after it took effect when ``late``; once only."""

    def __init__(self, inner: Peer, at: int, *, late: bool = False, near: bool | None = None) -> None:
        super().__init__(inner, near=near)
        self.at, self.late = at, late

    async def around(self, name: str, request: Callable[[], Awaitable[T]]) -> T:
        self.at -= 1
        if self.at == 0 and not self.late:
            raise Unavailable("The connection was cut.")
        answer = await super().around(name, request)
        if self.at == 0:
            raise Unavailable("The connection was cut.")
        return answer


class Down(PeerAround):
    """A peer that can be switched off."""

    up = True

    async def around(self, name: str, request: Callable[[], Awaitable[T]]) -> T:
        if not self.up:
            raise Unavailable("Nobody is there.", retry_after=None)
        return await super().around(name, request)


class Picky(PeerAround):
    """A target that refuses documents one by one (``forbids``), whole batches in which one is found (``chokes_on``), or
    fails at one for a number of times (``stumbles``: times by id)."""

    def __init__(
        self,
        inner: Peer,
        *,
        forbids: Callable[[Document], bool] = lambda _: False,
        chokes_on: Callable[[Document], bool] = lambda _: False,
        stumbles: dict[str, int] | None = None,
    ) -> None:
        super().__init__(inner)
        self.forbids, self.chokes_on, self.stumbles = forbids, chokes_on, stumbles or {}

    async def bulk_docs(self, documents: Sequence[Document]) -> list[Refused]:
        if any(self.chokes_on(document) for document in documents):
            raise UserError("answered 400: bad_request")
        refused, taken = [], []
        for document in documents:
            identifier = document["_id"]
            if self.stumbles.get(identifier, 0) > 0:
                self.stumbles[identifier] -= 1
                refused.append(Refused(identifier, document["_rev"], "internal_error: eaten", temporary=True))
            elif self.forbids(document):
                refused.append(Refused(identifier, document["_rev"], "forbidden: not yours"))
            else:
                taken.append(document)
        return refused + await super().bulk_docs(taken)
