"""The host's side of one connection to a plugin: events and their acknowledgements, requests, and what it calls.

Acknowledgements come in any order. A plugin that acknowledges nothing for ``timeout_s`` while events wait fails the
oldest of them; an acknowledgement that comes later, twice, or for an event that never was, is passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mosaicfs_core.documents import times
from mosaicfs_core.errors import MosaicError, PluginError, Unavailable, UserError
from mosaicfs_core.hooks.events import FileEvent
from mosaicfs_core.hooks.health import HealthReport, Notice
from mosaicfs_core.hooks.kinds import KindContext
from mosaicfs_core.hooks.operations import CrawlRequest, FileOperation
from mosaicfs_core.hooks.queries import QueryRequest, ResultEnvelope
from mosaicfs_core.hooks.specs import HOOK_API
from mosaicfs_core.hooks.wire import calls, messages
from mosaicfs_core.hooks.wire.answering import Answering
from mosaicfs_core.hooks.wire.lines import BrokenWire, Lines
from mosaicfs_core.hooks.wire.messages import Envelope, FromPlugin, HostHello, PluginHello, ToldError
from mosaicfs_core.hooks.wire.payloads import crawl_payload, event_envelope, operation_of
from mosaicfs_core.hooks.wire.told import annotation_of, answered_by

logger = logging.getLogger("mosaicfs.plugins")

ERROR_LIMIT: Final = 2000
"""Characters of a plugin's error that are kept."""
_PARTS: Final = 32
"""Parts of a crawl that wait to be taken before the connection is read no further."""


@dataclass
class _Waiting:
    """Something that was sent and not answered yet."""

    answer: asyncio.Future[Any]
    hook: str


