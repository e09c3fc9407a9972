"""Times: integers inside (microseconds since the Unix epoch, UTC), text in documents.

The text is ISO 8601 with exactly six fractional digits and ``Z``, so that times sort as text.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import UserError

TIME_PATTERN: Final = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z" + END
)
MICROS_PER_SECOND: Final = 1_000_000
MICROS_PER_DAY: Final = 86_400 * MICROS_PER_SECOND

_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST: Final = (datetime.min - _EPOCH) // _MICROSECOND
_LAST: Final = (datetime.max - _EPOCH) // _MICROSECOND
_is_canonical = re.compile(TIME_PATTERN).match


def now_micros() -> int:
    """The present, in microseconds since the epoch."""
    return time.time_ns() // 1000


def kept_micros(micros: int) -> int:
    """A time as ``format_time`` writes it: what lies outside the years 1 to 9999 is moved to the nearest end.

    File systems hold such times (a damaged inode, a wrong clock); the file must be indexed all the same, and compared
    with what was written of it.
    """
    return min(max(micros, _FIRST), _LAST)


def format_time(micros: int) -> str:
    """``2026-02-16T09:22:00.000000Z``, of the nearest time that can be written (``kept_micros``)."""
    try:
        moment = _EPOCH + timedelta(0, 0, micros)
    except OverflowError:
        moment = _EPOCH + timedelta(0, 0, kept_micros(micros))
    return moment.isoformat("T", "microseconds") + "Z"


def now_text() -> str:
    """The present as documents write it."""
    return format_time(now_micros())


def parse_canonical(text: str) -> int:
    """Microseconds of a time in the form that documents use; anything else is a ``UserError``."""
    if _is_canonical(text) is not None and len(text) == 27:
        try:
            return (datetime.fromisoformat(text[:26]) - _EPOCH) // _MICROSECOND
        except ValueError:  # the pattern lets through the 31st of February
            pass
    raise UserError(f"{text!r} is not a time: expected the form 2026-02-16T09:22:00.000000Z")


def parse_time(text: str) -> int:
    """Microseconds of a time as a person or a program may write it.

    Takes every ISO 8601 form that has a date; without an offset the time is UTC, without a time it is midnight. Raises
    ``UserError``.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH_UTC) // _MICROSECOND
    except (ValueError, OverflowError):
        raise UserError(
            f"{text!r} is not a time: expected ISO 8601 such as 2026-02-16 or 2026-02-16T09:22:00Z"
        ) from None
