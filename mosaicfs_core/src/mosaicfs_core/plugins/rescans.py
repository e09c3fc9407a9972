"""Looks at what is installed while a process runs, and who is told of what they find."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from mosaicfs_core.supervision import end_tasks

logger = logging.getLogger(__name__)

Tell = Callable[[], Coroutine[Any, Any, None]]


class Rescans:
    """Looks, one after the other. ``listeners`` are called when other plugins are found installed than before, and
    again with the next look until none of them fails: what is found is not found a second time."""

    def __init__(self) -> None:
        self.listeners: list[Tell] = []
        self._untold: frozenset[str] = frozenset()
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[frozenset[str]]] = set()
        self._telling: dict[Tell, asyncio.Task[None]] = {}

    async def look(self, find: Callable[[], frozenset[str]]) -> frozenset[str]:
        """Have ``find`` look, in a thread, and tell the listeners; the names of plugins that are others than when all
        of them heard last. Goes on to its end when whoever waits for it is cancelled."""
        task = asyncio.create_task(self._look(find), name="look at installed plugins")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def leave(self, tell: Tell) -> None:
        """Call a listener no more, and end what it does at the moment; the others hear all the same."""
        self.listeners.remove(tell)
        if tell in self._telling:
            await end_tasks(self._telling[tell])

    async def _look(self, find: Callable[[], frozenset[str]]) -> frozenset[str]:
        async with self._turn:
            self._untold |= await asyncio.to_thread(find)
            news = self._untold
            if news and all([await self._heard(tell) for tell in list(self.listeners)]):
                self._untold = frozenset()
            return news

    async def _heard(self, tell: Tell) -> bool:
        """Tell a listener; whether it need not be told again. One that has left meanwhile wants to hear nothing."""
        if tell not in self.listeners:
            return True
        task = self._telling[tell] = asyncio.create_task(tell(), name="tell of installed plugins")
        try:
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
        finally:
            del self._telling[tell]
        if isinstance(outcome, Exception):
            text = "what is installed now is not taken over before the next look: %s"
            logger.error(text, outcome, exc_info=outcome)
            return False
        return True
