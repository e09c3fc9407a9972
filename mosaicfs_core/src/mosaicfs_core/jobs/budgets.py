"""How much an instance may do, and when: hours of the day, a rate, jobs and bytes per day. Pure.

A budget is asked right before jobs are taken: how many, of how many bytes, or not before when, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import UserError
from mosaicfs_core.jobs.records import Usage
from mosaicfs_core.wording import in_words

_MOST: Final = 2**53
_HOURS: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]" + END

_Hours = Annotated[str, Meta(pattern=_HOURS)]
_Amount = Annotated[int, Meta(ge=1, le=_MOST)]
_Rate = Annotated[float, Meta(gt=0, le=1e6)]


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an instance's document says under ``budget``; what is absent is not limited.

    ``hours`` are spans of local time, ``22:00-06:00``; one whose ends are the same is the whole day. ``per_minute`` is
    the rate of jobs. ``steps`` are filter steps which a file must pass to be enqueued at all.
    """

    hours: tuple[_Hours, ...] = ()
    per_minute: _Rate | None = None
    jobs_per_day: _Amount | None = None
    bytes_per_day: _Amount | None = None
    steps: tuple[Mapping[str, Any], ...] = ()


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What may be taken now: at most ``jobs`` (None: any number) of at most ``bytes`` together. With ``jobs`` 0 nothing
    may, before ``not_before`` (local time), and ``why`` says so in a sentence."""

    jobs: int | None = None
    bytes: int | None = None
    not_before: datetime | None = None
    why: str = ""


def parse_budget(value: Any) -> Budget:
    """The budget that a document names; None is one without limits. Raises ``UserError`` with the field."""
    if value is None:
        return Budget()
    try:
        return msgspec.convert(value, Budget)
    except msgspec.ValidationError as error:
        field, problem = in_words(error, Budget)
        where = f"budget.{field}" if field else "budget"
        raise UserError(f"{where}: {problem}", field=where) from None


def day_of(now: datetime) -> str:
    """The day that ``now`` counts to, as ``Usage.day`` says it."""
    return now.date().isoformat()


def allowance(budget: Budget, usage: Usage, now: datetime) -> Allowance:
    """What ``budget`` leaves at the local time ``now`` after ``usage``."""
    for refusal in (_outside_hours(budget.hours, now), _used_up(budget, usage, now), _too_soon(budget, usage, now)):
        if refusal is not None:
            return refusal
    today = usage if usage.day == day_of(now) else Usage()
    jobs = None if budget.jobs_per_day is None else budget.jobs_per_day - today.jobs
    if budget.per_minute is not None:
        at_once = max(1, int(budget.per_minute / 60))
        jobs = at_once if jobs is None else min(jobs, at_once)
    size = None if budget.bytes_per_day is None else budget.bytes_per_day - today.bytes
    return Allowance(jobs=jobs, bytes=size)


def _outside_hours(hours: Sequence[str], now: datetime) -> Allowance | None:
    spans = [span.split("-") for span in hours]
    at = now.time().strftime("%H:%M")
    if not spans or any(_within(at, start, end) for start, end in spans):
        return None
    begin = min(_next(now, start) for start, _ in spans)
    return Allowance(jobs=0, not_before=begin, why=f"It works at {', '.join(hours)} only.")


def _within(at: str, start: str, end: str) -> bool:
    if start == end:
        return True
    return start <= at < end if start < end else at >= start or at < end


def _next(now: datetime, start: str) -> datetime:
    hour, minute = (int(part) for part in start.split(":"))
    moment = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return moment if moment > now else moment + timedelta(days=1)


def _used_up(budget: Budget, usage: Usage, now: datetime) -> Allowance | None:
    if usage.day != day_of(now):
        return None
    tomorrow = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
    if budget.jobs_per_day is not None and usage.jobs >= budget.jobs_per_day:
        return Allowance(jobs=0, not_before=tomorrow, why=f"It has done its {counted(budget.jobs_per_day)} of today.")
    if budget.bytes_per_day is not None and usage.bytes >= budget.bytes_per_day:
        return Allowance(jobs=0, not_before=tomorrow, why=f"The {budget.bytes_per_day:,} bytes of today are used up.")
    return None


def counted(jobs: float) -> str:
    """A number of jobs in words."""
    number = f"{int(jobs):,}" if jobs == int(jobs) else f"{jobs:g}"
    return f"{number} {'job' if jobs == 1 else 'jobs'}"


def _too_soon(budget: Budget, usage: Usage, now: datetime) -> Allowance | None:
    if budget.per_minute is None:
        return None
    apart = max(1, int(budget.per_minute / 60)) * 60 / budget.per_minute
    since = now.timestamp() - usage.last_at / 1_000_000
    if not 0 <= since < apart:  # a clock that was set back is no reason to wait for ever
        return None
    moment = now + timedelta(seconds=apart - since)
    return Allowance(jobs=0, not_before=moment, why=f"It is given {counted(budget.per_minute)} a minute.")
