"""Running one implementation of a work hook: time limits, error capture, attribution, cancellation.

A hook runs in a task of its own. So its exceptions, ``SystemExit`` included, stay there; a time limit ends it; and one
that ignores its cancellation is left behind, with a line in the log, instead of holding up whoever called. A hook that
blocks the event loop cannot be ended in process.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from mosaicfs_core.errors import PluginError
from mosaicfs_core.plugins.containment import Arguments, as_plugin_error, fail, start
from mosaicfs_core.plugins.operations import check_yielded
from mosaicfs_core.plugins.places import Places

logger = logging.getLogger("mosaicfs.plugins")

GRACE_S: Final = 5.0
_END: Final = object()


async def call_coroutine(
    plugin: str, hook: str, function: Callable[..., Any], arguments: Arguments, timeout: float | None
) -> Any:
    """Await a work hook for at most ``timeout`` seconds (None: for ever). Raises ``PluginError``."""
    awaitable = start(plugin, hook, function, arguments)
    if not inspect.isawaitable(awaitable):
        raise PluginError(f"plugin {plugin}: {hook} returned {type(awaitable).__name__}, not a coroutine", plugin, hook)
    task = asyncio.ensure_future(_contain(plugin, hook, awaitable))
    task.set_name(f"{plugin}.{hook}")
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        await _end(plugin, hook, task)
        raise
    if not done:
        await _end(plugin, hook, task)
        raise PluginError(f"plugin {plugin}: {hook} did not finish within {timeout:g} s", plugin, hook, timed_out=True)
    if task.cancelled():
        raise PluginError(f"plugin {plugin}: {hook} cancelled itself", plugin, hook)
    return task.result()


async def iterate(
    plugin: str,
    hook: str,
    function: Callable[..., Any],
    arguments: Arguments,
    stall_timeout: float | None,
    places: Places | None = None,
) -> AsyncGenerator[Any, None]:
    """Yield what an async-generator hook yields, checked, each within ``stall_timeout`` seconds of being asked for.

    All paths must lie in the own ``places`` (None: anywhere).
    The hook goes on only when the next item is asked for. However this ends (break and ``aclose``, cancellation, an
    error), the hook's generator is closed before the end is seen. Raises ``PluginError``.
    """
    generator = start(plugin, hook, function, arguments)
    if not (hasattr(generator, "__anext__") and hasattr(generator, "aclose")):
        kind = type(generator).__name__
        raise PluginError(f"plugin {plugin}: {hook} returned {kind}, not an async generator", plugin, hook)
    feed = _Feed(plugin, hook, generator, stall_timeout)
    try:
        while (item := await feed.next()) is not _END:
            problem = check_yielded(item, places)
            if problem is not None:
                raise PluginError(f"plugin {plugin}: {hook} yielded {problem}", plugin, hook)
            yield item
    finally:
        await feed.close()


class _Feed:
    """One generator in one task, one item at a time: the task runs on only when the next item is asked for."""

    def __init__(
        self, plugin: str, hook: str, generator: AsyncGenerator[Any, None], stall_timeout: float | None
    ) -> None:
        self._plugin, self._hook, self._generator, self._stall = plugin, hook, generator, stall_timeout
        self._loop = asyncio.get_running_loop()
        self._item: asyncio.Future[Any] | None = None
        self._wanted: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._asked_at: float | None = None
        self._watchdog: asyncio.TimerHandle | None = None

    async def next(self) -> Any:
        """The next item, or ``_END``."""
        self._item = self._loop.create_future()
        self._asked_at = self._loop.time()
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name=f"{self._plugin}.{self._hook}")
        elif self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
        if self._stall is not None and self._watchdog is None:
            self._watchdog = self._loop.call_at(self._asked_at + self._stall, self._check_stall)
        try:
            return await self._item
        finally:
            self._asked_at = None

    async def close(self) -> None:
        """End the task; the generator is closed inside it."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._task is not None:
            await _end(self._plugin, self._hook, self._task)

    async def _run(self) -> None:
        try:
            try:
                async for item in self._generator:
                    self._wanted = self._loop.create_future()
                    self._deliver(item)
                    await self._wanted
            finally:
                await self._generator.aclose()
        except asyncio.CancelledError:
            self._deliver_error(
                PluginError(f"plugin {self._plugin}: {self._hook} cancelled itself", self._plugin, self._hook)
            )
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge to foreign code
            self._deliver_error(as_plugin_error(self._plugin, self._hook, error))
        else:
            self._deliver(_END)

    def _deliver(self, item: Any) -> None:
        if self._item is not None and not self._item.done():
            self._item.set_result(item)

    def _deliver_error(self, error: PluginError) -> None:
        if self._item is not None and not self._item.done():
            self._item.set_exception(error)

    def _check_stall(self) -> None:
        # One timer for the whole crawl, moved on when it finds that items did come: a timer per item would cost more
        # than many an item.
        assert self._stall is not None
        now = self._loop.time()
        waiting_since = now if self._asked_at is None else self._asked_at
        if now - waiting_since < self._stall:
            self._watchdog = self._loop.call_at(waiting_since + self._stall, self._check_stall)
            return
        message = f"plugin {self._plugin}: {self._hook} yielded nothing for {self._stall:g} s"
        self._deliver_error(PluginError(message, self._plugin, self._hook, timed_out=True))


async def _contain(plugin: str, hook: str, awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the edge to foreign code
        fail(plugin, hook, error)


async def _end(plugin: str, hook: str, task: asyncio.Future[Any]) -> None:
    """Cancel a hook's task and wait for its end, but no longer than the grace: then it is left behind."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=GRACE_S)
    if not task.done():
        logger.error(
            "plugin %s: %s ignores its cancellation and was left running", plugin, hook, extra={"plugin": plugin}
        )
        task.add_done_callback(_forget)
        return
    _forget(task)


def _forget(task: asyncio.Future[Any]) -> None:
    # Take the result, so that asyncio does not report an exception that was never looked at.
    if not task.cancelled():
        task.exception()
