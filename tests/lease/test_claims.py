"""Protects what must happen once: whatever clocks, hub and processes do, never two hold the lease at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mosaicfs_core import lease
from mosaicfs_core.lease import LASTS_S, PATIENCE, UNREADABLE, Claim, Note, Seen, SoleLease, read_note

LASTS = 60.0
COUNT = 3


@dataclass
class TheHub:
    """One note with compare-and-swap."""

    rev: int = 0
    note: Note | None = None

    @property
    def seen(self) -> Seen | None:
        return None if self.note is None else Seen(str(self.rev), self.note)

    def swap(self, note: Note, rev: str | None) -> str | None:
        """The new revision, or None when another one stands there."""
        if (None if self.note is None else str(self.rev)) != rev:
            return None
        self.rev, self.note = self.rev + 1, note
        return str(self.rev)


@dataclass
class Write:
    """A write on its way: begun at ``asked``; ``answer`` is set once the hub has done it."""

    note: Note
    over: str | None
    asked: float
    done: bool = False
    answer: str | None = None


@dataclass
class Process:
    """A control plane with a clock of its own, which shows ``offset`` and runs at ``rate``."""

    number: int
    offset: int
    rate: float
    runs: int = 0
    claim: Claim = field(init=False)
    read: list[Seen | None] = field(default_factory=list)
    write: Write | None = None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.runs += 1
        self.claim = Claim(f"control-plane-{self.number}", f"{self.number}.{self.runs}", lasts_s=LASTS)
        self.read.clear()
        self.write = None

    def clock(self, real: float) -> float:
        return self.offset + real * self.rate


class Leases(RuleBasedStateMachine):
    """Processes take turns at reading and writing; messages are late or lost, processes and notes vanish."""

    def __init__(self) -> None:
        super().__init__()
        self.real = 0.0
        self.hub = TheHub()
        self.processes: list[Process] = []

    @initialize(
        clocks=st.lists(
            st.tuples(st.integers(-1_000_000, 1_000_000), st.sampled_from([0.96, 1.0, 1.04])),
            min_size=COUNT,
            max_size=COUNT,
        )
    )
    def start(self, clocks: list[tuple[int, float]]) -> None:
        self.processes = [Process(number, offset, rate) for number, (offset, rate) in enumerate(clocks)]

    which = st.integers(0, COUNT - 1)

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 15.0, 30.0, 55.0, 59.9, 61.0, 66.1, 70.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.real += seconds

    @rule(number=which)
    def time_passes_until_a_watch_ends(self, number: int) -> None:
        process = self.processes[number]
        ends = process.claim._since + LASTS * lease.PATIENCE - process.offset
        self.real = max(self.real, ends / process.rate + 1e-6)

    @rule(number=which)
    def the_hub_reads(self, number: int) -> None:
        self.processes[number].read = [self.hub.seen]

    @rule(number=which)
    def a_process_decides(self, number: int) -> None:
        process = self.processes[number]
        if not process.read or process.write is not None:
            return
        seen = process.read.pop()
        now = process.clock(self.real)
        note = process.claim.decide(seen, now)
        if note is not None:
            process.write = Write(note, None if seen is None else seen.rev, now)

    @rule(number=which)
    def the_hub_writes(self, number: int) -> None:
        write = self.processes[number].write
        if write is not None and not write.done:
            write.done, write.answer = True, self.hub.swap(write.note, write.over)

    @rule(number=which, lost=st.booleans())
    def the_answer_arrives(self, number: int, lost: bool) -> None:
        process = self.processes[number]
        write = process.write
        if write is None or not (write.done or lost):
            return
        process.write = None
        if lost:
            return
        if write.answer is None:
            process.claim.refused()
        else:
            process.claim.written(write.answer, write.note, write.asked)

    @rule(number=which)
    def a_whole_round(self, number: int) -> None:
        self.the_hub_reads(number)
        self.a_process_decides(number)
        self.the_hub_writes(number)
        self.the_answer_arrives(number, lost=False)

    @rule(number=which)
    def it_is_killed_and_starts_again(self, number: int) -> None:
        self.processes[number].restart()

    @rule(number=which)
    def it_gives_the_lease_back(self, number: int) -> None:
        given = self.processes[number].claim.given_back("")
        if given is not None:
            rev, note = given
            self.hub.swap(note, rev)

    @rule()
    def the_note_is_lost(self) -> None:
        self.hub.note = None

    @precondition(lambda self: self.hub.note is not None)
    @rule()
    def the_note_is_damaged(self) -> None:
        self.hub.rev += 1
        self.hub.note = UNREADABLE

    @invariant()
    def at_most_one_holds_it(self) -> None:
        holders = [one.number for one in self.processes if one.claim.held(one.clock(self.real))]
        assert len(holders) <= 1, holders


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


def test_a_lease_is_taken_after_it_ran_out_and_kept_by_whoever_renews_it() -> None:
    hub, first, second = TheHub(), Claim("a", "1"), Claim("b", "2")

    def turn(claim: Claim, now: float) -> bool:
        seen = hub.seen
        note = claim.decide(seen, now)
        if note is not None:
            rev = hub.swap(note, None if seen is None else seen.rev)
            assert rev is not None
            claim.written(rev, note, now)
        return claim.held(now)

    assert not turn(first, -10)  # a note that is missing may have been lost
    assert not turn(first, 0)
    assert turn(first, LASTS_S * PATIENCE)
    start = LASTS_S * PATIENCE
    for step in range(1, 20):
        assert turn(first, start + 15 * step)
        assert not turn(second, start + 15 * step)
    start += 15 * 19
    assert not first.held(start + LASTS_S)
    assert not turn(second, start + LASTS_S)
    assert turn(second, start + LASTS_S * PATIENCE)
    assert (second.term, hub.note and hub.note.holder) == (2, "b")
    assert not turn(first, start + LASTS_S * PATIENCE)


def test_a_slow_clock_that_holds_has_given_up_before_a_fast_one_takes() -> None:
    slow, fast = Process(0, 7, 0.96), Process(1, -9, 1.04)
    asked = slow.clock(0.0)
    note = Note(holder="a", session=slow.claim.session, term=1, lasts_s=LASTS)
    slow.claim.written("1-x", note, asked)
    seen = Seen("1-x", note)
    assert fast.claim.decide(seen, fast.clock(0.0)) is None
    real = next(
        moment / 100 for moment in range(10_000) if fast.claim.decide(seen, fast.clock(moment / 100)) is not None
    )
    assert not slow.claim.held(slow.clock(real))
    assert real < LASTS * 1.1


def test_one_that_was_given_back_is_taken_at_once() -> None:
    claim, other = Claim("a", "1"), Claim("b", "2")
    claim.written("1-x", Note(holder="a", session="1", term=7, lasts_s=LASTS_S), 0)
    assert claim.held(1)
    given = claim.given_back("now")
    assert given is not None
    assert not claim.held(1)
    assert other.decide(Seen("2-y", given[1]), 100) == Note(holder="b", session="2", term=8, lasts_s=LASTS_S)
    assert claim.given_back("again") is None


@pytest.mark.parametrize(
    "body",
    [{}, {"holder": 1}, {"holder": "a", "session": "b", "term": "x", "lasts_s": 1}, {"term": 1, "lasts_s": None}],
)
def test_a_damaged_note_is_believed_to_be_held(body: dict[str, Any]) -> None:
    note = read_note(body)
    assert note == UNREADABLE
    claim = Claim("a", "1")
    assert claim.decide(Seen("9", note), 0) is None
    taken = claim.decide(Seen("9", note), LASTS_S * PATIENCE)
    assert taken is not None
    assert (taken.holder, taken.term) == ("a", 1)


@pytest.mark.parametrize("lasts", [-1.0, 1e12, float("nan")])
def test_nobody_holds_it_for_ever(lasts: float) -> None:
    body = {"holder": "a", "session": "1", "term": 3, "lasts_s": lasts, "from a newer version": True}
    assert (read_note(body).lasts_s, read_note(body).term) == (LASTS_S, 3)


async def test_without_a_hub_it_is_held() -> None:
    assert SoleLease().held()
    await SoleLease().wait()
