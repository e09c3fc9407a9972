"""The one writer: a thread that takes requests from a queue and commits those that wait together with one ``fsync``.

Each request is a function over a ``WriteTransaction``. It takes effect whole or not at all, and is acknowledged only
after the COMMIT that made it durable. A request that fails undoes itself alone; a COMMIT that fails (a full disk)
fails every request in it, and the next one is tried afresh. An error that nobody foresaw stops the thread: what it
was at and what waits is refused, as is all that comes later, and nobody waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import Unavailable
from .failures import for_want_of_room, write_error
from .maintenance import shrink_log
from .transaction import Session, WriteTransaction

logger = logging.getLogger(__name__)

GROUP_REQUESTS = 256
GROUP_SECONDS = 0.02
"""A group takes no further request once it has run this long: whoever is in it waits no longer than that for others."""

IDLE_SECONDS = 10.0
LOG_BYTES = 4 << 20
"""A write-ahead log of this size may stay; a larger one is cut after ``IDLE_SECONDS`` without a request."""

FAILURE_SECONDS = 60.0
"""For so long a write that failed for want of room is told of, unless a later one wrote a document."""

CLOSED = "The store is closed."
STOPPED = "The replica cannot be written: an unexpected error stopped its writer. The log has it; restart MosaicFS."


class _Request(NamedTuple):
    function: Callable[[Any], Any]
    alone: bool  # takes the connection and no transaction
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class _Outcome(NamedTuple):
    request: _Request
    value: Any
    error: BaseException | None


class Writer:
    """Owns the writing connection. ``committed`` is called, in the writer's thread, with the sequence after each
    commit."""

    def __init__(self, session: Session, committed: Callable[[int], None]) -> None:
        self._session = session
        self._connection = session.connection
        self._committed = committed
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        """Held while a request is put into the queue and while the queue is closed: none stands behind its end."""
        self._refusal: str | None = None
        self._ended = False
        self._failure: tuple[float, str] | None = None
        """When a write last failed for want of room, and how; None since a document was written."""
        self._log_grows = False
        """Whether something was committed since the write-ahead log was last found small."""
        self._taken: list[_Request] = []
        """What was taken from the queue and is not answered yet."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        """Whether it takes no more requests: it was closed, or an unforeseen error ended it."""
        return self._refusal is not None

    @property
    def failure(self) -> str | None:
        """What SQLite said of a write that lately failed for want of room, None when all is well."""
        failure = self._failure
        return None if failure is None or time.monotonic() - failure[0] > FAILURE_SECONDS else failure[1]

    async def submit(self, function: Callable[[WriteTransaction], Any]) -> Any:
        """Run the function in the writer's thread; returns its value once it is durable."""
        return await self._submit(function, alone=False)

    async def alone(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run a function over the connection outside any transaction."""
        return await self._submit(function, alone=True)

    async def _submit(self, function: Callable[[Any], Any], *, alone: bool) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._gate:
            if self._refusal is not None:
                raise Unavailable(self._refusal)
            self._queue.put(_Request(function, alone, future, loop))
        return await future

    def close(self) -> None:
        """Finish what was submitted and stop the thread. Blocks."""
        with self._gate:
            if self._refusal is None:
                self._refusal = CLOSED
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException:
            logger.exception("the writer of the replica has stopped")
            with self._gate:
                self._refusal = STOPPED
        finally:
            self._refuse_the_rest()
            self._connection.close()

    def _serve(self) -> None:
        request = self._next()
        while request is not None:
            following = None
            self._taken.append(request)
            if request.alone:
                self._answer([self._execute_alone(request)])
            else:
                following = self._commit_group(request)
                if self._ended:
                    break
            self._log_grows = True
            request = following or self._next()

    def _next(self) -> _Request | None:
        """The next request. While none comes, a large write-ahead log is given back: after a crawl nothing else would
        ever shrink it."""
        while self._log_grows:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with contextlib.suppress(sqlite3.Error):
                    self._log_grows = not shrink_log(self._connection, LOG_BYTES)
        return self._queue.get()

    def _refuse_the_rest(self) -> None:
        """Answer whoever still waits; nobody can come any more, the queue being closed."""
        with contextlib.suppress(queue.Empty):
            while True:
                waiting = self._queue.get_nowait()
                if waiting is not None:
                    self._taken.append(waiting)
        self._answer([_Outcome(request, None, Unavailable(self._refusal or CLOSED)) for request in self._taken])

    def _execute_alone(self, request: _Request) -> _Outcome:
        try:
            return _Outcome(request, request.function(self._connection), None)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asked
            return _Outcome(request, None, write_error(error))

    def _commit_group(self, first: _Request) -> _Request | None:
        """Run a group of requests and answer them; returns one that was taken and must run by itself."""
        before, deadline = self._session.seq, time.monotonic() + GROUP_SECONDS
        outcomes: list[_Outcome] = []
        request: _Request | None = first
        while request is not None and not request.alone:
            outcomes.append(self._execute(request, first=not self._connection.in_transaction))
            if outcomes[-1].error is not None and not self._connection.in_transaction and len(outcomes) > 1:
                outcomes, request = _all_failed(outcomes, outcomes[-1].error), None
                break
            request = None
            if len(outcomes) < GROUP_REQUESTS and time.monotonic() < deadline:
                with contextlib.suppress(queue.Empty):
                    request = self._queue.get_nowait()
                    self._ended = request is None
                if request is not None:
                    self._taken.append(request)
        outcomes = self._commit(outcomes)
        self._note_room(outcomes)
        if self._session.seq != before:
            self._failure = None
            self._announce()
        self._answer(outcomes)
        return request

    def _note_room(self, outcomes: list[_Outcome]) -> None:
        """Remember a write for which there was no room."""
        for outcome in outcomes:
            if for_want_of_room(outcome.error):
                assert outcome.error is not None
                self._failure = time.monotonic(), str(outcome.error.__cause__)

    def _announce(self) -> None:
        """Tell the listener; what is durable stays so, whatever becomes of that."""
        try:
            self._committed(self._session.seq)
        except Exception:
            logger.exception("a commit could not be announced")

    def _answer(self, outcomes: list[_Outcome]) -> None:
        _answer(outcomes)
        self._taken.clear()

    def _execute(self, request: _Request, *, first: bool) -> _Outcome:
        """Run one request, so that its failure undoes nothing else.

        The first of a group needs no savepoint, which would make SQLite copy every page it changes.
        """
        connection, undo = self._connection, "ROLLBACK" if first else "ROLLBACK TO request"
        try:
            connection.execute("BEGIN IMMEDIATE" if first else "SAVEPOINT request")
            transaction = WriteTransaction(self._session)
            value = request.function(transaction)
            transaction.finish()
            if not first:
                connection.execute("RELEASE request")
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to whoever asked
            self._undo(undo)
            return _Outcome(request, None, write_error(error))
        return _Outcome(request, value, None)

    def _undo(self, statement: str) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself on some errors
            self._connection.execute(statement)
            if statement != "ROLLBACK":
                self._connection.execute("RELEASE request")
        with contextlib.suppress(sqlite3.Error):
            self._session.restore()

    def _commit(self, outcomes: list[_Outcome]) -> list[_Outcome]:
        if not self._connection.in_transaction:
            return outcomes
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo("ROLLBACK")
            return _all_failed(outcomes, write_error(error))
        return outcomes


def _all_failed(outcomes: list[_Outcome], error: BaseException) -> list[_Outcome]:
    return [_Outcome(outcome.request, None, outcome.error or error) for outcome in outcomes]


def _answer(outcomes: list[_Outcome]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome.request.loop, []).append(outcome)
    for loop, answered in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, answered)


def _resolve(outcomes: list[_Outcome]) -> None:
    for request, value, error in outcomes:
        if request.future.done():
            continue
        if error is None:
            request.future.set_result(value)
        else:
            request.future.set_exception(error)
