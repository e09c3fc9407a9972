"""The job queue of one node: the surface that agents and their workers use."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from mosaicfs_core.documents import now_micros
from mosaicfs_core.documents.times import MICROS_PER_SECOND
from mosaicfs_core.errors import MosaicError, NotFound, UserError
from mosaicfs_core.hooks import StepOp, SyncTrigger
from mosaicfs_core.jobs import finishing, forgetting, instances, listing, schema, syncing, taking
from mosaicfs_core.jobs.answers import Answers
from mosaicfs_core.jobs.budgets import day_of
from mosaicfs_core.jobs.enqueueing import Enqueuer
from mosaicfs_core.jobs.failures import FailureLooks, Failures
from mosaicfs_core.jobs.finishing import LONGEST_PAUSE_S, Answer, Bench
from mosaicfs_core.jobs.forgetting import WhichAnnotations
from mosaicfs_core.jobs.instances import Instance
from mosaicfs_core.jobs.matching import Matcher
from mosaicfs_core.jobs.records import Job, JobPage, JobStatus, Standing, Subscription
from mosaicfs_core.jobs.schema import FAILED, LISTING
from mosaicfs_core.jobs.taking import Taken, Wish
from mosaicfs_core.store import FileWrite, Store, WriteTransaction

logger = logging.getLogger(__name__)

RETRIED: Final = 10_000
"""Failed jobs made ready in one transaction, at most."""
LARGEST_PAGE: Final = 10_000

_GAP: Final = "SELECT 1 FROM documents WHERE seq > (SELECT value FROM job_state WHERE key = 'seq') AND dir IS NOT NULL"


class JobQueue:
    """Jobs of all plugin instances of this node. Lives on the store's event loop; every method that changes something
    is durable when it returns.

    ``node_id`` is this node's: whose files ``scope`` ``node`` means, and who the annotations are made by. ``step_ops``
    are the filter-step ops of plugins. ``clock`` tells microseconds, ``chance`` a number from 0 to 1. Answers wait
    ``gather_s`` seconds for others to be stored with.
    """

    def __init__(
        self,
        store: Store,
        node_id: str,
        step_ops: Mapping[str, StepOp] | None = None,
        *,
        clock: Callable[[], int] = now_micros,
        chance: Callable[[], float] = random.random,
        gather_s: float = 0.0,
    ) -> None:
        self._store, self._node_id, self._clock, self._chance = store, node_id, clock, chance
        self._step_ops = dict(step_ops or {})
        self._enqueuer = Enqueuer(node_id, self._step_ops, clock)
        self._observer: _Observer | None = None
        self._closed = False
        self._news = asyncio.Event()
        """Set, and replaced by another one, when there may be something to take."""
        self._answers = Answers(self._at_bench, gather_s, self._wake)
        self._purging: asyncio.Task[None] | None = None
        self._returning: set[asyncio.Task[None]] = set()
        self._looks = FailureLooks()
        self._listing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self) -> None:
        """Make ready what the replica holds: tables, jobs that were in flight (pending again, no attempt), and watch
        the store's writes from here on. Open it before anything writes files."""
        self._observer = _Observer(self._enqueuer, asyncio.get_running_loop(), self._wake)
        try:
            await self._store.transaction(partial(_open, observer=self._observer, now=self._clock()))
        except BaseException:
            await self._store.observe(None)
            raise
        self._purge()

    async def close(self) -> None:
        """Store the answers that were given, watch no longer; whoever waits is woken, with False. The store stays
        open."""
        self._closed = True
        self._wake()
        if self._purging is not None:
            self._purging.cancel()
        under_way = [task for task in (self._answers.storing, self._purging, *self._returning) if task is not None]
        if under_way:
            await asyncio.wait(under_way)
        if self._store.writable:
            await self._store.observe(None)

    # What there is

    async def subscribe(self, subscriptions: Mapping[str, Subscription], kept: Collection[str] = ()) -> list[str]:
        """The instances there are, all of them, by name. One that is not named any more loses its queue and ledger;
        one that is among ``kept`` alone (it is there, but nobody knows at present what it subscribes to) keeps them,
        and is disabled.

        Returns the names that need a full sync because their subscription is new or wider, or because files were
        written while nobody watched; each is named until its ``sync`` was called, also after a restart. What of a
        subscription cannot be understood (a wrong glob or step) is logged, and passed over.
        """
        for name, subscription in subscriptions.items():
            for problem in (await self._matcher(subscription)).problems:
                logger.warning("the subscription of %s: %s", name, problem)
        found = await self._store.transaction(lambda tx: instances.subscribe(tx, subscriptions, kept))
        self._purge()
        self._wake()
        return found

    async def _matcher(self, subscription: Subscription) -> Matcher:
        """Made in a thread: the op of a plugin may take its time to compile a step."""
        return await asyncio.to_thread(Matcher, subscription, self._node_id, self._step_ops)

    def _purge(self) -> None:
        if self._purging is None or self._purging.done():
            self._purging = asyncio.ensure_future(self._purge_all())

    async def _purge_all(self) -> None:
        """Remove the rows of instances that are gone, in steps."""
        try:
            while await self._store.transaction(instances.purge):
                pass
        except MosaicError as error:  # the next start goes on with it
            logger.warning("what instances that are gone have left could not be removed: %s", error)

    async def pause(self, instance: str) -> None:
        """Give out no jobs of an instance until ``resume``, also after a restart; they are still taken in."""
        await self._set_paused(instance, 1)

    async def resume(self, instance: str) -> None:
        """Undo ``pause``."""
        await self._set_paused(instance, 0)

    async def _set_paused(self, name: str, paused: int) -> None:
        def change(tx: WriteTransaction) -> None:
            number = _known(tx, name).number
            tx.execute("UPDATE job_instances SET paused = ? WHERE instance = ?", (paused, number))

        await self._store.transaction(change)
        self._wake()

    # Working

    async def take(
        self,
        instance: str,
        limit: int,
        now: int | None = None,
        *,
        max_bytes: int | None = None,
        day: str = "",
        fresh: bool = False,
    ) -> list[Job]:
        """At most ``limit`` jobs that may be run at ``now`` (microseconds), which are in flight from then on; never one
        of a file that another one in flight is of. Empty for an instance that is unknown, paused or disabled.

        Retries that are due come first (with ``fresh`` last), then by ``sequence``. With ``max_bytes``, no more once
        the files taken have so many bytes together; the first is always taken. ``day`` is the day that they are counted
        to (``usage``), by default the local day of ``now``.
        """
        moment = self._clock() if now is None else now
        today = day or day_of(datetime.fromtimestamp(moment / MICROS_PER_SECOND))
        wish = Wish(limit, moment, max_bytes, today, fresh)
        while limit > 0:
            taken = await self._take(instance, wish)
            if taken.jobs or taken.instance is None:
                return taken.jobs
            if taken.listing:
                await self._list(taken.instance, moment)
            elif not taken.dropped:
                break
        return []

    async def _take(self, name: str, wish: Wish) -> Taken:
        """Jobs of one transaction. It ends also when who waits for it is cancelled: then they are given back, because
        nobody else knows that they are in flight."""
        taking_them: asyncio.Future[Taken] = asyncio.ensure_future(
            self._store.transaction(partial(taking.take, name=name, wish=wish))
        )
        try:
            return await asyncio.shield(taking_them)
        except asyncio.CancelledError:
            returning = asyncio.ensure_future(self._return(taking_them))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)
            raise

    async def _return(self, taking_them: asyncio.Future[Taken]) -> None:
        try:
            await self.released((await taking_them).jobs)
        except MosaicError as error:  # the next start has them wait again
            logger.warning("jobs that nobody waits for could not be given back: %s", error)

    async def _list(self, instance: Instance, now: int) -> None:
        """One page of a full sync's listing."""
        async with self._listing[instance.name]:
            sql = "SELECT looked_at, until FROM job_syncs WHERE instance = ? AND phase = ?"
            rows = await self._store.read(lambda reader: reader.rows(sql, (instance.number, LISTING)))
            if rows:
                after, until = rows[0]
                matcher = await self._matcher(instance.parsed())
                find = partial(syncing.look, instance=instance, matcher=matcher, after=after, until=until, now=now)
                found = await self._store.read(find)
                write = partial(syncing.enqueue, matcher=matcher, found=found, after=after, now=now)
                await self._store.transaction(lambda tx: write(tx, _known(tx, instance.name)))
        self._wake()

    async def done(self, job: Job, annotation: Mapping[str, Any] | None = None) -> bool:
        """The plugin has answered: the annotation (None or empty: nothing to write), the ledger and the end of the job
        are stored at once. Calls that wait together share a transaction.

        False when the job is not in flight any more (its instance is gone, it was given back already): nothing is
        stored. Raises ``InvalidDocument`` for an annotation that no document can hold; the job stays in flight. Who is
        cancelled here is so once the answer is stored, or cannot be.
        """
        return await self._answers.store(Answer(job, annotation))

    async def failed(
        self, job: Job, message: str, now: int | None = None, *, unavailable: bool = False
    ) -> JobStatus | None:
        """An attempt failed: again after a while, or for good after ``max_attempts``, which an annotation says with
        ``status: failed``. Where what the plugin needs was ``unavailable``, it is no attempt for about a day. Returns
        ``pending`` or ``failed``, None when it was not in flight any more."""
        end = finishing.postpone if unavailable else finishing.fail
        status = await self._at_bench(partial(end, job=job, message=message, chance=self._chance), now)
        self._wake()
        if status is None:
            return None
        return "failed" if status == FAILED else "pending"

    async def released(self, jobs: Iterable[Job]) -> int:
        """These were not processed after all (disconnected, stopped): pending again at their old place, no attempt.
        Returns how many were still in flight."""
        given = list(jobs)
        count: int = await self._at_bench(partial(finishing.release, jobs=given))
        self._wake()
        return count

    async def reclaim(self, instance: str) -> int:
        """Nobody works for an instance (any more): what is in flight waits again, no attempt. Returns how many."""

        def back(tx: WriteTransaction) -> int:
            found = instances.named(tx, instance)
            return 0 if found is None else finishing.reclaim(tx, found)

        count = await self._store.transaction(back)
        self._wake()
        return count

    async def _at_bench(self, function: Callable[[Bench], Any], now: int | None = None) -> Any:
        moment = self._clock() if now is None else now

        def work(tx: WriteTransaction) -> Any:
            bench = Bench(tx, self._node_id, moment)
            value = function(bench)
            bench.close()
            return value

        return await self._store.transaction(work)

    async def wait(self, instance: str, timeout: float | None = None) -> bool:
        """Until ``take`` may find something. False after ``timeout`` seconds, or when the queue was closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._closed:
                    news = self._news
                    due = listing.may_take(self._store.reader, instance)
                    left = None if due is None else (due - self._clock()) / MICROS_PER_SECOND
                    if left is not None and left <= 0:
                        return True
                    with contextlib.suppress(TimeoutError):
                        # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
                        async with asyncio.timeout(left):
                            await news.wait()
        return False

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # For the user

    async def retry(self, instance: str, sequences: Sequence[int] | None = None) -> int:
        """Give failed jobs (all, or those of these sequences) their attempts anew; returns how many. Raises
        ``NotFound`` for an unknown instance."""

        def some(tx: WriteTransaction) -> int:
            return instances.retry(tx, _known(tx, instance), sequences, RETRIED)

        total = changed = await self._store.transaction(some)
        while changed == RETRIED:
            total += (changed := await self._store.transaction(some))
        self._wake()
        return total

    async def forget(self, which: WhichAnnotations) -> int:
        """Take away annotations that this node made; returns how many. Their files are due again for the instances
        that made them, at once where those take jobs in, else once they do. What is in flight meanwhile is not done
        again: its answer comes after this."""

        def make_due(tx: WriteTransaction, gone: forgetting.Documents) -> None:
            forgetting.make_due(tx, gone, self._enqueuer.matchers.of, self._clock())

        count = await forgetting.forget(self._store, self._node_id, which, make_due)
        self._wake()
        return count

    async def sync(self, instance: str, trigger: SyncTrigger) -> bool:
        """Begin a full sync, or join the one under way (False). It goes on as jobs are taken, across restarts:
        ``sync.started``; once that is done, ``file.added`` of each matching file that the ledger does not show done as
        it is now (and ``file.deleted`` of what it shows and is gone); ``sync.completed`` once those are done.

        Files whose job has failed for good are left to ``retry``. Raises ``NotFound`` for an unknown instance.
        """

        def begin(tx: WriteTransaction) -> bool:
            found = _known(tx, instance)
            return syncing.begin(tx, found, found.parsed(), trigger, self._clock())

        begun = await self._store.transaction(begin)
        self._wake()
        return begun

    async def standing(self, instance: str) -> Standing:
        """Counts, pause, progress of a full sync, usage. Raises ``NotFound`` for an unknown instance."""
        return await self._store.read(lambda reader: listing.standing(reader, instance))

    def failures(self) -> list[Failures]:
        """What failed for good of every instance that is switched on. Plain function: a fraction of a millisecond for
        an instance of which something moved, however many jobs there are, and nothing for the others."""
        return self._looks.look(self._store.reader)

    async def standings(self) -> list[Standing]:
        """``standing`` of every instance, by name."""
        return await self._store.read(listing.standings)

    async def jobs(self, instance: str, status: JobStatus, *, after: int = 0, limit: int = 100) -> JobPage:
        """Jobs of one status with a sequence above ``after``, at most 10,000. Raises ``NotFound`` for an unknown
        instance, ``UserError`` for a limit that makes no sense."""
        if not 1 <= limit <= LARGEST_PAGE:
            raise UserError(f"limit: expected 1 to {LARGEST_PAGE:,}, got {limit}", field="limit")
        return await self._store.read(lambda reader: listing.page(reader, instance, status, after, limit))


class _Observer:
    """What the store calls, in its writer's thread."""

    def __init__(self, enqueuer: Enqueuer, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._enqueuer, self._loop, self._wake = enqueuer, loop, wake

    def files_written(self, tx: WriteTransaction, writes: Sequence[FileWrite]) -> None:
        """Enqueue what this means to plugins."""
        self._enqueuer.files_written(tx, writes)

    def committed(self) -> None:
        """Wake who waits for jobs."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._wake)


def _open(tx: WriteTransaction, observer: _Observer, now: int) -> None:
    schema.prepare(tx)
    if tx.execute(f"{_GAP} LIMIT 1").fetchone() is not None:
        tx.execute("UPDATE job_instances SET needs_sync = 1")
    tx.execute("UPDATE job_state SET value = ? WHERE key = 'seq'", (tx.seq,))
    for instance in instances.all_instances(tx):
        finishing.recover(tx, instance, now + int(LONGEST_PAUSE_S * MICROS_PER_SECOND))
    tx.observe(observer)


def _known(tx: WriteTransaction, name: str) -> Instance:
    found = instances.named(tx, name)
    if found is None:
        raise NotFound(f"There is no plugin instance {name!r} on this node.")
    return found
