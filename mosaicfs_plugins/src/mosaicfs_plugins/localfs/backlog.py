"""How many changes wait to be indexed, told in the node's status when they are many."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mosaicfs_core.hooks import PluginContext

MANY: Final = 100
"""Fewer changes are not worth a word."""
TELL_EVERY_S: Final = 1.0


class Backlog:
    """The figure ``waiting`` of an instance's report, which the status shows with its watchers."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._told, self._at = 0, 0.0

    async def tell(self, waiting: int) -> None:
        """Now it is so many. The end of a backlog is told at once, not each step on the way."""
        waiting = waiting if waiting >= MANY else 0
        now = time.monotonic()
        if waiting != self._told and not (waiting and self._told and now - self._at < TELL_EVERY_S):
            self._told, self._at = waiting, now
            await self._context.report("healthy", figures={"waiting": waiting} if waiting else None)
