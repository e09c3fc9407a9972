"""One plugin instance at work: its watcher, its crawls one after the other, its work in the background."""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final

from mosaicfs_core.agent.board import Board
from mosaicfs_core.agent.indexer import Indexer, Report
from mosaicfs_core.agent.planner import Source
from mosaicfs_core.agent.schedule import joined
from mosaicfs_core.agent.session import Session
from mosaicfs_core.errors import MosaicError, PluginError
from mosaicfs_core.hooks import Checkpoint, CrawlRequest, FileOperation, Problem, RunningPlugin
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instance
from mosaicfs_core.store import crawl_queries as queries
from mosaicfs_core.supervision import Standing, end_tasks, supervised

logger = logging.getLogger(__name__)

WATCH_READY_S: Final = 10.0
"""How long a crawl waits for the first word of a watcher that begins."""
RUN_HOOKS: Final = ("mosaicfs_crawl", "mosaicfs_watch", "mosaicfs_run")
"""The hooks that a runner runs."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
_DONE: Final = object()


class Runner:
    """Runs an instance until ``stop``. ``first_done`` is set when its first crawl has ended in whatever way."""

    def __init__(
        self, core: CoreServices, indexer: Indexer, board: Board, instance: Instance, running: RunningPlugin
    ) -> None:
        self._core = core
        self._indexer = indexer
        self._board = board
        self.instance = instance
        self._running = running
        self.first_done = asyncio.Event()
        self._waiting: CrawlRequest | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._stopped = False
        self._problem = Standing(logger)
        self._waiters: list[asyncio.Future[Report]] = []
        self._asked = asyncio.Event()
        self._watch_ready = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        provides = bool(instance.prefix)
        self._source = Source(
            node_id=core.node_id,
            instance=instance.name,
            on_disk=not provides,
            provider=instance.name if provides else None,
            places=lambda: instance.context.places,
        )

    @property
    def name(self) -> str:
        """The instance's name."""
        return self.instance.name

    def start(self) -> None:
        """Begin: the watcher first, then the first crawl, so that nothing falls between the two."""
        if self.instance.runs("mosaicfs_watch"):
            self._spawn("watch", self._watch)
        else:
            self._watch_ready.set()
        if self.instance.runs("mosaicfs_run"):
            self._spawn("run", self._work)
        if self.instance.runs("mosaicfs_crawl"):
            self._spawn("crawl", self._crawls)
            if self.instance.poll_interval_s:
                self._spawn("poll", partial(self._poll, self.instance.poll_interval_s))
            self._ask(CrawlRequest(trigger="startup"))
        else:
            self.first_done.set()

    def _spawn(self, work: str, run: Callable[[], Awaitable[None]]) -> None:
        name = f"{work} {self.name}"
        self._tasks.append(asyncio.create_task(supervised(name, run, self._core.failing), name=name))

    async def stop(self) -> None:
        """End watcher and crawl; what was written stays. Whoever waits for a crawl waits on, until ``adopt`` or
        ``abandon`` of what takes over."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()
        await end_tasks(*self._tasks)
        self._tasks.clear()

    def adopt(self, former: Runner) -> None:
        """Take over what a stopped runner of the same instance was asked for. Call it before ``start``."""
        self._waiters += former._waiters
        self._waiting, former._waiting, former._waiters = former._waiting, None, []
        self.first_done = former.first_done

    def abandon(self) -> None:
        """Nothing of what was asked for will be done."""
        self._answer(MosaicError(f"{self.name} was stopped"))
        self.first_done.set()

    def crawl(self, request: CrawlRequest) -> asyncio.Future[Report]:
        """Ask for a crawl: joined with the one that waits, never beside the one that runs. Its future has the report,
        or the ``MosaicError`` that ended it."""
        future: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        if not self.instance.runs("mosaicfs_crawl"):
            future.set_exception(MosaicError(f"{self.name} does not crawl"))
        else:
            self._waiters.append(future)
            self._ask(request)
        return future

    def _ask(self, request: CrawlRequest) -> None:
        self._waiting = joined(self._waiting, request)
        self._asked.set()

    def _answer(self, outcome: Report | MosaicError, waiters: Sequence[asyncio.Future[Report]] | None = None) -> None:
        for future in self._waiters if waiters is None else waiters:
            if future.done():
                continue
            if isinstance(outcome, MosaicError):
                future.set_exception(outcome)
                future.exception()  # whoever asked may not be listening any more
            else:
                future.set_result(outcome)
        if waiters is None:
            self._waiters = []

    # Crawling.

    async def _crawls(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            await self._asked.wait()
            await self._watch_begun()
            if self._retry is not None:
                self._retry.cancel()
            self._asked.clear()
            request, self._waiting = self._waiting, None
            waiters, self._waiters = self._waiters, []
            if request is None:
                continue
            try:
                outcome: Report | MosaicError = await self._crawl(request)
            except asyncio.CancelledError:
                self._waiting, self._waiters = joined(self._waiting, request), [*waiters, *self._waiters]
                raise
            except Exception as error:  # noqa: BLE001 - whatever ends a crawl must not end crawling
                outcome = error if isinstance(error, MosaicError) else MosaicError(f"{type(error).__name__}: {error}")
                if not isinstance(error, PluginError) or _for_want_of_room(error):
                    # A full disk passes; waiting for the next night would be too long.
                    again = CrawlRequest(trigger="reconnect", full=request.full, prefixes=request.prefixes)
                    self._retry = asyncio.get_running_loop().call_later(pause, self._ask, again)
                    pause = min(pause * 2, LONGEST_PAUSE_S)
            else:
                pause = FIRST_PAUSE_S
            self._answer(outcome, waiters)
            self.first_done.set()

    async def _watch_begun(self) -> None:
        """Wait for a watcher that begins: what changes before it notices changes is found by the crawl, which must not
        have looked yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_READY_S):
                await self._watch_ready.wait()
        self._watch_ready.set()  # one that keeps silent is waited for once

    async def _crawl(self, request: CrawlRequest) -> Report:
        begun = time.monotonic()
        known = await self._indexer.store.read(lambda reader: queries.count_below(reader, self._core.node_id, "/"))
        state = self._board.crawl_began(self.name, request.trigger, not request.prefixes, known)
        session = self._session(matching=known > 0)
        state.report = session.report
        error: str | None = None
        complete = False
        try:
            items = self._running.crawl(request)
            # The look-ahead ends before what it looks into: a generator cannot be closed while it is being asked.
            async with aclosing(items), aclosing(_ahead(items)) as ahead:
                async for chunk in ahead:
                    await session.feed(chunk)
            report = await session.finish()
            complete = True
        except Exception as problem:
            error = str(problem) or type(problem).__name__
            if not isinstance(problem, PluginError):  # the host has logged that one
                extra = {"plugin": self.name, "operation": "crawl"}
                self._problem.met(logging.ERROR, f"crawl failed: {problem}", extra=extra)
            raise
        finally:
            session.close()
            self._board.crawl_ended(self.name, error, complete=complete)
        self._problem.gone()
        logger.info(
            "crawled %d files: %d new, %d changed, %d moved, %d deleted",
            *(report.seen, report.created, report.changed, report.moved, report.deleted),
            extra={
                "plugin": self.name,
                "operation": f"crawl {request.trigger}",
                "duration_ms": round((time.monotonic() - begun) * 1000),
            },
        )
        return report

    async def _poll(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            self._ask(CrawlRequest(trigger="poll"))

    def _session(self, *, matching: bool, live: bool = False) -> Session:
        def noted(problem: Problem) -> None:
            self._board.problem(self.name, problem)

        return Session(self._indexer, self._source, noted, matching=matching, live=live)

    # Watching, and work in the background.

    async def _watch(self) -> None:
        def ended(reason: str) -> None:
            self._watch_ready.set()
            self._board.error("watcher", f"{self.name}: {reason}")

        def again() -> None:
            # What changed while nobody watched is found by a crawl, once somebody does.
            self._watch_ready.clear()
            self._ask(CrawlRequest(trigger="reconnect"))

        watch = partial(self._running.watch, self._emitted)
        await self._for_ever("mosaicfs_watch", watch, self._board.watching, ended, again)

    async def _work(self) -> None:
        def ended(reason: str) -> None:
            self._board.error("plugins", f"{self.name}: {reason}")

        await self._for_ever("mosaicfs_run", self._running.run, self._board.running, ended)

    async def _for_ever(
        self,
        hook: str,
        work: Callable[[], Awaitable[None]],
        states: MutableMapping[str, str],
        ended: Callable[[str], None],
        again: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a long-lived hook, and once more after a growing pause whenever it ends. ``states`` has the reason while
        it does not run; ``ended`` is told it, ``again`` is called after the pause."""
        pause = FIRST_PAUSE_S
        while True:
            states[self.name] = ""
            begun = time.monotonic()
            try:
                await work()
                reason = f"{hook} ended by itself"
            except Exception as error:
                reason = str(error) or type(error).__name__
                if not isinstance(error, MosaicError | sqlite3.Error | OSError):
                    logger.exception("%s failed", hook, extra={"plugin": self.name, "operation": hook})
            states[self.name] = reason
            ended(reason)
            if time.monotonic() - begun > LONGEST_PAUSE_S:
                pause = FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            again()

    async def _emitted(self, operations: Sequence[FileOperation]) -> None:
        if self._stopped:
            # A watcher that would not be cancelled was left behind: it must not index by settings of yesterday.
            raise MosaicError(f"{self.name} was stopped")
        self._watch_ready.set()
        if not operations:
            return
        session = self._session(matching=True, live=True)
        try:
            await session.feed(operations)
            await session.finish()
        finally:
            session.close()


def _for_want_of_room(error: PluginError) -> bool:
    """Whether a plugin failed because a disk is full."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


async def _ahead(items: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """The items, the next one being fetched while the caller works on one: not beyond a checkpoint, after which the
    plugin relies on what the caller has done."""

    async def fetch() -> Any:
        return await anext(items, _DONE)

    task = asyncio.create_task(fetch())
    try:
        while (item := await task) is not _DONE:
            if _holds_checkpoint(item):
                yield item
                task = asyncio.create_task(fetch())
            else:
                task = asyncio.create_task(fetch())
                yield item
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, MosaicError):
            await task


def _holds_checkpoint(item: Any) -> bool:
    return any(isinstance(part, Checkpoint) for part in (item if isinstance(item, list | tuple) else (item,)))
