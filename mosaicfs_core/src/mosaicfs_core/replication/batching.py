"""How many documents to move at once: as many as take about a second and a few megabytes. Pure."""

from __future__ import annotations

from typing import Final

SMALLEST: Final = 1
FIRST: Final = 500
LARGEST: Final = 2_000
QUICK_S: Final = 0.5
SLOW_S: Final = 2.0
BYTES: Final = 4 << 20
"""What a batch may weigh, by the average of the last one."""


class BatchSize:
    """The size of the next batch. A quick one doubles it, a slow one halves it, a failed one quarters it."""

    def __init__(self, first: int = FIRST, largest: int = LARGEST) -> None:
        self._wanted, self._largest = first, largest
        self._average = 0.0

    @property
    def documents(self) -> int:
        """How many documents the next batch should have."""
        if self._average * self._wanted <= BYTES:
            return self._wanted
        return max(SMALLEST, int(BYTES / self._average))

    def moved(self, documents: int, seconds: float, size: int = 0) -> None:
        """A batch of ``documents`` arrived, ``size`` bytes in all (0: not known), after ``seconds``."""
        if documents and size:
            self._average = size / documents
        if seconds > SLOW_S:
            self._wanted = max(SMALLEST, self._wanted // 2)
        elif seconds < QUICK_S and documents >= self._wanted // 2:
            self._wanted = min(self._largest, self._wanted * 2)

    def failed(self) -> None:
        """A batch did not arrive, perhaps because it was too much."""
        self._wanted = max(SMALLEST, self._wanted // 4)
