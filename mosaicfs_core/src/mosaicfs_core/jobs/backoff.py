"""When a failed job comes again. Pure but for the random number it is given."""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 5.0
LONGEST_S: Final = 3600.0


def delay(attempts: int, chance: float) -> float:
    """Seconds until the next attempt after ``attempts`` (1 and more) that failed: doubles from 5 s to an hour, of which
    ``chance`` (0 to 1) takes up to a half away, so that what failed together does not come again together."""
    whole = min(LONGEST_S, FIRST_S * 2.0 ** min(attempts - 1, 32))
    return whole * (1 - chance / 2)
