"""Moving documents: pages of changes go in, documents come out at the other end, in four stages that work at once.

read the changes → ask the target what it lacks → fetch that from the source → write it to the target. Between the
stages are short queues, so memory is bounded, and pages are finished in the order in which they came: when one is
reported as reached, everything up to it is on the target's disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from ..errors import NotAllowed, NotSignedIn, Unavailable, UserError
from .batching import BatchSize
from .peer import Document, Page, Peer, Refused, Wanted
from .surroundings import Surroundings

logger = logging.getLogger(__name__)

QUEUED: Final = 2
"""Items that wait between two stages."""
ATTEMPTS: Final = 3
"""How often a document that fails while others of its batch succeed is offered before it counts as refused."""
HOPELESS: Final = 5
"""So many documents in a row that fail one by one are not to blame."""
SAMPLE: Final = 64
"""One document in so many is weighed."""

T = TypeVar("T")
R = TypeVar("R")
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


class _Batch(NamedTuple):
    """Documents to write, and whether they are the last of their page (None: a heartbeat)."""

    documents: Sequence[Document]
    page: Page | None
    completes: bool


class Pipeline:
    """Moves what ``accepts`` (None: all) from ``source`` to ``target``."""

    def __init__(
        self,
        source: Peer,
        target: Peer,
        size: BatchSize,
        counters: Counters,
        surroundings: Surroundings,
        accepts: Callable[[Document], bool] | None = None,
    ) -> None:
        self._source, self._target, self._size, self._counters = source, target, size, counters
        self._surroundings, self._accepts = surroundings, accepts

    async def run(self, pages: Pages, reached: Reached, stop: asyncio.Event) -> None:
        """Until the pages end or ``stop`` is set; what was read is then finished.

        ``reached`` is called with each page when it is done, and with None at the source's heartbeats. The first error
        of a stage ends all of them and is raised.
        """
        read: asyncio.Queue[Page | _End | None] = asyncio.Queue(QUEUED)
        lacking: asyncio.Queue[tuple[Page | None, list[Wanted]] | _End] = asyncio.Queue(QUEUED)
        fetched: asyncio.Queue[_Batch | _End] = asyncio.Queue(QUEUED)
        try:
            async with asyncio.TaskGroup() as stages:
                stages.create_task(self._read(pages, read, stop))
                stages.create_task(self._compare(read, lacking))
                stages.create_task(self._fetch(lacking, fetched))
                stages.create_task(self._write(fetched, reached))
        except BaseExceptionGroup as failures:
            raise _first(failures)  # noqa: B904 - the group says nothing more

    async def _read(self, pages: Pages, out: asyncio.Queue[Page | _End | None], stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        following: asyncio.Future[Page | None] | None = None
        try:
            while not stop.is_set():
                following = asyncio.ensure_future(anext(pages))
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
            if following is not None and not following.done():
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await following
            await pages.aclose()

    async def _compare(
        self,
        read: asyncio.Queue[Page | _End | None],
        out: asyncio.Queue[tuple[Page | None, list[Wanted]] | _End],
    ) -> None:
        while not isinstance(page := await read.get(), _End):
            wanted = await self._target.revs_diff(page.rows) if page is not None and page.rows else []
            await out.put((page, wanted))
        await out.put(_END)

    async def _fetch(
        self, lacking: asyncio.Queue[tuple[Page | None, list[Wanted]] | _End], out: asyncio.Queue[_Batch | _End]
    ) -> None:
        while not isinstance(item := await lacking.get(), _End):
            page, wanted = item
            start = 0
            while start < len(wanted):
                part = wanted[start : start + self._size.documents]
                start += len(part)
                await out.put(_Batch(await self._fetch_part(part), page, start >= len(wanted)))
            if not wanted:
                await out.put(_Batch((), page, True))
        await out.put(_END)

    async def _fetch_part(self, wanted: Sequence[Wanted]) -> list[Document]:
        started = self._surroundings.monotonic()
        try:
            documents = await self._get(wanted)
        except Unavailable:
            self._size.failed()
            raise
        self._size.moved(len(wanted), self._surroundings.monotonic() - started, _weight(documents))
        return [one for one in documents if self._accepts is None or self._accepts(one)]

    async def _get(self, wanted: Sequence[Wanted]) -> list[dict[str, Any]]:
        divided: _Divided[Wanted, dict[str, Any]] = _Divided(self._source.bulk_get)
        documents = await divided.run(wanted)
        for one, error in divided.hopeless:
            self._refuse(Refused(one.id, one.rev, f"cannot be read: {error.message}"))
        return documents

    async def _write(self, fetched: asyncio.Queue[_Batch | _End], reached: Reached) -> None:
        while not isinstance(batch := await fetched.get(), _End):
            if batch.documents:
                await self._put_with_patience(batch.documents)
            if batch.completes:
                self._counters.settled += 0 if batch.page is None else len(batch.page.rows)
                await reached(batch.page)

    async def _put_with_patience(self, documents: Sequence[Document]) -> None:
        started = self._surroundings.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            failed = await self._put(documents)
            for refusal in failed:
                if not refusal.temporary:
                    self._refuse(refusal)
            again = {refusal.id: refusal for refusal in failed if refusal.temporary}
            self._counters.written += len(documents) - len(failed)
            if not again:
                break
            if len(again) == len({one["_id"] for one in documents}) and attempt == ATTEMPTS:
                self._size.failed()
                raise Unavailable(f"Nothing can be written there: {next(iter(again.values())).reason}")
            if attempt == ATTEMPTS:
                for refusal in again.values():
                    self._refuse(refusal)
                break
            documents = [one for one in documents if one["_id"] in again]
            await self._surroundings.sleep(float(attempt))
        self._size.moved(0, self._surroundings.monotonic() - started)

    async def _put(self, documents: Sequence[Document]) -> list[Refused]:
        divided: _Divided[Document, Refused] = _Divided(self._target.bulk_docs)
        try:
            refused = await divided.run(documents)
        except Unavailable:
            self._size.failed()
            raise
        return refused + [
            Refused(str(one["_id"]), str(one.get("_rev", "")), error.message) for one, error in divided.hopeless
        ]

    def _refuse(self, refusal: Refused) -> None:
        level = logging.INFO if self._counters.refused else logging.WARNING
        self._counters.refused += 1
        logger.log(level, "%s %s was not replicated: %s", refusal.id, refusal.rev, refusal.reason)


class _Divided(Generic[T, R]):
    """A request about many documents that divides them when it is refused as a whole, until those are found that are to
    blame: ``hopeless``, with the error. When the first ``HOPELESS`` ones all are, the request itself is: it is raised.
    """

    def __init__(self, request: Callable[[Sequence[T]], Awaitable[list[R]]]) -> None:
        self._request = request
        self._some = False
        self.hopeless: list[tuple[T, UserError]] = []

    async def run(self, items: Sequence[T]) -> list[R]:
        """The answers for all that there are answers for."""
        try:
            found = await self._request(items)
        except (NotAllowed, NotSignedIn):
            raise
        except UserError as error:
            if len(items) == 1:
                self.hopeless.append((items[0], error))
                if not self._some and len(self.hopeless) >= HOPELESS:
                    raise
                return []
        else:
            self._some = True
            return found
        middle = len(items) // 2
        return await self.run(items[:middle]) + await self.run(items[middle:])


class _End:
    """Stands at the end of a queue."""


_END: Final = _End()


def _weight(documents: Sequence[Document]) -> int:
    """About how many bytes they have together."""
    weighed = documents[::SAMPLE]
    return sum(len(msgspec.json.encode(one)) for one in weighed) * len(documents) // max(1, len(weighed))


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
