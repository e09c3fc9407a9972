"""Protects how far ahead of a plugin jobs are taken, and that what was taken ahead is given back when it is held."""

from __future__ import annotations

from mosaicfs_core.agent.jobs.pace import MOST_AHEAD, Pace


def test_nothing_is_ahead_of_a_plugin_that_nothing_is_known_of_or_that_is_slow() -> None:
    pace = Pace()
    assert pace.ahead(4) == 0
    pace.took(1.0)
    assert pace.ahead(4) == 0


def test_a_quick_plugin_has_as_many_ahead_as_it_soon_does_and_a_bounded_number() -> None:
    pace = Pace()
    pace.took(0.005)
    assert pace.ahead(2) == 20
    quick = Pace()
    quick.took(0.0)
    assert quick.ahead(64) == MOST_AHEAD


def test_one_slow_job_does_not_change_much_and_many_do() -> None:
    pace = Pace()
    pace.took(0.001)
    pace.took(0.011)
    assert pace.ahead(2) == 50
    for _ in range(100):
        pace.took(1.0)
    assert pace.ahead(2) == 0