class Channel:
    """One connection, from ``hello`` to its end. ``run`` reads until then; all else may be asked while it runs."""

    def __init__(self, lines: Lines, context: KindContext) -> None:
        self._lines = lines
        self._context = context
        self._name = context.plugin.instance
        self._events: dict[int, _Waiting] = {}
        self._requests: dict[int, _Waiting] = {}
        self._streams: dict[int, asyncio.Queue[Any]] = {}
        self._emits: dict[int, Callable[[Sequence[FileOperation]], Awaitable[None]]] = {}
        self._answering = Answering(lines, context.plugin, self._emit, self._taken)
        self._next_request = 0
        self._moved = 0.0
        self._over: Unavailable | None = None
        self._hung_up: str | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._let_go: set[int] = set()
        self.lost = 0
        """How many events the plugin had in its hands when the connection ended."""
        self.hello: PluginHello | None = None
        """What the plugin said of itself, once it did."""
        self.timed_out = asyncio.Event()
        """Set when an event was not acknowledged in time: whoever supervises the process may want to end it."""

    # The connection.

    def greet(self, hello: HostHello) -> None:
        """Say hello. Plain function; call it first."""
        self._lines.send({"hello": hello})

    def configure(self, hello: HostHello) -> None:
        """Tell of changed settings and limits, as one would say hello now. Plain function."""
        self._lines.send({"config": hello.config, "workers": hello.workers, "timeout_s": hello.timeout_s})

    async def run(self) -> None:
        """Read until the connection ends, then give up all that waits with ``Unavailable``. Raises ``BrokenWire``."""
        reason = "it closed the connection"
        try:
            while (line := await self._lines.read()) is not None:
                await self._hear(line)
            if self._hung_up is not None:
                raise BrokenWire(self._hung_up)
        except (BrokenWire, ConnectionError) as error:
            reason = self._hung_up or str(error)
            raise BrokenWire(reason) from None
        finally:
            self._give_up(reason)
            await self._answering.close()
            # Not closed in peace: one that does not read would have us wait for ever.
            await self._lines.abandon()

    async def _taken(self) -> None:
        """Wait until the plugin has read most of what it was sent. One that does not read for ``timeout_s`` is hung up
        on, or what is sent to it would fill the memory. Raises ``ConnectionError``."""
        if not self._lines.behind:
            return  # as nearly always: a time limit costs more than an event
        try:
            async with asyncio.timeout(self._context.timeout_s):
                await self._lines.drain()
        except TimeoutError:
            self._hung_up = "it does not read what it is told"
            self._lines.hang_up()

    def _give_up(self, reason: str) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._over = error = Unavailable(f"plugin {self._name} is not connected: {reason}")
        self.lost = sum(not waiting.answer.done() for waiting in self._events.values())
        for waiting in (*self._events.values(), *self._requests.values()):
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
                waiting.answer.exception()
        for parts in self._streams.values():
            _put_last(parts, error)
        self._events.clear()
        self._requests.clear()
        self._streams.clear()

    # Events.

    async def file_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """Send an event and wait for its acknowledgement. Raises ``PluginError`` (an attempt) or ``Unavailable``."""
        self._check_open()
        if event.sequence in self._events:
            raise UserError(f"event {event.sequence} is at the plugin already", field="sequence")
        waiting = _Waiting(asyncio.get_running_loop().create_future(), "mosaicfs_file_event")
        if not self._events:
            self._moved = asyncio.get_running_loop().time()
        self._events[event.sequence] = waiting
        self._lines.send(event_envelope(event))
        self._watch_over()
        try:
            await self._taken()
            answer: Mapping[str, Any] | None = await waiting.answer
            return answer
        except ConnectionError as error:
            raise Unavailable(f"plugin {self._name} is not connected: {error}") from None
        except asyncio.CancelledError:
            self._let_go.add(event.sequence)  # its answer may still come, and says nothing to anybody
            raise
        finally:
            self._events.pop(event.sequence, None)

    def _watch_over(self) -> None:
        due = self._moved + self._context.timeout_s
        if not self._events or (self._watchdog is not None and self._watchdog.when() <= due):
            return  # an early look arms the next one
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = asyncio.get_running_loop().call_at(due, self._look)

    def _look(self) -> None:
        self._watchdog = None
        now = asyncio.get_running_loop().time()
        limit = self._context.timeout_s
        if self._events and now - self._moved >= limit:
            # Those behind it in the window may never have been looked at.
            oldest = next(iter(self._events.values()))
            self._moved = now
            self._fail(oldest, f"did not acknowledge an event within {limit:g} s", timed_out=True)
            self.timed_out.set()
        self._watch_over()

    def _acknowledged(self, message: FromPlugin) -> None:
        assert message.ack is not None
        self._moved = asyncio.get_running_loop().time()
        waiting = self._events.pop(message.ack, None)
        if waiting is None and message.ack in self._let_go:
            self._let_go.discard(message.ack)
            return
        if waiting is None or waiting.answer.done():
            logger.info("plugin %s acknowledged event %d, which does not wait", self._name, message.ack)
            return
        if message.error is not None:
            waiting.answer.set_exception(self._told(waiting.hook, message.error))
            return
        try:
            waiting.answer.set_result(annotation_of(message.annotation))
        except UserError as error:
            self._fail(waiting, f"answered with {error.message}")

    # Requests.

    async def query(self, request: QueryRequest) -> ResultEnvelope:
        """Ask a question."""
        answer: ResultEnvelope = await self._request(
            "query", msgspec.to_builtins(request), ResultEnvelope, request.timeout_s
        )
        return answer

    async def health(self) -> HealthReport:
        """Ask how it is."""
        answer: HealthReport = await self._request("health_check", {}, HealthReport, self._context.timeout_s)
        return answer

    async def work(self) -> None:
        """Have it work in the background until it ends or this is cancelled."""
        await self._request("run", {}, None, None)

    async def watch(self, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        """Have it watch until it ends or this is cancelled."""
        number = self._number()
        self._emits[number] = emit
        try:
            await self._request("watch", {}, None, None, number)
        finally:
            self._emits.pop(number, None)

    async def crawl(self, request: CrawlRequest) -> AsyncGenerator[Sequence[FileOperation], None]:
        """Crawl, in chunks as they come."""
        self._check_open()
        number = self._number()
        parts: asyncio.Queue[Any] = asyncio.Queue(_PARTS)
        self._streams[number] = parts
        self._send("crawl_requested", crawl_payload(request), number)
        ended = False
        try:
            while True:
                part = await parts.get()
                if isinstance(part, MosaicError):
                    ended = True
                    raise part
                if part is None:
                    ended = True
                    return
                yield part
        finally:
            self._streams.pop(number, None)
            while not parts.empty():  # whoever reads the connection may be waiting to put one more
                parts.get_nowait()
            if not ended:
                self._lines.send({"cancel": number})

    def _check_open(self) -> None:
        """Raise ``Unavailable`` once the connection has ended: nobody would answer."""
        if self._over is not None:
            raise Unavailable(self._over.message)

    def _number(self) -> int:
        self._next_request += 1
        return self._next_request

    def _send(self, name: str, payload: Mapping[str, Any], number: int) -> None:
        self._lines.send(
            Envelope(
                event=name,
                request_id=number,
                timestamp=times.now_text(),
                node_id=self._context.plugin.node_id,
                payload=payload,
            )
        )

    async def _request(
        self, name: str, payload: Mapping[str, Any], kind: Any, timeout: float | None, number: int | None = None
    ) -> Any:
        """Send a request and wait for its one answer, which is a ``kind``. Raises ``PluginError``, ``Unavailable``."""
        self._check_open()
        hook = messages.REQUESTS[name]
        number = self._number() if number is None else number
        waiting = self._requests[number] = _Waiting(asyncio.get_running_loop().create_future(), hook)
        self._send(name, payload, number)
        try:
            async with asyncio.timeout(timeout):
                await self._taken()
                raw = await waiting.answer
        except TimeoutError:
            self._lines.send({"cancel": number})
            raise self._error(hook, f"did not finish within {timeout:g} s", timed_out=True) from None
        except ConnectionError as error:
            raise Unavailable(f"plugin {self._name} is not connected: {error}") from None
        except asyncio.CancelledError:
            self._lines.send({"cancel": number})
            raise
        finally:
            self._requests.pop(number, None)
        try:
            return calls.decoded(raw or msgspec.Raw(b"null"), kind, "the answer")
        except UserError as error:
            raise self._error(hook, f"answered wrongly: {error.message}") from None

    # What comes.

    async def _hear(self, line: bytes) -> None:
        """Raises ``BrokenWire``."""
        try:
            message = messages.from_plugin(line)
        except BrokenWire as error:
            waiting = self._answered_by(line)
            if waiting is None:
                raise
            # It is about one file or question, which would come again and again if that ended the connection.
            self._fail(waiting, f"answered with what cannot be read: {error.message}")
        else:
            await self._take(message)

    def _answered_by(self, line: bytes) -> _Waiting | None:
        """What a line that cannot be read is the answer to, if it begins with that."""
        kind, number = answered_by(line)
        if number is None:
            return None
        self._moved = asyncio.get_running_loop().time()
        return (self._events if kind == "ack" else self._requests).get(number)

    async def _take(self, message: FromPlugin) -> None:
        if message.hello is not None:
            if message.hello.hook_api > HOOK_API:
                raise BrokenWire(
                    f"it is written for hook API {message.hello.hook_api}, this MosaicFS offers {HOOK_API}"
                )
            self.hello = message.hello
            self._context.changed()
        elif message.ack is not None:
            self._acknowledged(message)
        elif message.request_id is not None:
            await self._answered(message.request_id, message)
        elif message.call is not None and message.id is not None:
            await self._answering.begin(message.id, message.call, message.params)
        elif message.more is not None:
            self._answering.more(message.more)
        elif message.stop is not None:
            self._answering.stop(message.stop)
        elif message.notification is not None:
            await self._notified(message.notification)
        else:
            raise BrokenWire("a message that is neither hello, ack, answer, call nor notification")

    async def _notified(self, notice: Notice) -> None:
        try:
            await self._context.notify(notice)
        except UserError as error:  # a notice without a proper key is nobody's
            logger.info("plugin %s: %s", self._name, error)
        except MosaicError as error:
            # That it cannot be kept now (a full disk) is no reason to hang up.
            logger.warning("a notification of plugin %s is lost: %s", self._name, error)

    async def _answered(self, number: int, message: FromPlugin) -> None:
        parts = self._streams.get(number)
        if parts is not None:
            await self._part(parts, message)
            return
        waiting = self._requests.get(number)
        if waiting is None or waiting.answer.done():
            return
        if message.error is not None:
            waiting.answer.set_exception(self._told(waiting.hook, message.error))
        else:
            waiting.answer.set_result(message.result)

    async def _part(self, parts: asyncio.Queue[Any], message: FromPlugin) -> None:
        hook = "mosaicfs_crawl"
        if message.error is not None:
            await parts.put(self._told(hook, message.error))
            return
        try:
            operations = [operation_of(body) for body in message.files or ()]
        except UserError as error:
            await parts.put(self._error(hook, f"yielded {error.message}"))
            return
        if operations or not message.done:
            await parts.put(operations)
        if message.done:
            await parts.put(None)

    async def _emit(self, params: Mapping[str, msgspec.Raw]) -> None:
        number = calls.decoded(params.get("request_id", b"0"), int, "request_id")
        files = calls.decoded(params.get("files", b"[]"), list[Any], "files")
        emit = self._emits.get(number)
        if emit is None:
            raise UserError("request_id: no watch of this id is under way", field="request_id")
        await emit([operation_of(body) for body in files])

    def _fail(self, waiting: _Waiting, what: str, **details: Any) -> None:
        if not waiting.answer.done():
            waiting.answer.set_exception(self._error(waiting.hook, what, **details))

    def _error(self, hook: str, what: str, **details: Any) -> PluginError:
        return PluginError(f"plugin {self._name}: {hook} {what}", self._name, hook, **details)

    def _told(self, hook: str, error: str | ToldError) -> PluginError:
        """What the plugin said went wrong; one that runs under our own dispatcher has named itself already."""
        text = error if isinstance(error, str) else error.message
        text = " ".join(text.split())[:ERROR_LIMIT] or "it did not say why"
        prefix = f"plugin {self._name}: {hook} "
        details = {"unavailable": True} if isinstance(error, ToldError) and error.code == Unavailable.code else {}
        return self._error(hook, text[len(prefix) :] if text.startswith(prefix) else f"failed: {text}", **details)


def _put_last(parts: asyncio.Queue[Any], error: MosaicError) -> None:
    """Let a stream end, however full it is."""
    if parts.full():
        parts.get_nowait()
    parts.put_nowait(error)
