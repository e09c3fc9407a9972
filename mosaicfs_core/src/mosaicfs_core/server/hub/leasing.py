"""The lease, kept on a hub: reads and writes of the note around the decisions of ``mosaicfs_core.lease``."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mosaicfs_core.documents import format_time, now_micros
from mosaicfs_core.errors import MosaicError, Stale
from mosaicfs_core.hooks import Hub
from mosaicfs_core.lease import LASTS_S, RENEW_S, Claim, Clock, Note, Seen, clock, read_note

logger = logging.getLogger(__name__)

NOTE: Final = "lease::control-plane"
GIVE_BACK_S: Final = 5.0
"""How long the end of the program waits for the hub to take the lease back."""


@dataclass(frozen=True, slots=True)
class Timing:
    """``lasts_s`` and ``renew_s`` as in ``mosaicfs_core.lease``; ``clock`` in seconds, ``now`` in microseconds since
    the epoch."""

    lasts_s: float = LASTS_S
    renew_s: float = RENEW_S
    clock: Clock = clock
    now: Callable[[], int] = now_micros


class LeaseKeeper:
    """A ``Lease`` of the control plane ``holder``. Call ``round`` every ``renew_s`` seconds, and ``give_back`` at the
    end."""

    def __init__(self, hub: Hub, holder: str, timing: Timing | None = None) -> None:
        self._hub, self._timing = hub, timing or Timing()
        self._claim = Claim(holder, secrets.token_hex(8), lasts_s=self._timing.lasts_s)
        self._gained = asyncio.Event()

    def held(self) -> bool:
        """Whether this process has it now."""
        return self._claim.held(self._timing.clock())

    async def wait(self) -> None:
        """Return once it is held."""
        while not self.held():
            self._gained.clear()
            await self._gained.wait()

    async def round(self) -> None:
        """Look at the lease, and take it or keep it where that is right. Raises what the hub raises."""
        before = self.held()
        found = await self._hub.read(NOTE)
        seen = None if found is None else Seen(found.rev, read_note(found.body))
        asked = self._timing.clock()
        note = self._claim.decide(seen, asked, self._until(self._timing.lasts_s))
        if note is not None:
            await self._write(None if seen is None else seen.rev, note, asked)
        if self.held():
            self._gained.set()
        if self.held() != before:
            logger.info("the lease is %s (term %d)", "ours" if self.held() else "not ours any more", self._claim.term)

    async def give_back(self) -> None:
        """Hold it no longer, and tell the hub if that is possible, so that another need not wait."""
        given = self._claim.given_back(self._until(0.0))
        if given is None:
            return
        rev, note = given
        try:
            async with asyncio.timeout(GIVE_BACK_S):
                await self._hub.swap(NOTE, msgspec.to_builtins(note), rev)
        except (MosaicError, TimeoutError) as error:
            logger.info("the lease could not be given back and will run out: %s", error)

    def facts(self) -> dict[str, Any]:
        """Who holds it, as far as it is known here: ``held`` (by us), ``holder`` (a node id, "" for nobody), ``until``
        (by the holder's clock) and ``term``."""
        note = self._claim.seen
        if note is None:
            return {"held": False, "holder": "", "until": "", "term": 0}
        return {
            "held": self.held(),
            "holder": note.holder,
            "until": note.until,
            "term": note.term,
        }

    async def _write(self, rev: str | None, note: Note, asked: float) -> None:
        try:
            written = await self._hub.swap(NOTE, msgspec.to_builtins(note), rev)
        except Stale:
            self._claim.refused()
        else:
            self._claim.written(written, note, asked)

    def _until(self, seconds: float) -> str:
        return format_time(self._timing.now() + int(seconds * 1_000_000))
