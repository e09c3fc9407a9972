"""The plugin's side of the wire: the work hooks of a package, served to whoever connects to a Unix socket."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from mosaicfs_core.errors import MosaicError, UserError
from mosaicfs_core.hooks.operations import CrawlRequest, FileOperation
from mosaicfs_core.hooks.queries import QueryRequest
from mosaicfs_core.hooks.wire import calls, messages
from mosaicfs_core.hooks.wire.lines import LINE_LIMIT, BrokenWire, Lines
from mosaicfs_core.hooks.wire.messages import FromHost, HostHello, PluginHello, ToldError
from mosaicfs_core.hooks.wire.payloads import event_of, operation_body
from mosaicfs_core.hooks.wire.remote import Asking, RemoteContext
from mosaicfs_core.unix_sockets import reachable

logger = logging.getLogger("mosaicfs.plugins")

_CHUNK: Final = 500
"""Operations of a crawl in one line."""


class Served(Protocol):
    """The package that is served (``plugins.host.PluginHost`` in the shape that this side needs)."""

    @property
    def hello(self) -> PluginHello:
        """What it says of itself."""

    async def call(self, hook: str, timeout: float | None, **arguments: Any) -> Any:
        """Await a coroutine hook. Raises ``MosaicError``."""

    def iterate(self, hook: str, **arguments: Any) -> AsyncGenerator[Any, None]:
        """Iterate an async-generator hook. Raises ``MosaicError``."""


async def serve(path: Path, served: Served, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Listen on ``path`` (mode 0600), call ``ready``, and serve every connection until ``stop`` is set.

    A socket file that nobody listens on any more is replaced. Raises ``OSError``.
    """
    sessions: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_session(Lines(reader, writer), served))
        sessions.add(task)
        task.add_done_callback(sessions.discard)

    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        with reachable(path) as short:
            server = await asyncio.start_unix_server(connected, short, limit=LINE_LIMIT)
    finally:
        os.umask(before)
    try:
        ready()
        await stop.wait()
    finally:
        server.close()
        for task in sessions:
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        path.unlink(missing_ok=True)


async def _session(lines: Lines, served: Served) -> None:
    try:
        await Session(lines, served).run()
    except BrokenWire as error:
        logger.warning("the host said what the protocol does not know: %s", error)


class Session:
    """One connection of a host."""

    def __init__(self, lines: Lines, served: Served) -> None:
        self._lines, self._served = lines, served
        self._asking = Asking(lines)
        self._context: RemoteContext | None = None
        self._hello: HostHello | None = None
        self._workers = asyncio.Semaphore(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the connection ends."""
        self._lines.send({"hello": self._served.hello})
        try:
            while (line := await self._lines.read()) is not None:
                self._take(messages.from_host(line))
        finally:
            self._asking.give_up()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._lines.close()

    def _take(self, message: FromHost) -> None:
        if message.reply_to is not None:
            self._asking.answered(message)
        elif message.hello is not None:
            self._hello = message.hello
            self._workers = asyncio.Semaphore(message.hello.workers)
            self._context = RemoteContext(message.hello, self._asking)
        elif self._context is None:
            raise BrokenWire("the first message is not hello")
        elif message.config is not None:
            self._configure(message, message.config)
        elif message.cancel is not None:
            task = self._requests.get(message.cancel)
            if task is not None:
                task.cancel()
        elif message.event is not None and message.sequence is not None:
            self._spawn(self._event(message))
        elif message.event is not None and message.request_id is not None:
            number = message.request_id
            self._requests[number] = task = self._spawn(self._request(number, message))
            task.add_done_callback(lambda _: self._requests.pop(number, None))

    def _configure(self, message: FromHost, config: Mapping[str, Any]) -> None:
        """Settings and limits are these from the next event on; what is under way ends as it began."""
        assert self._context is not None
        assert self._hello is not None
        self._context.configure(config)
        workers, timeout_s = message.workers or self._hello.workers, message.timeout_s or self._hello.timeout_s
        if workers != self._hello.workers:
            self._workers = asyncio.Semaphore(workers)
        self._hello = msgspec.structs.replace(self._hello, workers=workers, timeout_s=timeout_s)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _event(self, message: FromHost) -> None:
        assert message.event is not None
        assert message.sequence is not None
        assert self._hello is not None
        answer: dict[str, Any] = {"ack": message.sequence}
        async with self._workers:
            try:
                event = event_of(message.event, message.sequence, message.timestamp, message.node_id, message.payload)
                data = await self._served.call(
                    "mosaicfs_file_event", self._hello.timeout_s, context=self._context, event=event
                )
                if data:
                    answer["annotation"] = calls.encoded(data)
            except MosaicError as error:
                answer["error"] = error.message
            except (TypeError, ValueError) as error:
                answer["error"] = f"the answer is no JSON object: {error}"
        self._lines.send(answer)

    async def _request(self, number: int, message: FromHost) -> None:
        assert message.event is not None
        try:
            if message.event == "crawl_requested":
                await self._crawl(number, message)
                answer: dict[str, Any] = {"request_id": number, "done": True}
            else:
                answer = {"request_id": number, "result": calls.encoded(await self._answer(number, message))}
        except MosaicError as error:
            answer = {"request_id": number, "error": ToldError(message=error.message, code=error.code)}
        except (TypeError, ValueError) as error:
            answer = {"request_id": number, "error": ToldError(message=f"the answer is no JSON: {error}")}
        self._lines.send(answer)

    async def _answer(self, number: int, message: FromHost) -> Any:
        assert self._context is not None
        assert self._hello is not None
        context, limit = self._context, self._hello.timeout_s
        match message.event:
            case "query":
                request = msgspec.convert(message.payload, QueryRequest)
                return await self._served.call("mosaicfs_query", request.timeout_s, context=context, request=request)
            case "health_check":
                return await self._served.call("mosaicfs_health", limit, context=context)
            case "run":
                return await self._served.call("mosaicfs_run", None, context=context)
            case "watch":

                async def emit(operations: Sequence[FileOperation]) -> None:
                    await context.emit(number, operations)

                return await self._served.call("mosaicfs_watch", None, context=context, emit=emit)
        raise UserError(f"event: this plugin does not know {message.event!r}", field="event")

    async def _crawl(self, number: int, message: FromHost) -> None:
        request = msgspec.convert(message.payload, CrawlRequest)
        items = self._served.iterate("mosaicfs_crawl", context=self._context, request=request)
        async with aclosing(items):
            async for item in items:
                operations = item if isinstance(item, list | tuple) else [item]
                for start in range(0, max(len(operations), 1), _CHUNK):
                    body = [operation_body(operation) for operation in operations[start : start + _CHUNK]]
                    self._lines.send({"request_id": number, "files": body})
                    await self._lines.drain()
