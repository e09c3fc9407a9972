from __future__ import annotations

from mosaicfs_core.backoff import Backoff


def test_pauses_double_up_to_a_minute_and_never_meet() -> None:
    least, most = Backoff(lambda: 0.0), Backoff(lambda: 1.0)
    assert [most.next() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert [least.next() for _ in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    for _ in range(2000):
        most.next()
    most.reset()
    assert most.next() == 0.5


def test_a_pause_is_as_long_as_the_other_side_asks_up_to_the_limit() -> None:
    pauses = Backoff(lambda: 0.0)
    assert pauses.next(at_least=7.0) == 7.0
    assert pauses.next(at_least=900.0) == 60.0
