"""What a plugin in another process calls on its context, answered: one task for each call, a bounded number at once."""

from __future__ import annotations

import asyncio
import base64
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec

from mosaicfs_core.errors import MosaicError, Unavailable
from mosaicfs_core.hooks.context import PluginContext
from mosaicfs_core.hooks.wire import calls
from mosaicfs_core.hooks.wire.lines import Lines
from mosaicfs_core.hooks.wire.messages import ToldError

logger = logging.getLogger("mosaicfs.plugins")

AT_ONCE: Final = 64
"""Calls that one plugin may have under way."""


class Answering:
    """The calls of one connection. ``taken`` waits until the plugin has read most of what it was sent."""

    def __init__(
        self,
        lines: Lines,
        context: PluginContext,
        emit: Callable[[Mapping[str, msgspec.Raw]], Awaitable[None]],
        taken: Callable[[], Awaitable[None]],
    ) -> None:
        self._lines, self._context, self._emit, self._taken = lines, context, emit, taken
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._credits: dict[int, asyncio.Semaphore] = {}

    async def begin(self, number: int, name: str, params: Mapping[str, msgspec.Raw]) -> None:
        """Begin to answer a call. One that calls beyond its limit is heard no further until it has read that it
        must not. Raises ``ConnectionError``."""
        if number in self._tasks or len(self._tasks) >= AT_ONCE:
            self._refuse(number, Unavailable(f"at most {AT_ONCE} calls at once, each with an id of its own"))
            await self._taken()
            return
        task = asyncio.create_task(self._answer(number, name, params), name=f"{self._context.instance} calls {name}")
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    def more(self, number: int) -> None:
        """The plugin has taken a part of a stream. Plain function."""
        if number in self._credits:
            self._credits[number].release()

    def stop(self, number: int) -> None:
        """The plugin does not want the answer any more. Plain function."""
        task = self._tasks.get(number)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End all calls."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, number: int, name: str, params: Mapping[str, msgspec.Raw]) -> None:
        try:
            await self._say(number, name, params)
            # It keeps its place until then, or answers that nobody reads would fill the memory.
            await self._taken()
        except ConnectionError:
            return  # nobody is there to be answered

    async def _say(self, number: int, name: str, params: Mapping[str, msgspec.Raw]) -> None:
        """Raises ``ConnectionError``."""
        try:
            result = calls.encoded(await self._result(number, name, params))
        except ConnectionError:
            raise
        except MosaicError as error:
            self._refuse(number, error)
        except Exception as error:
            logger.exception("a call of plugin %s failed", self._context.instance, extra={"operation": name})
            self._refuse(number, MosaicError(f"{type(error).__name__}: {error}"))
        else:
            self._lines.send({"reply_to": number, "result": result})

    async def _result(self, number: int, name: str, params: Mapping[str, msgspec.Raw]) -> Any:
        if name == calls.EMIT:
            return await self._emit(params)
        arguments = calls.arguments(name, params)
        answer = getattr(self._context, name)(**arguments)
        if name in calls.STREAMED:
            return await self._stream(number, answer)
        return await answer if inspect.isawaitable(answer) else answer

    async def _stream(self, number: int, parts: AsyncGenerator[Any, None]) -> None:
        credit = self._credits[number] = asyncio.Semaphore(calls.AHEAD)
        try:
            async with aclosing(parts):
                async for part in parts:
                    await credit.acquire()
                    # JSON has no bytes.
                    item = base64.b64encode(part).decode() if isinstance(part, bytes) else calls.encoded(part)
                    self._lines.send({"reply_to": number, "item": item})
                    await self._taken()
        finally:
            del self._credits[number]

    def _refuse(self, number: int, error: MosaicError) -> None:
        self._lines.send({"reply_to": number, "error": ToldError(message=error.message, code=error.code)})
