"""Jobs of one instance, from the queue to the plugin and back: as many at once as it may have, as its budget allows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from mosaicfs_core.agent.jobs.outage import Outage
from mosaicfs_core.agent.jobs.pace import Pace
from mosaicfs_core.agent.jobs.subscriptions import budget_of, workers_of
from mosaicfs_core.documents import times
from mosaicfs_core.errors import InvalidDocument, MosaicError, PluginError, Unavailable, readable
from mosaicfs_core.hooks import FileEvent, RunningPlugin
from mosaicfs_core.jobs import Allowance, Job, JobQueue, allowance
from mosaicfs_core.plugins.containment import as_plugin_error
from mosaicfs_core.plugins.instances import Instance
from mosaicfs_core.supervision import Standing, logged

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_S: Final = 60.0
"""The longest sleep: a clock that is set, and a budget that is changed, are noticed by then."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0
MOST_STORING: Final = 500
"""Answers that wait to be stored before the plugin is given no more."""


class Worker:
    """``run`` works until it is cancelled. ``instance`` answers the instance as it is now; ``failed`` is called when a
    job has failed for good, ``drained`` when nothing is left to do, so that the user may be told.

    A job has its place at the plugin only until the plugin has answered: the next one begins while the answer is being
    stored, and jobs for that are taken ahead.
    """

    def __init__(
        self,
        queue: JobQueue,
        running: RunningPlugin,
        instance: Callable[[], Instance | None],
        failed: Callable[[str], Awaitable[None]],
        drained: Callable[[], Awaitable[None]],
    ) -> None:
        self._queue, self._running, self._instance = queue, running, instance
        self._failed, self._drained = failed, drained
        self._tasks: set[asyncio.Task[None]] = set()
        self._ahead: deque[Job] = deque()
        """Jobs in flight that have not begun."""
        self._at_plugin = 0
        self._pace = Pace()
        self._outage = Outage()
        self._stirred = asyncio.Event()
        self._busy = False
        self._unstored = Standing(logger)
        self._begun = False
        self.waits: str = ""
        """Why it takes no jobs at present, in a sentence; empty when nothing is in the way."""

    def stir(self) -> None:
        """Something is otherwise than before: the settings, or whether the plugin is there. Plain function."""
        self._stirred.set()

    async def run(self) -> None:
        """Take and run jobs. Cancelled, it gives back those that the plugin has not answered."""
        self._begun, pause = False, FIRST_PAUSE_S
        try:
            while True:
                self._stirred.clear()
                try:
                    sleep = await self._round()
                    pause = FIRST_PAUSE_S
                except Unavailable as error:
                    # The store cannot be written at present. What is under way must not end with this round.
                    logger.warning("no jobs can be taken: %s", error, extra={"operation": "jobs"})
                    await asyncio.sleep(pause)
                    sleep, pause = 0.0, min(pause * 2, LONGEST_PAUSE_S)
                await self._sleep(sleep)
        finally:
            # First of all, so that the end of one job begins no other.
            ahead, self._ahead = list(self._ahead), deque()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, self._given_back(*ahead), return_exceptions=True)

    async def _round(self) -> float:
        """Begin what may be begun; how long to sleep, in seconds, unless something happens."""
        instance = self._instance()
        self.waits = self._in_the_way(instance)
        if instance is not None and not self._begun:
            # Nobody else works on these: a worker that came to a bad end has left them.
            await self._queue.reclaim(instance.name)
            self._begun = True
        if instance is None or self.waits:
            left = self._outage.left
            await self._put_back()
            return left or LOOK_S
        self._fill(instance)
        room = self._room(instance)
        if room <= 0:
            return LOOK_S
        now = datetime.now().astimezone()
        may = await self._allowance(instance, now)
        self.waits = may.why
        if may.jobs == 0:
            return _until(may.not_before, now)
        limit = room if may.jobs is None else min(room, may.jobs)
        # What could not be done before says least of whether it can be now.
        jobs = await self._queue.take(instance.name, limit, max_bytes=may.bytes, fresh=self._outage.lasts)
        self._ahead.extend(jobs)
        self._fill(instance)
        if not jobs and self._idle and self._busy:
            self._busy = False
            await self._drained()
        return 0.0 if jobs else LOOK_S

    def _in_the_way(self, instance: Instance | None) -> str:
        if instance is None:
            return ""
        if instance.held_back is not None:
            return f"The plugin is {instance.held_back}."
        problem = self._running.problem
        return self._outage.why if problem is None else f"The plugin does not work at present: {problem}."

    @property
    def _idle(self) -> bool:
        return not self._tasks and not self._ahead

    def _width(self, instance: Instance) -> int:
        return 1 if self._outage.lasts else self._running.window or workers_of(instance)

    def _room(self, instance: Instance) -> int:
        """How many jobs to take now: none while half of what is to be ahead is there, so that it is many at once."""
        if len(self._tasks) - self._at_plugin >= MOST_STORING:
            return 0
        width = self._width(instance)
        # A budget counts what is taken, so that nothing is taken in vain.
        ahead = 0 if instance.document.get("budget") is not None else self._pace.ahead(width)
        return width + ahead - self._at_plugin - len(self._ahead) if len(self._ahead) <= ahead // 2 else 0

    def _fill(self, instance: Instance) -> None:
        """Begin jobs that were taken, as many as there is a place for. Plain function."""
        width = self._width(instance)
        while self._ahead and self._at_plugin < width and len(self._tasks) - self._at_plugin < MOST_STORING:
            self._begin(instance, self._ahead.popleft())

    async def _put_back(self) -> None:
        """Give back what was taken ahead. Raises ``Unavailable``; then it is still ahead."""
        jobs, self._ahead = self._ahead, deque()
        if not jobs:
            return
        try:
            await self._queue.released(jobs)
        except Unavailable:
            self._ahead.extendleft(reversed(jobs))
            raise

    async def _allowance(self, instance: Instance, now: datetime) -> Allowance:
        if instance.document.get("budget") is None:
            return Allowance()
        standing = await self._queue.standing(instance.name)
        return allowance(budget_of(instance.document), standing.usage, now)

    def _begin(self, instance: Instance, job: Job) -> None:
        self._busy = True
        self._at_plugin += 1
        task = asyncio.create_task(self._one(instance, job), name=f"job {job.sequence} of {job.instance}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._next()

    def _next(self) -> None:
        """There may be a place for another job."""
        instance = self._instance()
        if instance is None or self._in_the_way(instance):
            self._stirred.set()
            return
        self._fill(instance)
        if self._idle or self._room(instance) > 0:
            self._stirred.set()

    async def _sleep(self, seconds: float) -> None:
        """Until something happens: a job ends, the plugin or its settings change, the queue has something, the time."""
        if seconds <= 0 or self._stirred.is_set():
            return
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._stirred.wait())]
        instance = self._instance()
        if instance is not None and not self.waits and self._room(instance) > 0:
            waits.append(asyncio.ensure_future(self._queue.wait(instance.name)))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    # One job.

    async def _one(self, instance: Instance, job: Job) -> None:
        """However it ends, its job is in flight no longer."""
        try:
            store = await self._at_the_plugin(instance, job)
            self._next()
            if store is not None:
                await store()
        except asyncio.CancelledError:
            await asyncio.shield(self._given_back(job))
            raise
        except Exception:
            logger.exception("job %d of %s", job.sequence, job.instance, extra={"operation": "jobs"})
            await asyncio.sleep(FIRST_PAUSE_S)
            await self._given_back(job)

    async def _at_the_plugin(self, instance: Instance, job: Job) -> Callable[[], Awaitable[None]] | None:
        """Have the plugin do a job; what is to be stored of that. None when it was given back."""
        begun = time.monotonic()
        try:
            answer = await self._running.file_event(await _event(instance, job))
        except Unavailable:
            await self._stored(lambda: self._queue.released([job]))
            # Whoever is not there needs a moment, whether it says that it has gone or not.
            await asyncio.sleep(FIRST_PAUSE_S)
            return None
        except PluginError as error:
            if not error.unavailable:
                self._outage.over()
            elif job.file is None or job.file.node_id == instance.document["node_id"]:
                # That another machine is off says nothing of the plugin: its files wait each for itself.
                self._outage.told(error.message)
            return partial(self._attempted, job, error.message, unavailable=error.unavailable)
        except Exception as error:
            # A running plugin raises nothing else. Should it, that is no reason to ask it again for ever.
            logger.exception("job %d of %s", job.sequence, job.instance, extra={"operation": "jobs"})
            return partial(self._attempted, job, as_plugin_error(job.instance, "mosaicfs_file_event", error).message)
        finally:
            self._at_plugin -= 1
        if job.file is not None:  # that a sync begins or has ended is no measure of what a file costs
            self._pace.took(time.monotonic() - begun)
        self._outage.over()
        return partial(self._answered, job, answer)

    async def _answered(self, job: Job, answer: Mapping[str, Any] | None) -> None:
        try:
            await self._stored(lambda: self._queue.done(job, answer))
        except InvalidDocument as error:
            await self._attempted(job, f"its annotation cannot be stored: {error.message}")
        except Exception as error:
            logger.exception("an annotation of %s", job.instance, extra={"operation": "jobs"})
            await self._attempted(job, f"its annotation cannot be stored: {readable(str(error))}")

    async def _attempted(self, job: Job, message: str, *, unavailable: bool = False) -> None:
        if await self._stored(lambda: self._queue.failed(job, message, unavailable=unavailable)) == "failed":
            await logged(f"telling that jobs of {job.instance} failed", self._failed(message))

    async def _given_back(self, *jobs: Job) -> None:
        """As far as that can be done at once: this one goes."""
        if not jobs:
            return
        try:
            await self._queue.released(jobs)
        except MosaicError as error:
            # They are in flight until the next worker begins, which has them wait again.
            logger.info("%d jobs of %s were not given back: %s", len(jobs), jobs[0].instance, error)

    async def _stored(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write to the queue, again and again while the store does not take it (a full disk): the plugin has done its
        work, and must not do it again for that."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                written = await write()
            except Unavailable as error:
                text = f"an answer cannot be stored: {error}"
                self._unstored.met(logging.WARNING, text, extra={"operation": "jobs"})
            else:
                self._unstored.gone()
                return written
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)


async def _event(instance: Instance, job: Job) -> FileEvent:
    here = None
    if job.file is not None and job.event != "file.deleted":
        here = await instance.context.local_path(job.file)
    return FileEvent(
        event=job.event,
        sequence=job.sequence,
        timestamp=times.format_time(job.created_at),
        node_id=instance.context.node_id,
        file=job.file,
        local_path=None if here is None else _as_text(here),
        previous_export_path=job.previous_export_path,
        trigger=job.trigger,
    )


def _as_text(path: Path) -> str | None:
    """A path as JSON can carry it; None for one that is not UTF-8, whose bytes ``open_file`` has all the same."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text


def _until(moment: datetime | None, now: datetime) -> float:
    left = timedelta(seconds=LOOK_S) if moment is None else moment - now
    return min(max(left.total_seconds(), 0.01), LOOK_S)
