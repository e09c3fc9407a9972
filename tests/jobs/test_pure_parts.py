"""Protects what is decided without the database: what collapses into what, and what a budget leaves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from mosaicfs_core.errors import UserError
from mosaicfs_core.jobs import Usage, allowance, parse_budget
from mosaicfs_core.jobs.budgets import counted
from mosaicfs_core.jobs.collapse import ADDED, DELETED, MODIFIED, back, collapse, place_known, widens

NOON = datetime(2026, 3, 4, 12, 0, 0)


@pytest.mark.parametrize(
    ("waiting", "new", "unknown", "known"),
    [
        (None, ADDED, ADDED, ADDED),
        (None, DELETED, DELETED, DELETED),
        (ADDED, MODIFIED, ADDED, ADDED),
        (ADDED, DELETED, None, DELETED),
        (MODIFIED, ADDED, MODIFIED, MODIFIED),
        (MODIFIED, MODIFIED, MODIFIED, MODIFIED),
        (MODIFIED, DELETED, DELETED, DELETED),
        (DELETED, ADDED, ADDED, ADDED),
        (DELETED, MODIFIED, ADDED, ADDED),
        (DELETED, DELETED, DELETED, DELETED),
    ],
)
def test_collapsing(waiting: int | None, new: int, unknown: int | None, known: int | None) -> None:
    assert (collapse(waiting, new, known=False), collapse(waiting, new, known=True)) == (unknown, known)


def test_how_a_file_that_is_back_is_told() -> None:
    assert back(frozenset({ADDED, MODIFIED})) == ADDED
    assert back(frozenset({MODIFIED, DELETED})) == MODIFIED
    assert back(frozenset({DELETED})) is None


def test_where_a_plugin_knows_a_file() -> None:
    assert place_known("/a", None, "/b") == "/a"
    assert place_known("/b", "/a", "/c") == "/a"
    assert place_known("/b", "/a", "/a") is None
    assert place_known(None, None, "/a") is None


def test_what_globs_let_through() -> None:
    assert not widens((), ("text/*",))
    assert not widens(("a/*", "b/*"), ("a/*",))
    assert widens(("a/*",), ())
    assert widens(("a/*",), ("b/*",))


def test_without_a_budget_everything_may_run() -> None:
    left = allowance(parse_budget(None), Usage(), NOON)
    assert (left.jobs, left.bytes, left.not_before, left.why) == (None, None, None, "")


@pytest.mark.parametrize(
    ("hours", "at", "begin"),
    [
        (["22:00-06:00"], "2026-03-04T12:00", "2026-03-04T22:00"),
        (["22:00-06:00"], "2026-03-04T23:00", None),
        (["22:00-06:00"], "2026-03-04T05:59", None),
        (["22:00-06:00"], "2026-03-04T06:00", "2026-03-04T22:00"),
        (["01:00-02:00", "03:00-04:00"], "2026-03-04T02:30", "2026-03-04T03:00"),
        (["01:00-02:00"], "2026-03-04T02:30", "2026-03-05T01:00"),
        (["00:00-00:00"], "2026-03-04T02:30", None),
    ],
)
def test_hours_of_the_day(hours: list[str], at: str, begin: str | None) -> None:
    left = allowance(parse_budget({"hours": hours}), Usage(), datetime.fromisoformat(at))
    assert left.not_before == (None if begin is None else datetime.fromisoformat(begin))
    assert (left.jobs == 0, bool(left.why)) == (begin is not None, begin is not None)


def test_what_a_day_leaves() -> None:
    budget = parse_budget({"jobs_per_day": 10, "bytes_per_day": 100})
    left = allowance(budget, Usage(day="2026-03-04", jobs=7, bytes=60), NOON)
    assert (left.jobs, left.bytes) == (3, 40)
    left = allowance(budget, Usage(day="2026-03-03", jobs=10, bytes=100), NOON)
    assert (left.jobs, left.bytes) == (10, 100)
    for usage in (Usage(day="2026-03-04", jobs=10), Usage(day="2026-03-04", bytes=101)):
        left = allowance(budget, usage, NOON)
        assert (left.jobs, left.not_before) == (0, datetime(2026, 3, 5))
        assert "today" in left.why


def test_a_rate_spreads_jobs() -> None:
    def after(seconds: float, per_minute: float) -> Any:
        last = int((NOON.timestamp() - seconds) * 1_000_000)
        return allowance(parse_budget({"per_minute": per_minute}), Usage(last_at=last), NOON)

    assert after(4, 12).not_before == NOON + timedelta(seconds=1)
    assert after(5, 12).jobs == 1
    assert after(1, 600).jobs == 10
    assert after(0.5, 600).jobs == 0
    assert after(-1_000, 12).jobs == 1  # the clock was set back


@pytest.mark.parametrize(
    "budget",
    [3, {"hours": ["25:00-26:00"]}, {"hours": "22:00-06:00"}, {"jobs_per_day": 0}, {"per_minute": -1}, {"other": 1}],
)
def test_a_budget_that_makes_no_sense(budget: Any) -> None:
    with pytest.raises(UserError, match="budget"):
        parse_budget(budget)


@pytest.mark.parametrize(("jobs", "words"), [(1, "1 job"), (1.0, "1 job"), (0.5, "0.5 jobs"), (12_000, "12,000 jobs")])
def test_jobs_are_counted_in_words(jobs: float, words: str) -> None:
    assert counted(jobs) == words
