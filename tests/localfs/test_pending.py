"""Protects settling: debounce, patience with files that never rest, and moves that follow one another."""

from __future__ import annotations

import random
from functools import partial

import pytest
from stepping import steps

from mosaicfs_plugins.localfs.pending import DEBOUNCE_S, PATIENCE_S, Pending


def test_a_path_settles_after_its_last_event() -> None:
    pending = Pending()
    pending.touch("/f", 10.0)
    pending.touch("/f", 10.4)
    assert pending.next_due() == 10.4 + DEBOUNCE_S
    assert pending.settle(10.6).touched == {}
    assert pending.settle(10.9).touched == {"/f": False}
    assert not pending


def test_a_file_that_never_rests_is_looked_at_all_the_same() -> None:
    pending = Pending()
    for tenth in range(100):
        pending.touch("/log", tenth / 10)
    assert pending.next_due() == PATIENCE_S


def test_moves_in_a_row_become_one_and_one_of_what_may_have_been_between() -> None:
    pending = Pending()
    pending.move("/a", "/b", 0.0, directory=False)
    pending.move("/b", "/c", 0.1, directory=False)
    settled = pending.settle(9.0)
    assert settled.moves == [("/a", "/c", False), ("/b", "/c", False)]
    assert set(settled.touched) == {"/a", "/b", "/c"}


def test_what_was_between_settles_with_the_move() -> None:
    pending = Pending()
    pending.move("/a", "/b", 0.0, directory=False)
    pending.move("/b", "/c", 0.4, directory=False)
    pending.touch("/c", 0.8)
    assert pending.settle(1.0) == ([], {})
    assert set(pending.settle(1.4).touched) == {"/a", "/b", "/c"}
    assert not pending


def test_directories_in_a_row_become_one() -> None:
    pending = Pending()
    pending.move("/a", "/b", 0.0, directory=True)
    pending.move("/b", "/c", 0.1, directory=True)
    assert pending.settle(9.0).moves == [("/a", "/c", True)]


def test_there_and_back_is_no_move() -> None:
    pending = Pending()
    pending.move("/a", "/b", 0.0, directory=False)
    pending.move("/b", "/a", 0.1, directory=False)
    assert pending.settle(9.0).moves == []


def test_what_a_moved_directory_holds_moves_along() -> None:
    pending = Pending()
    pending.move("/d/f", "/d/g", 0.0, directory=False)
    pending.touch("/d/new", 0.0)
    pending.move("/d", "/e", 0.1, directory=True)
    pending.move("/d/g", "/e/g", 0.1, directory=False)  # told for every entry, after the directory
    settled = pending.settle(9.0)
    assert settled.moves == [("/d/f", "/e/g", False), ("/d", "/e", True)]
    assert {"/e/new", "/e/g", "/e"} <= set(settled.touched)


def test_a_move_waits_for_both_its_ends() -> None:
    pending = Pending()
    pending.move("/a", "/b", 0.0, directory=False)
    pending.touch("/b", 0.4)
    assert pending.settle(0.6).moves == []
    assert pending.next_due() == 0.4 + DEBOUNCE_S
    assert pending.settle(1.0).moves == [("/a", "/b", False)]


def test_moves_inside_a_moved_directory_keep_their_order() -> None:
    pending = Pending()
    for number in range(9, 0, -1):  # each to the name that became free just before
        pending.move(f"/d/{number}", f"/d/{number + 1}", 0.0, directory=False)
    pending.move("/d", "/e", 0.1, directory=True)
    moves = pending.settle(9.0).moves
    assert moves == [*((f"/d/{number}", f"/e/{number + 1}", False) for number in range(9, 0, -1)), ("/d", "/e", True)]
    assert not pending


@pytest.mark.parametrize("directory", [False, True])
def test_what_a_move_costs_does_not_grow_with_what_is_pending(directory: bool) -> None:
    def moves(count: int) -> None:
        pending = Pending()
        for number in range(count):
            pending.touch(f"/from/{number}/in", 0.0)
            pending.move(f"/from/{number}", f"/to/{number}", 0.0, directory)

    assert steps(partial(moves, 400)) < 2.2 * steps(partial(moves, 200))


def test_a_look_at_what_is_due_does_not_cost_more_the_more_is_pending() -> None:
    def looks(count: int) -> None:
        pending = Pending()
        for number in range(count):
            pending.touch(f"/{number}", number / 1000)
            assert pending.next_due() == DEBOUNCE_S
            assert pending.settle(0.1).touched == {}

    assert steps(partial(looks, 400)) < 2.2 * steps(partial(looks, 200))


def test_what_is_due_next_is_right_whatever_happened() -> None:
    """Compared with a look at everything."""
    chance = random.Random(7)
    pending, heard, now = Pending(), dict[str, tuple[float, float]](), 0.0
    for _ in range(5000):
        now += chance.random() / 10
        if chance.random() < 0.8:
            path = f"/{chance.randrange(30)}"
            pending.touch(path, now)
            heard[path] = (heard.get(path, (now, 0.0))[0], now)
        else:
            for path in pending.settle(now).touched:
                del heard[path]
            assert all(min(last + DEBOUNCE_S, first + PATIENCE_S) > now for first, last in heard.values())
        dues = [min(last + DEBOUNCE_S, first + PATIENCE_S) for first, last in heard.values()]
        assert pending.next_due() == min(dues, default=None)
