"""A plugin that works, and cannot do its work at present for want of something else (a server, a disk)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from mosaicfs_core.backoff import Backoff

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class Outage:
    """Learns from each job whether what the plugin needs is there. It is given nothing for a growing while when that
    is not so, then one job at a time until one is done.

    A single job may be about its file alone (whose machine is off), so it takes two in a row.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, dice: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._backoff = Backoff(dice, first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)
        self._in_a_row, self._until = 0, 0.0
        self._reason = ""

    def told(self, reason: str) -> None:
        """A job could not be done for want of something. Those that were under way when the pause began say nothing
        new."""
        self._in_a_row += 1
        if self._in_a_row > 1 and not self.left:
            self._until, self._reason = self._clock() + self._backoff.next(), reason

    def over(self) -> None:
        """A job was done, or failed for another reason."""
        self._in_a_row, self._until, self._reason = 0, 0.0, ""
        self._backoff.reset()

    @property
    def lasts(self) -> bool:
        """Whether it is being found out if it is over."""
        return bool(self._reason)

    @property
    def left(self) -> float:
        """Seconds until the next job may be tried; 0 when it may."""
        return max(0.0, self._until - self._clock())

    @property
    def why(self) -> str:
        """Why no job may be tried now, in a sentence; empty when one may."""
        return f"What the plugin needs is not there at present: {self._reason}" if self.left else ""
