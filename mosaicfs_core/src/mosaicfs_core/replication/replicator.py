"""Replication from one database to another, once or for as long as the program runs.

A round begins with the logs of both sides (``checkpoints``), goes on from what they agree on, and moves everything
after that through the ``pipeline``. Whatever happens to either side or to the connection, the next round starts from
the logs again: a position is recorded only after the target had everything up to it on disk, so nothing can be skipped,
and what is offered twice is recognized by its revision. What the target could not take for the moment is recorded with
the position, and offered again while the rest goes on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from ..backoff import Backoff
from ..documents import format_time
from ..errors import MosaicError, Unavailable
from ..supervision import first_of
from . import checkpoints
from .batching import BatchSize
from .checkpoints import Entry, Log
from .owed import Owed
from .peer import EVERYTHING, Filter, Page, Peer, Seq
from .pipeline import Counters, Pages, Pipeline
from .status import Direction, State, Status
from .store_peer import predicate
from .surroundings import Surroundings

logger = logging.getLogger(__name__)

PAGE: Final = 2_000
"""Changes that are compared at once."""
HEARTBEAT_S: Final = 30.0
CHECKPOINT_S: Final = 5.0
"""Positions are recorded no more often than this, and when the source has been silent for a heartbeat."""
STOOD_S: Final = 60.0
"""What went on for longer than this worked, even if nothing was to do: it is tried again soon."""
PAUSES_S: Final = (1.0, 2.0)
"""``run_once`` offers what is owed again after these."""


class Replicator:
    """Copies documents from ``source`` to ``target``, which it does not close.

    ``direction`` says which of them is the near side: ``push`` sends from it, ``pull`` fetches to it. Use an object for
    one ``run`` or any number of ``run_once``, one after another.
    """

    def __init__(
        self,
        source: Peer,
        target: Peer,
        *,
        direction: Direction,
        chosen: Filter = EVERYTHING,
        heartbeat: float = HEARTBEAT_S,
        checkpoint_every: float = CHECKPOINT_S,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._source, self._target, self._direction, self._chosen = source, target, direction, chosen
        self._heartbeat, self._checkpoint_every = heartbeat, checkpoint_every
        self._surroundings = surroundings or Surroundings()
        self._counters = Counters()
        self._size = BatchSize()
        self._owed = Owed()
        self._stop, self._wake = asyncio.Event(), asyncio.Event()
        self._state: State = "idle"
        self._last_error: str | None = None
        self._reached: Seq = 0
        self._pending = 0
        self._level_at = self._surroundings.monotonic()
        self._level = False

    @property
    def status(self) -> Status:
        """How it stands."""
        moved = self._counters.written
        backlog = self._source.backlog(self._reached)
        level = self._level and not backlog and not self._owed
        return Status(
            state=self._state,
            pushed=moved if self._direction == "push" else 0,
            pulled=moved if self._direction == "pull" else 0,
            pending=self._pending + self._counters.in_flight if backlog is None else backlog,
            lag_s=0.0 if level else max(0.0, self._surroundings.monotonic() - self._level_at),
            last_error=self._last_error or self._owed.told,
            refused=self._counters.refused,
            owed=len(self._owed),
        )

    async def run_once(self, *, from_start: bool = False) -> Status:
        """Replicate what there is and return. Raises what stops it (``Unavailable`` and the like); what the target
        could not take is ``owed`` then, and offered again by the next round.

        ``from_start`` compares everything, whatever the logs say.
        """
        self._stop.clear()
        try:
            await self._round(live=False, from_start=from_start)
        except BaseException as error:
            self._failed(error, "stopped")
            raise
        self._state = "idle"
        return self.status

    async def run(self) -> None:
        """Replicate what there is, and whatever comes, until ``stop``. Errors stand in ``status``, and it tries again.

        Cancelling it is safe too; only the position since the last record is then compared once more.
        """
        backoff = Backoff(self._surroundings.random)
        while not self._stop.is_set():
            before, begun, asked = self._counters.settled, self._surroundings.monotonic(), None
            try:
                await self._round(live=True)
                if not self._stop.is_set():
                    self._failed(Unavailable("the other side ended its feed of changes"), "waiting")
            except MosaicError as error:
                asked = error.retry_after if isinstance(error, Unavailable) else None
                self._failed(error, "waiting")
            except Exception as error:
                logger.exception("replication failed unexpectedly and starts again")
                self._failed(error, "waiting")
            if self._stop.is_set():
                break
            if self._counters.settled > before or self._surroundings.monotonic() - begun > STOOD_S:
                backoff.reset()
            await self._pause(backoff.next(asked))
        self._state, self._level = "stopped", False

    def stop(self) -> None:
        """End ``run`` once what was read is written and recorded."""
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Try again at once, if it is waiting: the other side has been heard of."""
        self._wake.set()

    async def has_forgotten(self) -> bool:
        """Whether the far side was set back (restored from a backup) since they replicated first, or since ``run_once``
        compared everything ``from_start``. Replicating on in between does not hide it."""
        name = await self._name()
        order = self._order()
        logs = [checkpoints.read(await side.checkpoint(name)) for side in order]
        return checkpoints.has_forgotten(*logs)

    async def _pause(self, seconds: float) -> None:
        logger.info("replication tries again in %.1f s", seconds)
        self._wake.clear()
        if self._stop.is_set():
            return
        await first_of(self._surroundings.sleep(seconds), self._wake.wait())

    def _failed(self, error: BaseException, state: State) -> None:
        self._counters.taken = self._counters.settled
        self._pending = 0
        self._state, self._level = state, False
        if not isinstance(error, asyncio.CancelledError):
            self._last_error = error.message if isinstance(error, MosaicError) else f"{type(error).__name__}: {error}"
            logger.info("replication was interrupted: %s", self._last_error)

    # One round

    async def _name(self) -> str:
        return checkpoints.replication_id(await self._source.identity(), await self._target.identity(), self._chosen)

    def _order(self) -> tuple[Peer, Peer]:
        """Both sides, the one whose log is written first in front: the far one, so that it never remembers less than
        the near one unless it was set back."""
        if self._source.near and not self._target.near:
            return self._target, self._source
        return self._source, self._target

    async def _round(self, *, live: bool, from_start: bool = False) -> None:
        self._state, self._level = "catching_up", False
        name, order = await self._name(), self._order()
        logs = [checkpoints.read(await side.checkpoint(name)) for side in order]
        records = _Records(name, order, logs, from_start, self._surroundings)
        self._reached = records.since
        self._owed.remember(records.owed)
        accepts = predicate(self._chosen) or (lambda _: True)
        pipeline = Pipeline(
            self._source, self._target, self._size, self._counters, self._surroundings, accepts, self._owed
        )

        async def reached(page: Page | None) -> None:
            if page is not None:
                self._arrived(page, live)
            elif self._level:  # nothing has happened since
                self._note_level()
            if page is None or records.age() >= self._checkpoint_every:
                await records.save(self._reached, self._owed.ids)

        beside = self._offer_again(pipeline) if live else None
        await pipeline.run(self._pages(records.since, live), reached, self._stop, beside)
        if not live:
            await self._offer_once_more(pipeline)
        await records.save(self._reached, self._owed.ids)

    async def _offer_again(self, pipeline: Pipeline) -> None:
        """Offer what is owed, with pauses that grow while nothing of it is taken, until cancelled."""
        backoff = Backoff(self._surroundings.random)
        while True:
            await self._owed.some.wait()
            before = len(self._owed)
            await self._surroundings.sleep(backoff.next())
            await pipeline.offer_again()
            if len(self._owed) < before:
                backoff.reset()

    async def _offer_once_more(self, pipeline: Pipeline) -> None:
        for pause in PAUSES_S:
            if self._owed:
                await self._surroundings.sleep(pause)
                await pipeline.offer_again()

    def _arrived(self, page: Page, live: bool) -> None:
        self._reached = page.last_seq
        if page.pending is not None:
            self._pending = page.pending
        if page.ended:
            self._pending = 0
            self._state = "live" if live else self._state
            self._last_error = None
        if page.ended or (self._state == "live" and not self._counters.in_flight):
            self._level = True
            self._note_level()

    def _note_level(self) -> None:
        """Both are level at this moment, but for what is owed."""
        if not self._owed:
            self._level_at = self._surroundings.monotonic()

    async def _pages(self, since: Seq, live: bool) -> Pages:
        while True:
            page = await self._source.changes(since, PAGE, self._chosen)
            since = page.last_seq
            yield page
            if page.ended:
                break
        if live:
            async with aclosing(self._source.live(since, PAGE, self._chosen, self._heartbeat)) as feed:
                async for following in feed:
                    if following is not None and following.rows:
                        self._level = False
                    yield following


