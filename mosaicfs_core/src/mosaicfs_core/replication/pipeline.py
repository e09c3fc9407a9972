"""Moving documents: pages of changes go in, documents come out at the other end, in stages that work at once.

read the changes → ask the target what it lacks → fetch that from the source → write it to the target. Each stage starts
its requests in order and hands them on while they are under way, through queues that are short, so memory is bounded.
Pages are finished in the order in which they came: when one is reported as reached, everything up to it is on the
target's disk, refused for good, or owed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from ..errors import Unavailable
from ..supervision import end_tasks
from .batching import BatchSize, weight_of
from .dividing import HOPELESS, Divided
from .owed import Owed
from .peer import Choked, Document, Fetched, Page, Peer, Refused, Row, Wanted
from .surroundings import Surroundings

logger = logging.getLogger(__name__)

QUEUED: Final = 1
"""Items between two stages, besides the one that is put and the one that is taken. Each is a request under way, so a
stage has up to three: while one side makes the next request, the other has work."""
OFFERED: Final = 50
"""Owed documents that are offered at once."""
SAMPLE: Final = 64
"""One document in so many is weighed."""
_ABSENT: Final = "the source does not have it, or one of its copies does not have it yet"

T = TypeVar("T")


class _End:
    """Stands at the end of a queue."""


_END: Final = _End()
_Queue: TypeAlias = "asyncio.Queue[T | _End]"
Pages: TypeAlias = AsyncGenerator[Page | None, None]
Reached: TypeAlias = Callable[[Page | None], Awaitable[None]]


@dataclass(slots=True)
class Counters:
    """What a pipeline has done. ``taken`` and ``settled`` count changes, ``written`` and ``refused`` documents."""

    taken: int = 0
    settled: int = 0
    written: int = 0
    refused: int = 0

    @property
    def in_flight(self) -> int:
        """Changes read and not yet settled."""
        return self.taken - self.settled


class _Lacking(NamedTuple):
    """A page (None: a heartbeat) and the question what the target lacks of it, under way."""

    page: Page | None
    wanted: Awaitable[list[Wanted]]


class _Load(NamedTuple):
    """Documents to write, and those that are still to be fetched because these are heavy."""

    documents: list[Document]
    rest: Sequence[Wanted] = ()


class _Batch(NamedTuple, Generic[T]):
    """Some of the documents of a page, under way, and whether they are its last."""

    page: Page | None
    completes: bool
    result: Awaitable[T]


class Pipeline:
    """Moves what ``accepts`` from ``source`` to ``target``; what that cannot take for the moment is ``owed`` then."""

    def __init__(
        self,
        source: Peer,
        target: Peer,
        size: BatchSize,
        counters: Counters,
        surroundings: Surroundings,
        accepts: Callable[[Document], bool],
        owed: Owed,
    ) -> None:
        self._source, self._target, self._size, self._counters = source, target, size, counters
        self._surroundings, self._accepts, self._owed = surroundings, accepts, owed
        self._failed_in_a_row = 0

    async def run(
        self, pages: Pages, reached: Reached, stop: asyncio.Event, beside: Coroutine[Any, Any, None] | None = None
    ) -> None:
        """Until the pages end or ``stop`` is set; what was read is then finished.

        ``reached`` is called with each page when it is done, and with None at the source's heartbeats. ``beside`` is
        work that ends with the rest. The first error of a stage or of this ends all of them and is raised.
        """
        read: _Queue[Page | None] = asyncio.Queue(QUEUED)
        lacking: _Queue[_Lacking] = asyncio.Queue(QUEUED)
        fetched: _Queue[_Batch[_Load]] = asyncio.Queue(QUEUED)
        written: _Queue[_Batch[None]] = asyncio.Queue(QUEUED)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(pages, read, stop))
                tasks.create_task(self._compare(read, lacking, tasks))
                tasks.create_task(self._fetch(lacking, fetched, tasks))
                tasks.create_task(self._write(fetched, written, tasks))
                finishing = tasks.create_task(self._finish(written, reached))
                if beside is not None:
                    working = tasks.create_task(beside)
                    finishing.add_done_callback(lambda _: working.cancel())
        except BaseExceptionGroup as failures:
            raise _first(failures)  # noqa: B904 - the group says nothing more

    async def _read(self, pages: Pages, out: _Queue[Page | None], stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        following: asyncio.Future[Page | None] | None = None
        try:
            while not stop.is_set():
                following = asyncio.ensure_future(anext(pages))
                following.add_done_callback(_retrieved)
                await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    break
                try:
                    page = following.result()
                except StopAsyncIteration:
                    break
                self._counters.taken += 0 if page is None else len(page.rows)
                await out.put(page)
            await out.put(_END)
        finally:
            stopped.cancel()
            if following is not None:
                await end_tasks(following)
            await pages.aclose()

    async def _compare(self, read: _Queue[Page | None], out: _Queue[_Lacking], tasks: asyncio.TaskGroup) -> None:
        while not isinstance(page := await read.get(), _End):
            await out.put(_Lacking(page, tasks.create_task(self._lacking_of(page))))
        await out.put(_END)

    async def _lacking_of(self, page: Page | None) -> list[Wanted]:
        return [] if page is None or not page.rows else await self._lacking(page.rows)

    async def _lacking(self, rows: Sequence[Row]) -> list[Wanted]:
        """What the target lacks of them; it is offered what it cannot compare."""
        divided: Divided[Row, list[Wanted]] = Divided(self._target.revs_diff, self._size)
        try:
            found = await divided.run(rows)
        except Choked as error:
            logger.info("everything is offered, as the target cannot compare: %s", error.message)
            return [Wanted(row.id, rev) for row in rows for rev in row.revs]
        unknown = [Wanted(row.id, rev) for row, _ in divided.hopeless for rev in row.revs]
        return [one for part in found for one in part] + unknown

    async def _fetch(self, lacking: _Queue[_Lacking], out: _Queue[_Batch[_Load]], tasks: asyncio.TaskGroup) -> None:
        while not isinstance(item := await lacking.get(), _End):
            wanted, start, complete = await item.wanted, 0, False
            rows = () if item.page is None else item.page.rows
            at_hand = {(row.id, row.revs[0]): row.document for row in rows if row.document is not None}
            while not complete:
                part = wanted[start : start + self._size.documents]
                start += len(part)
                complete = start >= len(wanted)
                await out.put(_Batch(item.page, complete, tasks.create_task(self._fetch_part(part, at_hand))))
        await out.put(_END)

    async def _fetch_part(self, wanted: Sequence[Wanted], at_hand: Mapping[tuple[str, str], Document]) -> _Load:
        found = [document for one in wanted if (document := at_hand.get(one)) is not None]
        if found:
            self._size.weighed(len(found), _weight(found))
        absent = wanted if not found else [one for one in wanted if one not in at_hand]
        if not absent:
            return _Load(found)
        load = await self._fetch_absent(absent)
        return _Load(found + load.documents, load.rest)

    async def _fetch_absent(self, wanted: Sequence[Wanted]) -> _Load:
        started = self._surroundings.monotonic()
        try:
            load = await self._get(wanted)
        except Unavailable:
            self._size.failed()
            raise
        self._size.weighed(len(load.documents), _weight(load.documents))
        self._size.moved(len(wanted) - len(load.rest), self._surroundings.monotonic() - started)
        # A source chooses by the winner; of its leaves there may be some that are not to be sent.
        return _Load([one for one in load.documents if self._accepts(one)], load.rest)

    async def _get(self, wanted: Sequence[Wanted]) -> _Load:
        found, rest = await self._read_documents(self._source.bulk_get, wanted)
        self._owe(found.failed, others=bool(found.documents))
        self._owe([one._replace(reason=_ABSENT) for one in found.absent], others=True)
        return _Load(list(found.documents), rest)

    async def _read_documents(
        self,
        request: Callable[[Sequence[Wanted]], Awaitable[Fetched]],
        wanted: Sequence[Wanted],
        *,
        suspects: bool = False,
    ) -> tuple[Fetched, list[Wanted]]:
        """What the source gives of them, and what is still to be asked for; what it can never give is told of."""
        rest: list[Wanted] = []

        async def ask(some: Sequence[Wanted]) -> Fetched:
            found = await request(some)
            rest.extend(some[len(some) - found.rest :])
            return found

        divided: Divided[Wanted, Fetched] = Divided(ask, self._size, suspects=suspects)
        parts = await divided.run(wanted)
        failed = [one for part in parts for one in part.failed]
        for one, error in divided.hopeless:
            refused = Refused(one.id, one.rev, f"cannot be read: {error.message}", isinstance(error, Unavailable))
            if refused.temporary:
                failed.append(refused)
            else:
                self._refuse(refused)
        documents = [document for part in parts for document in part.documents]
        return Fetched(documents, failed, [one for part in parts for one in part.absent]), rest

    async def _write(self, fetched: _Queue[_Batch[_Load]], out: _Queue[_Batch[None]], tasks: asyncio.TaskGroup) -> None:
        while not isinstance(batch := await fetched.get(), _End):
            task = tasks.create_task(self._put_load(await batch.result))
            await out.put(_Batch(batch.page, batch.completes, task))
        await out.put(_END)

    async def _finish(self, written: _Queue[_Batch[None]], reached: Reached) -> None:
        while not isinstance(batch := await written.get(), _End):
            await batch.result
            if batch.completes:
                self._counters.settled += 0 if batch.page is None else len(batch.page.rows)
                await reached(batch.page)

    async def _put_load(self, load: _Load) -> None:
        """Write it, and then, part by part, what was left out of it."""
        rest = list(load.rest)
        await self._put_batch(load.documents)
        while rest:
            part, rest = rest[: self._size.documents], rest[self._size.documents :]
            following = await self._fetch_absent(part)
            rest = [*following.rest, *rest]
            await self._put_batch(following.documents)

    async def _put_batch(self, documents: Sequence[Document]) -> None:
        if not documents:
            return
        started = self._surroundings.monotonic()
        failed = await self._put(documents)
        temporary = [one for one in failed if one.temporary]
        self._owe(temporary, others=len(temporary) < len(documents))
        self._size.moved(len(documents), self._surroundings.monotonic() - started)

    def _owe(self, failed: Sequence[Refused], *, others: bool) -> None:
        """Note what could not be read or was not taken for the moment. ``others``: the same side has said something
        sensible of others since. Raises ``Unavailable`` when it seems to be that side that fails, not these documents.
        """
        new = {one.id: one for one in failed if one.id not in self._owed}
        if others:
            self._failed_in_a_row = 0
        elif new:
            self._failed_in_a_row += len(new)
            if self._failed_in_a_row > HOPELESS:
                self._size.failed()
                raise Unavailable(f"Nothing can be moved: {failed[0].reason}")
        for one in failed:
            self._owed.add(one.id, one.reason)
            logger.info("%s %s is offered again later: %s", one.id, one.rev, one.reason)

    async def offer_again(self) -> None:
        """Offer what is owed, as the source has it now. Raises as ``run`` does."""
        ids = self._owed.ids
        for start in range(0, len(ids), OFFERED):
            part = ids[start : start + OFFERED]
            still = await self._offer(part)
            for identifier in part:
                if identifier not in still:
                    self._owed.remove(identifier)

    async def _offer(self, ids: Sequence[str]) -> set[str]:
        """Offer all leaves of some documents that the target does not have; the ids of those that are owed still."""
        still: set[str] = set()
        rest = [Wanted(identifier, "") for identifier in ids]
        while rest:
            found, rest = await self._read_documents(self._leaves, rest, suspects=True)
            documents = await self._lacking_of_leaves([one for one in found.documents if self._accepts(one)])
            refused = await self._put(documents, suspects=True)
            still.update(one.id for one in (*found.failed, *refused) if one.temporary)
        return still

    async def _leaves(self, wanted: Sequence[Wanted]) -> Fetched:
        return await self._source.leaves([one.id for one in wanted])

    async def _lacking_of_leaves(self, documents: Sequence[Document]) -> list[Document]:
        """Those that the target does not have."""
        leaves: dict[str, list[Document]] = {}
        for one in documents:
            leaves.setdefault(one["_id"], []).append(one)
        if not leaves:
            return []
        rows = [Row(identifier, tuple(str(one["_rev"]) for one in found)) for identifier, found in leaves.items()]
        lacking = set(await self._lacking(rows))
        return [one for found in leaves.values() for one in found if (one["_id"], one["_rev"]) in lacking]

    async def _put(self, documents: Sequence[Document], *, suspects: bool = False) -> list[Refused]:
        """Write documents, count them and tell of those that are refused for good; all that were not taken."""
        if not documents:
            return []
        divided: Divided[Document, list[Refused]] = Divided(self._target.bulk_docs, self._size, suspects=suspects)
        try:
            refused = [one for part in await divided.run(documents) for one in part]
        except Unavailable:
            self._size.failed()
            raise
        refused += [
            Refused(str(one["_id"]), str(one.get("_rev", "")), error.message, isinstance(error, Unavailable))
            for one, error in divided.hopeless
        ]
        self._counters.written += len(documents) - len(refused)
        for refusal in refused:
            if not refusal.temporary:
                self._refuse(refusal)
        return refused

    def _refuse(self, refusal: Refused) -> None:
        level = logging.INFO if self._counters.refused else logging.WARNING
        self._counters.refused += 1
        logger.log(level, "%s %s was not replicated: %s", refusal.id, refusal.rev, refusal.reason)


def _weight(documents: Sequence[Document]) -> int:
    """About how many bytes they have together."""
    weighed = documents[::SAMPLE]
    return weight_of(weighed) * len(documents) // max(1, len(weighed))


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _retrieved(future: asyncio.Future[Page | None]) -> None:
    """Take note of a read's failure: who is cancelled while it waits for the read to end asks for it no more."""
    if not future.cancelled():
        future.exception()
