"""The shape of a measurement and how measurements are taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    ``ours`` and the values of ``peers`` are in ``unit``. ``promise`` is what was promised, in words; ``holds`` says
    whether this run kept it (None: nothing was promised). ``rounds`` is the number of measurements of which ``ours`` is
    the median, or what it says it is.
    """

    what: str
    ours: float
    unit: str
    peers: Mapping[str, float] = field(default_factory=dict)
    promise: str = ""
    holds: bool | None = None
    note: str = ""
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of one benchmark found. ``date`` is the day (UTC, ISO), ``machine`` says what it ran on."""

    date: str
    machine: str
    rows: Sequence[Row]


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds that ``action`` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


ROUNDS = 5
"""How often a figure is measured unless its row says otherwise."""
SHOWN = 0.01
"""Below this scale a benchmark shows that it runs, and nothing more."""


def rounds_at(scale: float, rounds: int = ROUNDS) -> int:
    """How many of ``rounds`` are measured at a scale: one where the figures mean nothing."""
    return rounds if scale >= SHOWN else 1


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over all rounds, each of which has the figures of the first."""
    return {what: statistics.median(one[what] for one in rounds) for what in rounds[0]}


def median_seconds(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median of several runs of ``action``, in seconds."""
    return statistics.median(seconds(action) for _ in range(rounds))
