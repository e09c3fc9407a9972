"""The job queue of one node: the surface that agents and their workers use."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mosaicfs_core.documents import now_micros
from mosaicfs_core.hooks import StepOp, SyncTrigger
from mosaicfs_core.jobs.records import Job, JobPage, JobStatus, Standing, Subscription
from mosaicfs_core.store import Store


class JobQueue:
    """Jobs of all plugin instances of this node. Lives on the store's event loop; every method that changes something
    is durable when it returns.

    ``node_id`` is this node's: whose files ``scope`` ``node`` means, and who the annotations are made by. ``step_ops``
    are the filter-step ops of plugins. ``clock`` tells microseconds, ``chance`` a number from 0 to 1.
    """

    def __init__(
        self,
        store: Store,
        node_id: str,
        step_ops: Mapping[str, StepOp] | None = None,
        *,
        clock: Callable[[], int] = now_micros,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store

    async def open(self) -> None:
        """Make ready what the replica holds: tables, jobs that were in flight (pending again, no attempt), and watch
        the store's writes from here on. Open it before anything writes files."""
        raise NotImplementedError

    def close(self) -> None:
        """Watch no longer; whoever waits is woken, with False. The store stays open."""
        raise NotImplementedError

    async def subscribe(self, subscriptions: Mapping[str, Subscription]) -> list[str]:
        """The instances there are, all of them, by name. One that is not named any more loses its queue and ledger.

        Returns the names that need a full sync because their subscription is new or wider, or because files were
        written while nobody watched; each is named until its ``sync`` was called, also after a restart.
        """
        raise NotImplementedError

    async def take(
        self, instance: str, limit: int, now: int | None = None, *, max_bytes: int | None = None, day: str = ""
    ) -> list[Job]:
        """At most ``limit`` jobs that may be run at ``now`` (microseconds), which are in flight from then on; never one
        of a file that another one in flight is of. Empty for an instance that is unknown, paused or disabled.

        Retries that are due come first, then by ``sequence``. With ``max_bytes``, no more once the files taken have so
        many bytes together; the first is always taken. ``day`` is the local day that they are counted to (``usage``).
        """
        raise NotImplementedError

    async def done(self, job: Job, annotation: Mapping[str, Any] | None = None) -> bool:
        """The plugin has answered: the annotation (None or empty: nothing to write), the ledger and the end of the job
        are stored at once. Calls that wait together share a transaction.

        False when the job is not in flight any more (its instance is gone, it was given back already): nothing is
        stored. Raises ``InvalidDocument`` for an annotation that no document can hold; the job stays in flight.
        """
        raise NotImplementedError

    async def failed(self, job: Job, message: str, now: int | None = None) -> JobStatus | None:
        """An attempt failed: again after a while, or for good after ``max_attempts``, which an annotation says with
        ``status: failed``. Returns ``pending`` or ``failed``, None when it was not in flight any more."""
        raise NotImplementedError

    async def released(self, jobs: Iterable[Job]) -> int:
        """These were not processed after all (disconnected, stopped): pending again at their old place, no attempt.
        Returns how many were still in flight."""
        raise NotImplementedError

    async def wait(self, instance: str, timeout: float | None = None) -> bool:
        """Until ``take`` may find something. False after ``timeout`` seconds, or when the queue was closed."""
        raise NotImplementedError

    async def retry(self, instance: str, sequences: Sequence[int] | None = None) -> int:
        """Give failed jobs (all, or those of these sequences) their attempts anew; returns how many."""
        raise NotImplementedError

    async def pause(self, instance: str) -> None:
        """Give out no jobs of an instance until ``resume``, also after a restart; they are still taken in."""
        raise NotImplementedError

    async def resume(self, instance: str) -> None:
        """Undo ``pause``."""
        raise NotImplementedError

    async def sync(self, instance: str, trigger: SyncTrigger) -> bool:
        """Begin a full sync, or join the one under way (False). It goes on as jobs are taken, across restarts:
        ``sync.started``; once that is done, ``file.added`` of each matching file that the ledger does not show done as
        it is now (and ``file.deleted`` of what it shows and is gone); ``sync.completed`` once those are done.

        Files whose job has failed for good are left to ``retry``. Raises ``NotFound`` for an unknown instance.
        """
        raise NotImplementedError

    async def standing(self, instance: str) -> Standing:
        """Counts, pause, progress of a full sync, usage. Raises ``NotFound`` for an unknown instance."""
        raise NotImplementedError

    async def standings(self) -> list[Standing]:
        """``standing`` of every instance, by name."""
        raise NotImplementedError

    async def jobs(self, instance: str, status: JobStatus, *, after: int = 0, limit: int = 100) -> JobPage:
        """Jobs of one status with a sequence above ``after``. Raises ``NotFound`` for an unknown instance."""
        raise NotImplementedError
