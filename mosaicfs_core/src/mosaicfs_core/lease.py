"""The lease: which of several control planes does what must happen once. Pure: time comes in as an argument.

It is a note on the hub that is only ever replaced by compare-and-swap. Its holder replaces it again and again; the
others watch it, and take it over once it has stayed the same for longer than it lasts. Nobody compares clocks of two
machines: the holder counts from the moment *before* it asked for its last write, a watcher from the moment *after* it
first read what that write left, each on its own clock. So the holder has given up before anybody else begins, as long
as clocks run equally fast to within ``PATIENCE``; what time of day they show does not matter.

The clock must go on while a machine sleeps (``clock`` does, where the system has one that does).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec

LASTS_S: Final = 60.0
"""A lease is held for so long after a write, unless it is written again."""
RENEW_S: Final = 15.0
"""The holder writes it, and the others read it, this often."""
PATIENCE: Final = 1.1
"""A watcher waits so many times as long as the lease lasts: what clocks may differ in their speed (4 %), and more."""
LONGEST_S: Final = 3_600.0
"""No note is believed to last longer than this."""


class Lease(Protocol):
    """Whether this process does what must happen once."""

    def held(self) -> bool:
        """Whether it does now. Ask right before each deed, which must be short beside ``LASTS_S``."""

    async def wait(self) -> None:
        """Return once it is held."""


class SoleLease:
    """The lease of the only control plane there is: without a hub it has it for ever."""

    def held(self) -> bool:
        """True."""
        return True

    async def wait(self) -> None:
        """Return at once."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on the hub. ``holder`` is the node id of a control plane, "" for nobody; ``session`` is one run of
    it. ``term`` grows with every change of hands. ``lasts_s`` seconds after it was written nobody holds it, 0 when it
    was given back; ``until`` says the same as a time of day, for people: nothing is decided by it."""

    holder: str
    session: str
    term: int
    lasts_s: float
    until: str = ""


UNREADABLE: Final = Note(holder="", session="", term=0, lasts_s=LASTS_S)
"""What a note says that says nothing."""


def read_note(body: Mapping[str, Any]) -> Note:
    """The note in a document. One that is damaged is believed to be held by somebody."""
    try:
        note = msgspec.convert(body, Note)
    except msgspec.ValidationError:
        return UNREADABLE
    if not 0 <= note.lasts_s <= LONGEST_S:
        return msgspec.structs.replace(note, lasts_s=LASTS_S)
    return note


def clock() -> float:
    """Seconds on a clock that nobody sets and that, on Linux, goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


Clock = Callable[[], float]


class Seen(NamedTuple):
    """A note as it was read, with the revision that a write must name to replace it."""

    rev: str
    note: Note


class Claim:
    """What one process knows of the lease, and what follows from it.

    A round is: read the note, ``decide``, write if so told, then ``written`` or ``refused``. A write whose answer never
    came counts as not made. All moments are of one clock of this process.

    Where there is no note, it is not taken either: one may have been lost that somebody still holds, and how long there
    has been none cannot be watched (one could come and go between two looks). So a note is put there that nobody holds,
    and that is watched like any other.
    """

    def __init__(self, holder: str, session: str, *, lasts_s: float = LASTS_S) -> None:
        self.holder, self.session, self.lasts_s = holder, session, lasts_s
        self.term = 0
        """The last term that was held."""
        self.seen: Note | None = None
        """The note as last read or written."""
        self._own: str | None = None
        self._until = float("-inf")
        self._watched: str | None = None
        self._since = 0.0

    def held(self, now: float) -> bool:
        """Whether the lease is ours at ``now``."""
        return now < self._until

    def decide(self, found: Seen | None, now: float, until: str = "") -> Note | None:
        """What to write over what was found, or None to leave it. ``now`` is a moment after it was read; ``until`` is
        what the note is to say."""
        self.seen = None if found is None else found.note
        if found is None:
            self._own = self._watched = None
            return self._note("", self.term, until)
        rev, note = found
        if rev == self._own:
            return self._note(self.holder, note.term, until)
        self._own = None
        if note.session != self.session:
            self._until = float("-inf")  # it is another's, whatever we thought
        if rev != self._watched:
            self._watched, self._since = rev, now
        if now - self._since < note.lasts_s * PATIENCE:
            return None
        return self._note(self.holder, max(note.term, self.term) + 1, until)

    def written(self, rev: str, note: Note, asked: float) -> None:
        """The note was written as ``rev``, by a request begun at ``asked``."""
        self.seen = note
        if note.holder:
            self._own, self.term, self._until = rev, note.term, asked + note.lasts_s

    def refused(self) -> None:
        """Somebody else was faster: it is not ours."""
        self._own, self._until = None, float("-inf")

    def given_back(self, until: str) -> tuple[str, Note] | None:
        """Hold it no longer. The revision to replace and what to write in its place, when there is something to."""
        own, self._own, self._until = self._own, None, float("-inf")
        if own is None:
            return None
        return own, msgspec.structs.replace(self._note("", self.term, until), lasts_s=0.0)

    def _note(self, holder: str, term: int, until: str) -> Note:
        return Note(holder=holder, session=self.session, term=term, lasts_s=self.lasts_s, until=until)
