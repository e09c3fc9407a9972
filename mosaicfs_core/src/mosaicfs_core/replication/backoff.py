"""How long to wait before trying again. Pure but for the random numbers it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 60.0


class Backoff:
    """Doubles from ``first`` to ``longest`` seconds; each wait is a random part of that, half of it at least, so that
    many machines that lost one server do not come back all at once."""

    def __init__(self, random: Callable[[], float], *, first: float = FIRST_S, longest: float = LONGEST_S) -> None:
        self._random, self._first, self._longest = random, first, longest
        self._failures = 0

    def next(self, at_least: float | None = None) -> float:
        """Seconds to wait after one more failure; ``at_least`` is what the other side asked for."""
        whole = min(self._longest, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        wait = whole * (0.5 + self._random() / 2)
        return wait if at_least is None else min(self._longest, max(wait, at_least))

    def reset(self) -> None:
        """It worked: begin anew next time."""
        self._failures = 0
