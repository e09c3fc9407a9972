"""Protects what control planes know of one another: which are there, whatever their clocks say and the hub does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mosaicfs_core.errors import Stale, Unavailable
from mosaicfs_core.hooks import HubNote
from mosaicfs_core.server.hub import Timing
from mosaicfs_core.server.hub.presence import LOOKS, Presence

A, B, C = "control-plane-a", "control-plane-b", "control-plane-c"
LASTS_S = 60.0


class Notes:
    """A hub's notes. ``away`` is how many of the next requests it does not answer."""

    def __init__(self) -> None:
        self.notes: dict[str, HubNote] = {}
        self.away = 0

    async def read(self, name: str) -> HubNote | None:
        self._reached()
        return self.notes.get(name)

    async def swap(self, name: str, body: Mapping[str, Any], rev: str | None) -> str:
        self._reached()
        present = self.notes.get(name)
        if rev != (None if present is None else present.rev):
            raise Stale(name)
        made = str(int(rev or "0") + 1)
        self.notes[name] = HubNote(made, dict(body))
        return made

    def _reached(self) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("the hub is away")


class Planes:
    """Control planes over one hub, and one clock that is moved by hand."""

    def __init__(self) -> None:
        self.hub, self.now = Notes(), 0.0
        self.made: dict[str, Presence] = {}

    def start(self, *names: str) -> None:
        timing = Timing(lasts_s=LASTS_S, clock=lambda: self.now, now=lambda: 0)
        for name in names:
            self.made[name] = Presence(self.hub, name, timing)  # type: ignore[arg-type]  # its notes alone are asked

    async def pass_by(self, *names: str, times: int = 1, seconds: float = LASTS_S) -> None:
        """So many times as many seconds; these run meanwhile, as their link to the hub runs them."""
        for _ in range(times):
            self.now += seconds
            for name in names:
                if self.made[name].due:
                    await self.made[name].round({A, B, C} - {name})

    def silent(self, name: str) -> set[str]:
        return {other for other in (A, B, C) if self.made[name].silent(other)}


@pytest.fixture
def planes() -> Planes:
    made = Planes()
    made.start(A, B)
    return made


async def test_one_that_ends_without_a_word_is_silent_after_some_looks_and_there_when_it_is_back(
    planes: Planes,
) -> None:
    await planes.pass_by(A, B, times=20)
    assert planes.silent(A) == planes.silent(B) == set()
    await planes.pass_by(A, times=LOOKS)
    assert planes.silent(A) == set()
    await planes.pass_by(A)
    assert planes.silent(A) == {B}
    await planes.pass_by(A, B)
    assert planes.silent(B) == set()
    await planes.pass_by(A)
    assert planes.silent(A) == set()


async def test_one_that_was_away_before_this_one_started_is_found_to_be(planes: Planes) -> None:
    await planes.pass_by(A, B, times=3)
    planes.start(A)
    await planes.pass_by(A, times=LOOKS)
    assert planes.silent(A) == set()
    await planes.pass_by(A)
    assert planes.silent(A) == {B}


async def test_one_that_never_wrote_is_not_judged(planes: Planes) -> None:
    await planes.pass_by(A, times=50)
    assert planes.silent(A) == set()


async def test_looks_are_as_far_apart_as_notes_are_written_however_often_it_is_asked(planes: Planes) -> None:
    await planes.pass_by(A, B)
    await planes.pass_by(A, times=100, seconds=LASTS_S / 30)
    assert planes.silent(A) == set()


async def test_a_hub_that_is_away_makes_nobody_silent(planes: Planes) -> None:
    await planes.pass_by(A, B)
    for _ in range(50):
        for name in (A, B):
            planes.hub.away = 1
            with pytest.raises(Unavailable):
                await planes.pass_by(name)
            assert planes.made[name].due, "what could not be written is tried again at the next round"
    await planes.pass_by(A, times=2)  # the other one tries again later than this one
    await planes.pass_by(A, B, times=3)
    assert planes.silent(A) == planes.silent(B) == set()


async def test_a_look_that_fails_is_not_made_up_for_by_closer_ones(planes: Planes) -> None:
    planes.start(C)
    await planes.pass_by(A, B, C)
    for _ in range(2 * LOOKS):
        # Of the two looks the second fails, and it goes on as soon as a link would.
        planes.now += LASTS_S / 30
        if not planes.made[A].due:
            continue
        real, asked = planes.hub.read, []

        async def read(name: str, real: Any = real, asked: Any = asked) -> Any:
            asked.append(name)
            if len(asked) == 2:
                raise Unavailable("the hub is away")
            return await real(name)

        planes.hub.read = read  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await planes.made[A].round([B, C])
        planes.hub.read = real  # type: ignore[method-assign]
    assert planes.silent(A) == set()


async def test_notes_that_were_lost_or_written_by_an_earlier_run_are_written_again(planes: Planes) -> None:
    await planes.pass_by(A, B, times=2)
    planes.start(A)
    await planes.pass_by(A, B)
    planes.hub.notes.clear()
    await planes.pass_by(A, B, times=LOOKS + 1)
    assert planes.hub.notes.keys() == {f"presence::{A}", f"presence::{B}"}
    assert planes.silent(A) == planes.silent(B) == set()


async def test_one_that_ended_is_silent_although_its_note_was_lost(planes: Planes) -> None:
    await planes.pass_by(A, B, times=2)
    planes.hub.notes.clear()
    await planes.pass_by(A, times=LOOKS - 1)
    assert planes.silent(A) == set()
    await planes.pass_by(A)
    assert planes.silent(A) == {B}
    await planes.pass_by(A, B)
    await planes.pass_by(A)
    assert planes.silent(A) == set()


async def test_one_that_is_silent_stays_so_when_its_note_is_lost(planes: Planes) -> None:
    await planes.pass_by(A, B)
    await planes.pass_by(A, times=LOOKS + 1)
    planes.hub.notes.clear()
    await planes.pass_by(A)
    assert planes.silent(A) == {B}


async def test_of_one_whose_note_was_never_seen_nothing_is_known(planes: Planes) -> None:
    await planes.pass_by(A, B)
    planes.hub.notes.clear()
    planes.start(A)
    await planes.pass_by(A, times=2 * LOOKS)
    assert planes.silent(A) == set()


async def test_one_that_is_asked_for_no_more_is_forgotten(planes: Planes) -> None:
    await planes.pass_by(A, B)
    await planes.pass_by(A, times=LOOKS + 1)
    planes.now += LASTS_S
    await planes.made[A].round([])
    assert planes.silent(A) == set()
