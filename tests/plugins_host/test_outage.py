"""Protects how long a plugin waits for what it needs: not at all for one file's sake, and not for ever."""

from __future__ import annotations

from mosaicfs_core.agent.jobs.outage import LONGEST_PAUSE_S, Outage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def made() -> tuple[Outage, Clock]:
    clock = Clock()
    return Outage(clock, lambda: 1.0), clock


def test_one_job_alone_holds_nothing() -> None:
    outage, _ = made()
    outage.told("its machine is off")
    assert (outage.lasts, outage.left, outage.why) == (False, 0.0, "")
    outage.over()
    outage.told("its machine is off")
    assert not outage.lasts


def test_a_row_of_them_holds_all_for_a_growing_while() -> None:
    outage, clock = made()
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        outage.told("the server is away")
        outage.told("the server is away")  # under way when the pause began
        assert outage.left == pause <= LONGEST_PAUSE_S
        assert outage.why == "What the plugin needs is not there at present: the server is away"
        clock.now += pause
        assert (outage.lasts, outage.left, outage.why) == (True, 0.0, "")


def test_a_job_that_is_done_ends_it() -> None:
    outage, clock = made()
    for _ in range(4):
        outage.told("the server is away")
        clock.now += outage.left
    outage.over()
    assert (outage.lasts, outage.left) == (False, 0.0)
    outage.told("the server is away")
    outage.told("the server is away")
    assert outage.left == 1
