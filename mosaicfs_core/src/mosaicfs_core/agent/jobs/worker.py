"""Jobs of one instance, from the queue to the plugin and back: as many at once as it may have, as its budget allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from mosaicfs_core.agent.jobs.subscriptions import budget_of, workers_of
from mosaicfs_core.documents import times
from mosaicfs_core.errors import InvalidDocument, MosaicError, PluginError, Unavailable
from mosaicfs_core.hooks import FileEvent, RunningPlugin
from mosaicfs_core.jobs import Allowance, Job, JobQueue, allowance
from mosaicfs_core.plugins.instances import Instance

logger = logging.getLogger(__name__)

T = TypeVar("T")
LOOK_S: Final = 60.0
"""The longest sleep: a clock that is set, and a budget that is changed, are noticed by then."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0


class Worker:
    """``run`` works until it is cancelled. ``instance`` answers the instance as it is now; ``told`` is called with what
    became of a job, and when nothing is left to do, so that the user may be told."""

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
        self._stirred = asyncio.Event()
        self._busy = False
        self.waits: str = ""
        """Why it takes no jobs at present, in a sentence; empty when nothing is in the way."""

    def stir(self) -> None:
        """Something is otherwise than before: the settings, or whether the plugin is there. Plain function."""
        self._stirred.set()

    async def run(self) -> None:
        """Take and run jobs. Cancelled, it gives back those that the plugin has not answered."""
        try:
            while True:
                self._stirred.clear()
                await self._sleep(await self._round())
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _round(self) -> float:
        """Begin what may be begun; how long to sleep, in seconds, unless something happens."""
        instance = self._instance()
        if instance is None or instance.held_back is not None:
            self.waits = "" if instance is None else f"The plugin is {instance.held_back}."
            return LOOK_S
        if self._running.problem is not None:
            self.waits = f"The plugin does not work at present: {self._running.problem}."
            return LOOK_S
        room = (self._running.window or workers_of(instance)) - len(self._tasks)
        if room <= 0:
            return LOOK_S
        now = datetime.now().astimezone()
        may = await self._allowance(instance, now)
        self.waits = may.why
        if may.jobs == 0:
            return _until(may.not_before, now)
        jobs = await self._queue.take(
            instance.name, room if may.jobs is None else min(room, may.jobs), max_bytes=may.bytes
        )
        for job in jobs:
            self._begin(instance, job)
        if not jobs and not self._tasks and self._busy:
            self._busy = False
            await self._drained()
        return 0.0 if jobs else LOOK_S

    async def _allowance(self, instance: Instance, now: datetime) -> Allowance:
        if instance.document.get("budget") is None:
            return Allowance()
        standing = await self._queue.standing(instance.name)
        return allowance(budget_of(instance.document), standing.usage, now)

    def _begin(self, instance: Instance, job: Job) -> None:
        self._busy = True
        task = asyncio.create_task(self._one(instance, job), name=f"job {job.sequence} of {job.instance}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._stirred.set()

    async def _sleep(self, seconds: float) -> None:
        """Until something happens: a job ends, the plugin or its settings change, the queue has something, the time."""
        if seconds <= 0 or self._stirred.is_set():
            return
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._stirred.wait())]
        instance = self._instance()
        if instance is not None and not self.waits and not self._full(instance):
            waits.append(asyncio.ensure_future(self._queue.wait(instance.name)))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _full(self, instance: Instance) -> bool:
        return len(self._tasks) >= (self._running.window or workers_of(instance))

    # One job.

    async def _one(self, instance: Instance, job: Job) -> None:
        try:
            answer = await self._running.file_event(await _event(instance, job))
        except asyncio.CancelledError:
            await asyncio.shield(self._given_back(job))
            raise
        except Unavailable:
            await self._given_back(job)
            # Whoever is not there needs a moment, whether it says that it has gone or not.
            await asyncio.sleep(FIRST_PAUSE_S)
        except PluginError as error:
            await self._attempted(job, error.message)
        else:
            await self._answered(job, answer)

    async def _answered(self, job: Job, answer: Mapping[str, Any] | None) -> None:
        try:
            await self._stored(lambda: self._queue.done(job, answer))
        except InvalidDocument as error:
            await self._attempted(job, f"its annotation cannot be stored: {error.message}")

    async def _attempted(self, job: Job, message: str) -> None:
        if await self._stored(lambda: self._queue.failed(job, message)) == "failed":
            await self._failed(message)

    async def _given_back(self, job: Job) -> None:
        try:
            await self._queue.released([job])
        except MosaicError as error:
            # It is in flight until the next start, which makes it pending again.
            logger.info("job %d of %s was not given back: %s", job.sequence, job.instance, error)

    async def _stored(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write to the queue, again and again while the store does not take it (a full disk): the plugin has done its
        work, and must not do it again for that."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                return await write()
            except Unavailable as error:
                logger.warning("an answer cannot be stored: %s", error, extra={"operation": "jobs"})
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
