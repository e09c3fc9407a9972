"""Time and chance, given to whatever depends on them, so that tests can decide both."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..documents import now_micros


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``monotonic`` in seconds, ``now`` in microseconds since the epoch (for people to read: nothing is decided by it),
    ``random`` in [0, 1)."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], int] = now_micros
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