class _Records:
    """The log of a round, kept the same on both sides."""

    def __init__(
        self, name: str, order: Sequence[Peer], logs: Sequence[Log], from_start: bool, surroundings: Surroundings
    ) -> None:
        self._name, self._order, self._surroundings = name, order, surroundings
        self._revs = [log.rev for log in logs]
        # Going on overwrites the entries that tell; whoever recovers from it may ask only later.
        self._set_back = not from_start and checkpoints.has_forgotten(logs[0], logs[1])
        self._session = secrets.token_hex(16)
        begun = None if from_start else checkpoints.common(logs[0], logs[1])
        self._entries: tuple[Entry, ...] = ()
        if begun is not None:
            # What either side recorded after it is void: the other one never heard of it, or has lost it.
            self._entries = logs[0].entries[logs[0].entries.index(begun) :]
        self.since: Seq = 0 if begun is None else begun.seq
        # Of either log: whichever side was set back, what the target lacks stands in one of them.
        self.owed = () if begun is None else tuple(dict.fromkeys((*logs[0].owed, *logs[1].owed)))
        self._saved = (self.since, self.owed)
        self._at = surroundings.monotonic()

    def age(self) -> float:
        """Seconds since the last record."""
        return self._surroundings.monotonic() - self._at

    async def save(self, seq: Seq, owed: tuple[str, ...]) -> None:
        """Record that the target has everything up to ``seq`` but what is ``owed``. Raises Stale when another
        replicator did so too."""
        self._at = self._surroundings.monotonic()
        if (seq, owed) == self._saved:
            return
        if seq != self._saved[0]:
            time = format_time(self._surroundings.now())
            self._entries = checkpoints.added(self._entries, self._session, seq, time)
        elif not self._entries:
            return  # there is no position yet past which anything could be owed
        for number, side in enumerate(self._order):
            log = Log(self._entries, self._revs[number], self._set_back and number == 1, owed)
            self._revs[number] = await side.save_checkpoint(self._name, checkpoints.write(log))
        self._saved = (seq, owed)
