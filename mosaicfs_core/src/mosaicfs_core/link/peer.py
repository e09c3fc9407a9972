"""One end of a link: asks the other end, answers what it asks, both at any time and many at once, all of it bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from mosaicfs_core.errors import MosaicError, NotFound, Unavailable, UserError
from mosaicfs_core.link.messages import Answer, BrokenLink, Cancel, Request, decode, encode, error_body
from mosaicfs_core.supervision import end_tasks
from mosaicfs_core.wording import in_words

logger = logging.getLogger(__name__)

Method: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]
"""Takes the params, returns what can be written as JSON, raises a ``MosaicError``."""

T = TypeVar("T")
MAX_SERVED: Final = 64
"""Requests of the other side that are worked on at a time; more are refused."""
MAX_ASKED: Final = 256
"""Requests of ours that may be open at a time."""
SEND_S: Final = 30.0
"""A message that the other side does not take for so long ends the link."""
LAST_WORD_S: Final = 1.0
"""How long what the other side said last may take to arrive, once nothing can be sent any more."""


def params_of(kind: type[T], given: Mapping[str, Any]) -> T:
    """The params of a request as a struct. Raises ``UserError`` with the field."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        field, problem = in_words(error, kind)
        raise UserError(f"{field or 'the params'}: {problem}", field=field) from None


class Peer:
    """One end. ``send`` hands a message to the transport, which gives every message that arrives to ``take`` and calls
    ``close`` once it has ended. Lives on one event loop."""

    def __init__(self, send: Callable[[str], Awaitable[None]], methods: Mapping[str, Method], name: str = "") -> None:
        self._send_text = send
        self._methods = methods
        self.name = name
        self._next = 0
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._closed: str | None = None
        self.broken = asyncio.Event()
        """Set when the transport should be closed: a message could not be sent, or ``close`` was called."""

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._closed is not None

    @property
    def reason(self) -> str:
        """Why nothing can be asked any more."""
        return self._closed or "a message could not be sent"

    async def call(self, method: str, params: Mapping[str, Any] | None = None, timeout: float = 30.0) -> Any:
        """Ask and wait for the answer, at most ``timeout`` seconds.

        Raises the other side's ``MosaicError``, or ``Unavailable`` when the link is gone or ends, or no answer came in
        time. When the caller is cancelled or gives up, the other side is told.
        """
        if self._closed is not None:
            raise Unavailable(self._closed)
        if len(self._asked) >= MAX_ASKED:
            raise Unavailable("too many requests are under way on this link", retry_after=1)
        self._next += 1
        number = self._next
        text = encode({"id": number, "method": method, "params": dict(params or {})})
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(timeout):
                await self._send(text)
                return await answer
        except TimeoutError:
            self._take_back(number)
            raise Unavailable(f"no answer to {method} within {timeout:g} s", retry_after=timeout) from None
        except asyncio.CancelledError:
            self._take_back(number)
            raise
        finally:
            del self._asked[number]
            answer.cancel()

    def take(self, data: str | bytes) -> None:
        """A message has arrived. Raises ``BrokenLink`` when the connection should be ended because of it."""
        message = decode(data)
        if isinstance(message, Request):
            self._serve(message)
        elif isinstance(message, Cancel):
            if (task := self._serving.get(message.id)) is not None:
                task.cancel()
        else:
            self._answered(message)

    async def close(self, reason: str = "the connection has ended") -> None:
        """End: whoever waits for an answer gets ``Unavailable``, what is being worked on is cancelled."""
        if self._closed is None:
            self._closed = reason
        self.broken.set()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(Unavailable(self._closed))
        tasks = [task for task in self._serving.values() if task is not asyncio.current_task()]
        await end_tasks(*tasks)

    def _answered(self, message: Answer) -> None:
        answer = self._asked.get(message.id)
        if answer is None or answer.done():
            return  # it came too late, and nobody waits for it
        if message.error is None:
            answer.set_result(message.result)
        else:
            answer.set_exception(message.error)

    def _serve(self, message: Request) -> None:
        if message.id in self._serving:
            raise BrokenLink(f"request {message.id} was asked twice")
        if self._closed is not None:
            return
        if len(self._serving) >= 2 * MAX_SERVED:
            raise BrokenLink("requests that were refused are repeated without waiting for the refusal")
        busy = len(self._serving) >= MAX_SERVED
        work = self._refuse(message) if busy else self._work(message)
        task = asyncio.create_task(work, name=f"link {message.method}")
        self._serving[message.id] = task
        task.add_done_callback(lambda _: self._serving.pop(message.id, None))

    async def _refuse(self, message: Request) -> None:
        await self._answer(message, error=Unavailable("too many requests at once", retry_after=1))

    async def _work(self, message: Request) -> None:
        method = self._methods.get(message.method)
        try:
            if method is None:
                raise NotFound(f"there is no method {message.method}")
            result = await method(message.params)
        except MosaicError as error:
            await self._answer(message, error=error)
        except Exception:  # whoever asked must not wait for an answer that never comes
            logger.exception("a request over the link failed", extra={"operation": f"link {message.method}"})
            await self._answer(message, error=MosaicError("the request failed; the log there has the details"))
        else:
            await self._answer(message, result)

    async def _answer(self, message: Request, result: Any = None, error: MosaicError | None = None) -> None:
        body = {"result": result} if error is None else {"error": error_body(error)}
        try:
            text = encode({"id": message.id, **body})
        except (MosaicError, TypeError, ValueError) as problem:
            told = problem if isinstance(problem, MosaicError) else MosaicError("the answer could not be written")
            text = encode({"id": message.id, "error": error_body(told)})
        try:
            async with asyncio.timeout(SEND_S):
                await self._send(text)
        except (TimeoutError, Unavailable):
            self.broken.set()

    async def _send(self, text: str) -> None:
        try:
            await self._send_text(text)
        except (OSError, RuntimeError) as error:  # the transport is closing, or closed
            self.broken.set()
            raise Unavailable(f"the connection broke: {error}") from error

    def _take_back(self, number: int) -> None:
        if self._closed is None and not self.broken.is_set():
            task = asyncio.create_task(self._cancel(number), name="link cancel")
            key = -number  # never the id of a request of the other side
            self._serving[key] = task
            task.add_done_callback(lambda _: self._serving.pop(key, None))

    async def _cancel(self, number: int) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await self._send(encode({"id": number, "cancel": True}))
        except (TimeoutError, Unavailable):
            self.broken.set()


async def converse(peer: Peer, receive: Callable[[], Awaitable[str | bytes | None]], idle_s: float) -> str:
    """Hand what arrives to the peer until the link ends, and close the peer; returns why it ended.

    ``receive`` gives the next message, None once the connection has ended. A side that says nothing for ``idle_s``
    seconds is taken to be gone: the other one asks often enough.
    """
    broken = asyncio.create_task(peer.broken.wait(), name="link broken")
    reason = "the connection has ended"
    try:
        while True:
            message = asyncio.ensure_future(receive())
            try:
                await asyncio.wait({message, broken}, timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
                if broken.done() and not peer.closed:  # the other side may have said why before it hung up
                    await asyncio.wait({message}, timeout=LAST_WORD_S)
                if broken.done() and not message.done():
                    reason = peer.reason
                    break
                if not message.done():
                    reason = f"nothing was heard for {idle_s:g} s"
                    break
            finally:
                message.cancel()
            data = message.result()
            if data is None:
                break
            peer.take(data)
    except BrokenLink as error:
        reason = error.message
    finally:
        broken.cancel()
        await peer.close(reason)
    return reason
