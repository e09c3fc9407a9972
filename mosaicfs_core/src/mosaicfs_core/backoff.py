"""How long to wait before trying again: twice as long each time up to a limit, with jitter. Pure but for the dice."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 60.0


class Backoff:
    """Pauses in seconds. A machine that comes back must not meet all its callers in the same instant, so each pause is
    somewhere between half of what it grew to and the whole."""

    def __init__(
        self, dice: Callable[[], float] = random.random, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S
    ) -> None:
        self._dice, self._first_s, self._longest_s = dice, first_s, longest_s
        self._failures = 0

    def next(self, at_least: float | None = None) -> float:
        """The pause before the next attempt; ``at_least`` is what the other side asked for."""
        grown = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        pause = grown * (0.5 + 0.5 * self._dice())
        return pause if at_least is None else min(self._longest_s, max(pause, at_least))

    def reset(self) -> None:
        """It went well: begin anew."""
        self._failures = 0
