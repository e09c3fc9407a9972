"""How many documents to move at once: as many as take about a second and a few megabytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

SMALLEST: Final = 1
FIRST: Final = 500
LARGEST: Final = 2_000
QUICK_S: Final = 0.5
SLOW_S: Final = 2.0
BYTES: Final = 4 << 20
"""What a batch should weigh, by the average of the last one."""
LEAST_BYTES: Final = 64 << 10
HEAVY: Final = 2 * BYTES
"""What the documents of one answer may weigh: the last ones may be far heavier than those before. One alone may weigh
more."""


class BatchSize:
    """The size of the next batch. A quick one doubles it, a slow one halves it, a failed one quarters it."""

    def __init__(self, first: int = FIRST, largest: int = LARGEST) -> None:
        self._wanted, self._largest = first, largest
        self._average = 0.0
        self._bytes = BYTES

    @property
    def documents(self) -> int:
        """How many documents the next batch should have."""
        if self._average * self._wanted <= self._bytes:
            return self._wanted
        return max(SMALLEST, int(self._bytes / self._average))

    def weighed(self, documents: int, size: int) -> None:
        """A batch of ``documents`` has ``size`` bytes in all."""
        if documents:
            self._average = size / documents

    def moved(self, documents: int, seconds: float) -> None:
        """A batch of ``documents`` arrived after ``seconds``."""
        if seconds > SLOW_S:
            self._wanted = max(SMALLEST, self._wanted // 2)
        elif seconds < QUICK_S and documents >= self._wanted // 2:
            self._wanted = min(self._largest, self._wanted * 2)

    def failed(self) -> None:
        """A batch did not arrive, perhaps because it was too much."""
        self._wanted = max(SMALLEST, self._wanted // 4)

    def too_heavy(self) -> None:
        """A batch was refused for its size: from now on half as much."""
        self._bytes = max(LEAST_BYTES, self._bytes // 2)
        self.failed()


def weight_of(documents: Sequence[Mapping[str, Any]]) -> int:
    """How many bytes they have together as JSON."""
    return sum(len(msgspec.json.encode(one)) for one in documents)
