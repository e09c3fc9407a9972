"""Which control planes of a hub are there. Each writes a note of its own on the hub now and then, and looks whether
those of the others change. As with the lease, no clocks are compared, and nothing of it is replicated."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from mosaicfs_core.documents import format_time
from mosaicfs_core.errors import Stale
from mosaicfs_core.hooks import Hub
from mosaicfs_core.server.hub.leasing import Timing

LOOKS: Final = 5
"""Looks in a row that found a note as the one before did, or no more of it: then its writer is away. They are as far
apart as the notes are written, and whoever could not write tries again within a minute."""


class _Seen(NamedTuple):
    """The version of a note, None while it is lost, and how many looks in a row have found nothing new: one whose note
    was lost writes another if it is there."""

    rev: str | None
    again: int


class Presence:
    """The note of the control plane ``plane``, and what is known of the others by theirs. Call ``round`` when ``due``,
    which it is every ``timing.lasts_s`` seconds.

    Looks are counted, not seconds, and only those that the hub answers: while it is away nobody can write there, and a
    machine that sleeps looks at nothing.
    """

    def __init__(self, hub: Hub, plane: str, timing: Timing | None = None) -> None:
        self._hub, self._plane, self._timing = hub, plane, timing or Timing()
        self._rev: str | None = None
        self._next = float("-inf")
        self._seen: dict[str, _Seen] = {}

    @property
    def due(self) -> bool:
        """Whether it is time for a round."""
        return self._timing.clock() >= self._next

    def silent(self, plane: str) -> bool:
        """Whether a control plane that was there is so no more. Of one whose note was never seen nothing is known."""
        seen = self._seen.get(plane)
        return seen is not None and seen.again >= LOOKS

    async def round(self, others: Collection[str]) -> None:
        """Write our note, and look at those of the control planes ``others``. Raises what the hub raises."""
        try:
            await self._write()
        except Stale:  # an earlier run's note stands there, or the notes were lost
            found = await self._hub.read(_name(self._plane))
            self._rev = None if found is None else found.rev
            await self._write()
        self._next = self._timing.clock() + self._timing.lasts_s  # also if looking fails: looks must not be closer
        self._seen = {plane: seen for plane, seen in self._seen.items() if plane in others}
        for plane in others:
            await self._look(plane)

    async def _write(self) -> None:
        body = {"plane": self._plane, "at": format_time(self._timing.now())}  # the time is for people
        self._rev = await self._hub.swap(_name(self._plane), body, self._rev)

    async def _look(self, plane: str) -> None:
        found = await self._hub.read(_name(plane))
        rev, before = None if found is None else found.rev, self._seen.get(plane)
        if before is not None and rev in (before.rev, None):
            self._seen[plane] = _Seen(rev, before.again + 1)
        elif rev is not None:
            self._seen[plane] = _Seen(rev, 0)


def _name(plane: str) -> str:
    return f"presence::{plane}"
