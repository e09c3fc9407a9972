"""Tasks beside others: those that nobody waits for, of which no error must go unnoticed or fill the log, and how tasks
are ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from mosaicfs_core.errors import MosaicError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""The longest pause before another attempt; a task that ran for longer counts as well again."""


class Standing:
    """A problem that may stand for long: logged when it begins, when it becomes another one, and when it comes back.

    While it stays what it is, further attempts that fail are for those alone who ask for ``debug``.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._said: str | None = None

    def met(self, level: int, text: str, **more: Any) -> None:
        """Log ``text`` at a level, unless it was the last thing said. ``more`` are ``logging``'s ``extra`` and
        ``exc_info``."""
        self._logger.log(logging.DEBUG if text == self._said else level, "%s", text, **more)
        self._said = text

    def gone(self) -> None:
        """It is no problem any more."""
        self._said = None


async def supervised(
    name: str,
    work: Callable[[], Awaitable[None]],
    failing: MutableMapping[str, str],
    *,
    first_pause_s: float = FIRST_PAUSE_S,
) -> None:
    """Run ``work`` until it returns, again after a growing pause whenever it raises an ``Exception``.

    What went wrong is logged with its traceback, once as long as it is the same, and stands under ``name`` in
    ``failing`` until the task has ended well or run for ``LONGEST_PAUSE_S``. Cancel it to stop.
    """
    loop = asyncio.get_running_loop()
    pause, problem = first_pause_s, Standing(logger)
    try:
        while True:
            begun = time.monotonic()
            well = loop.call_later(LONGEST_PAUSE_S, failing.pop, name, None)
            try:
                return await work()
            except Exception as error:  # noqa: BLE001 - whatever it was is told
                if time.monotonic() - begun > LONGEST_PAUSE_S:
                    pause = first_pause_s
                    problem.gone()
                failing[name] = reason = f"{type(error).__name__}: {error}"
                text = f"{name} failed and starts again: {reason}"
                problem.met(logging.ERROR, text, exc_info=True, extra={"operation": name})
            finally:
                well.cancel()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
    finally:
        failing.pop(name, None)


async def logged(name: str, work: Awaitable[Any]) -> None:
    """Run ``work`` once. What it raises is logged, with its traceback where nobody raised it on purpose."""
    try:
        await work
    except MosaicError as error:
        logger.warning("%s failed", name, extra={"operation": name, "error": str(error)})
    except Exception:
        logger.exception("%s failed", name, extra={"operation": name})


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait for their end. What they raise is dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def first_of(*works: Awaitable[Any]) -> None:
    """Wait until one of these has ended, well or not, and end the others."""
    waits = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(*waits)
