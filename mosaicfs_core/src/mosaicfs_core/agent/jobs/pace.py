"""How far ahead of a plugin its jobs are taken from the queue. Pure.

Taking jobs waits for the disk, so a quick plugin would wait for it more than it works if it got them one by one. A slow
one gets nothing ahead: what waits at the queue can still be changed, held and dropped, what was taken cannot.
"""

from __future__ import annotations

from typing import Final

AHEAD_S: Final = 0.05
"""As many jobs are taken ahead as the plugin does in this time, so that a pause takes effect within it."""
MOST_AHEAD: Final = 256
_WEIGHT: Final = 0.1


class Pace:
    """Learns from each file how long one takes."""

    def __init__(self) -> None:
        self._usual_s: float | None = None

    def took(self, seconds: float) -> None:
        """A file took so long at the plugin."""
        before = seconds if self._usual_s is None else self._usual_s
        self._usual_s = before + (seconds - before) * _WEIGHT

    def ahead(self, width: int) -> int:
        """How many jobs to have ready for a plugin that gets ``width`` at once; 0 as long as nothing is known of it."""
        if self._usual_s is None:
            return 0
        return min(MOST_AHEAD, int(width * AHEAD_S / max(self._usual_s, 1e-6)))
