"""The agent: runs the plugin instances of this node that provide files, and keeps the replica true to the disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final

from mosaicfs_core import disk_room
from mosaicfs_core.agent import utilization
from mosaicfs_core.agent.board import Board
from mosaicfs_core.agent.broken_plugins import tell_of_broken
from mosaicfs_core.agent.exclusions import Exclusions, Finding, Reporter
from mosaicfs_core.agent.indexer import Indexer, Report
from mosaicfs_core.agent.jobs import JobKeeper, JobMethods
from mosaicfs_core.agent.removed import Removals
from mosaicfs_core.agent.runner import RUN_HOOKS, Runner
from mosaicfs_core.agent.running import RunningInstances
from mosaicfs_core.agent.schedule import next_nightly
from mosaicfs_core.agent.socket import AgentSocket
from mosaicfs_core.content.roots import native_roots, watch_roots
from mosaicfs_core.documents import times
from mosaicfs_core.errors import MosaicError, NotFound, Unavailable
from mosaicfs_core.hooks import CrawlRequest, FileRecord, Problem
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instance, Instances
from mosaicfs_core.plugins.running.installed import available_plugins
from mosaicfs_core.supervision import Standing, end_tasks, supervised

logger = logging.getLogger(__name__)

STATUS_EVERY_S: Final = 30.0
NIGHTLY_LOOK_S: Final = 60.0
_STATUS_LOOK_S: Final = 1.0
_REINDEX_AFTER_S: Final = 0.2


class Agent:
    """One per node. ``async with Agent(core)`` starts instances, watchers, the first crawl and the socket, and ends
    them.

    ``first_crawl_done`` is set when every instance's first crawl has ended, well or not, or there is none.
    ``subsystems`` may be given parts of the status that others answer for, by name, and ``roots_changed`` functions
    that are called when the watched folders are others than before, ``instances_changed`` such as are called when
    instances are.
    """

    def __init__(self, core: CoreServices) -> None:
        self._core = core
        self._board = Board(core.node_id)
        self._indexer = Indexer(core.store)
        self._removals = Removals(core, self._indexer)
        self._instances = Instances(core)
        self._running = RunningInstances(core, self._instances, self._ran_otherwise, self._ends)
        self.jobs = JobKeeper(core, lambda: self._instances.current, self._running)
        """What plugins do with files."""
        self.job_methods = JobMethods(core, self.jobs)
        """What can be asked about that."""
        self._reporter = Reporter(core, self._board, lambda: self._instances.current, self._running.get)
        self._runners: dict[str, Runner] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._roots: tuple[bytes, ...] = ()
        self._reindex: set[str] = set()
        self._adapting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = AgentSocket(core, self.reindex)
        self.subsystems: dict[str, Callable[[], dict[str, Any]]] = {}
        self.roots_changed: list[Callable[[], Awaitable[None]]] = []
        self.instances_changed: list[Callable[[], Awaitable[None]]] = []
        self.first_crawl_done = asyncio.Event()

    async def __aenter__(self) -> Agent:
        self._loop = asyncio.get_running_loop()
        self._core.rescans.listeners.append(self._look_again)
        await self._instances.refresh()
        await self._learn_roots()
        await self._release_pins()
        await self._socket.start()
        for instance in self._instances.current.values():
            await self._running.ensure(instance)
        await self._begin_jobs()
        await tell_of_broken(self._core)
        for instance in self._instances.current.values():
            await self._run(instance)
        self._spawn("capabilities", self.jobs.advertise)
        self._spawn("settings", self._core.settings.run)
        self._spawn("instances", self._follow)
        self._spawn("first crawls", self._first_crawls)
        self._spawn("nightly crawl", self._nightly)
        self._spawn("figures of the disks", self._measure)
        self._spawn("status", self._write_status)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._core.rescans.leave(self._look_again)
        await end_tasks(*self._tasks)
        for runner in self._runners.values():
            await runner.stop()
            runner.abandon()
        self._runners.clear()
        await self.jobs.stop()
        await self._running.stop()
        with suppress(MosaicError):  # the failed write was reported by the crawl it belonged to
            await self._indexer.settled()
        await self._socket.stop()
        self._loop = None

    async def _begin_jobs(self) -> None:
        """Open the queue before the first crawl, which then enqueues what it finds. On a full disk that comes later:
        what was not enqueued meanwhile is found out then."""
        try:
            await self.jobs.start()
        except Unavailable as error:
            logger.warning("plugins cannot be given work yet: %s", error, extra={"operation": "jobs"})
            self._spawn("jobs of plugins", self.jobs.start)

    def _spawn(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(supervised(name, work, self._core.failing), name=name))

    # What others ask.

    def check_crawls(self, instance: str | None) -> None:
        """Raise ``NotFound`` for the name of an instance that does not crawl on this node."""
        named = None if instance is None else self._runners.get(instance)
        if instance is not None and (named is None or not named.instance.runs("mosaicfs_crawl")):
            raise NotFound(f"no instance {instance} crawls on this node", instance=instance)

    async def crawl(
        self, instance: str | None = None, full: bool = False, prefixes: Sequence[str] = ()
    ) -> dict[str, Report]:
        """Crawl one instance, or all that do, and wait for it; the reports by instance.

        ``prefixes`` limits it to these export paths. Raises ``NotFound`` for an instance that does not run here, else
        the first error once all have ended.
        """
        self.check_crawls(instance)
        request = CrawlRequest(trigger="manual", full=full, prefixes=tuple(prefixes))
        chosen = [
            runner
            for name, runner in self._runners.items()
            if name == instance or (instance is None and runner.instance.runs("mosaicfs_crawl"))
        ]
        outcomes = await asyncio.gather(*(runner.crawl(request) for runner in chosen), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return {
            runner.name: outcome
            for runner, outcome in zip(chosen, outcomes, strict=True)
            if isinstance(outcome, Report)
        }

    def undescribed(self) -> list[dict[str, Any]]:
        """``Instances.undescribed``."""
        return self._instances.undescribed()

    def reconcile(self) -> None:
        """Look at everything soon: something may have passed unnoticed."""
        for runner in self._runners.values():
            if runner.instance.runs("mosaicfs_crawl"):
                runner.crawl(CrawlRequest(trigger="reconnect"))

    def awaited(self, *, watching: bool = False) -> list[str]:
        """The instances whose first crawl has not ended yet, by name; ``watching`` leaves out those without folders."""
        return sorted(
            name
            for name, runner in self._runners.items()
            if not runner.first_done.is_set() and (runner.instance.watches or not watching)
        )

    def status(self) -> dict[str, Any]:
        """The ``agent_status`` document as of now, without its revision."""
        plugins = available_plugins(self._core)
        failed = {
            name: instance.problem
            for name, instance in self._instances.current.items()
            if instance.problem is not None and instance.held_back is None and not instance.left_behind
        }
        missing = [name for name in failed if self._instances.current[name].uninstalled]
        failed |= self._running.problems()
        failed |= self._core.host.lasting
        held_back = {
            name: "not installed" if instance.left_behind else instance.held_back or ""
            for name, instance in self._instances.current.items()
            if instance.left_behind or instance.held_back is not None
        }
        beside = {name: tell() for name, tell in self.subsystems.items()}
        beside["jobs"] = self.jobs.subsystem()
        beside["disk"] = disk_room.subsystem(self._core.home.path, self._core.store.failure)
        failures = self._core.host.failures
        return self._board.document(
            plugins, failed, held_back, self._core.failing, beside, self._core.reports, failures, missing
        )

    def problems(self) -> list[Problem]:
        """What crawls and watchers passed over or could not read, as far as it is kept."""
        return self._board.problems()

    async def exclusions(self, path: str | None = None, *, limit: int = 100, offset: int = 0) -> Exclusions:
        """What is left out of the index under an export path, or everywhere, each thing with its reason, as it is on
        disk now: the crawl without the indexing. Raises ``NotFound`` for a path outside of all watched folders."""
        return await self._reporter.exclusions(path, limit, offset)

    async def look(self, path: str) -> Finding | None:
        """What is on disk at an export path without an indexed file, and why it is not indexed; None when that cannot
        be told."""
        return await self._reporter.look(path)

    async def refused(self, path: str) -> str | None:
        """Why the system does not let this process read the indexed file at an export path, None when it does."""
        return await self._reporter.refused(path)

    def roots(self) -> tuple[bytes, ...]:
        """The resolved native roots beneath which files may be opened. Callable from any thread."""
        return self._roots

    def reindex(self, file: FileRecord) -> None:
        """A file on disk is not what its document says: look at it soon. Callable from any thread."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._note_reindex, file.export_path)

    def _note_reindex(self, path: str) -> None:
        if self._loop is None:
            return
        if not self._reindex:
            self._loop.call_later(_REINDEX_AFTER_S, self._run_reindex)
        self._reindex.add(path)

    def _run_reindex(self) -> None:
        paths, self._reindex = tuple(sorted(self._reindex)), set()
        for runner in self._runners.values():
            if runner.instance.runs("mosaicfs_crawl"):
                runner.crawl(CrawlRequest(trigger="watch", prefixes=paths))

    # Instances.

    def _ran_otherwise(self, name: str) -> None:
        """An instance works, or does not, otherwise than before."""
        running = self._running.get(name)
        if running is not None and running.problem is not None:
            self._board.error("plugins", f"{name}: {running.problem}")
        self.jobs.changed(name)

    async def _ends(self, name: str) -> None:
        """What runs an instance is about to end."""
        await self.jobs.let_go(name)

    async def _run(self, instance: Instance, former: Runner | None = None) -> bool:
        """Begin to run an instance, in place of ``former``; False when it has nothing that runs by itself."""
        running = await self._running.ensure(instance)
        if running is None or not any(instance.runs(hook) for hook in RUN_HOOKS):
            return False
        runner = Runner(self._core, self._indexer, self._board, instance, running)
        self._runners[instance.name] = runner
        if former is not None:
            runner.adopt(former)
        runner.start()
        return True

    async def _follow(self) -> None:
        await self._removals.sweep(self._instances.current)
        async for names in self._instances.follow():
            await self._adapt(names)

    async def _look_again(self) -> None:
        """Other plugins are installed than before."""
        if self._core.control:
            await self._instances.ensure_defaults()
        await self._adapt(await self._instances.changed())
        await tell_of_broken(self._core)

    async def _adapt(self, names: Collection[str]) -> None:
        """Run, or not, instances that came, changed or went."""
        async with self._adapting:
            await self._learn_roots()
            await self._release_pins()
            for name in names:
                former = self._runners.get(name)
                if former is not None:
                    await former.stop()
                instance = self._instances.current.get(name)
                if instance is None:
                    await self._running.drop(name)
                elif await self._run(instance, former):
                    continue
                self._board.forget(name)
                self._core.reports.pop(name, None)
                if former is not None:
                    del self._runners[name]
                    former.abandon()
            await self.jobs.adapt()
            await self._removals.sweep(self._instances.current)
        for changed in self.instances_changed:
            try:
                await changed()
            except MosaicError as error:  # the instances run all the same
                logger.info("a change of instances was not told: %s", error, extra={"operation": "plugins"})

    async def _learn_roots(self) -> None:
        documents = [instance.document for instance in self._instances.current.values()]
        roots = watch_roots(documents, self._core.node_id)
        before, self._roots = self._roots, await asyncio.to_thread(native_roots, roots, self._core.bridge_files)
        if before and before != self._roots:
            for changed in self.roots_changed:
                await changed()

    async def _release_pins(self) -> None:
        """Let go of what instances had pinned that are gone. Those that are only switched off keep it."""
        keeper = self._core.content.keeper
        if keeper is not None:
            await keeper.keep_only(self._instances.current.keys())

    async def _first_crawls(self) -> None:
        for runner in list(self._runners.values()):
            await runner.first_done.wait()
        self.first_crawl_done.set()

    async def _nightly(self) -> None:
        at: str | None = None
        moment: datetime | None = None
        while True:
            now = datetime.now().astimezone()
            if moment is not None and now >= moment:
                await self.tend()
                at, now = None, datetime.now().astimezone()
            if at != self._core.settings.current.nightly_crawl:
                at = self._core.settings.current.nightly_crawl
                moment = next_nightly(now, at)
            # In steps, so that a clock that is set, a machine that slept or a new setting does not shift the hour.
            left = NIGHTLY_LOOK_S if moment is None else (moment - now).total_seconds()
            await asyncio.sleep(min(max(left, 0.0), NIGHTLY_LOOK_S))

    async def tend(self) -> None:
        """The work of the night: look at everything again, then give back what the replica holds in vain."""
        request = CrawlRequest(trigger="scheduled", full=True)
        crawls = [runner.crawl(request) for runner in self._runners.values() if runner.instance.runs("mosaicfs_crawl")]
        await asyncio.gather(*crawls, return_exceptions=True)  # the status has what went wrong
        await self.jobs.sync(None, "scheduled")
        await self._core.store.compact()

    async def _measure(self) -> None:
        """A snapshot in each hour that begins while the agent runs."""
        hour = times.now_micros() // utilization.HOUR
        while True:
            await asyncio.sleep(utilization.LOOK_S)
            now = times.now_micros()
            if now // utilization.HOUR != hour:
                hour = now // utilization.HOUR
                documents = [instance.document for instance in self._instances.current.values()]
                await utilization.keep_hourly(self._core, watch_roots(documents, self._core.node_id), now)

    async def _write_status(self) -> None:
        written: dict[str, Any] | None = None
        at = -STATUS_EVERY_S
        problem = Standing(logger)
        while True:
            status = self.status()
            if time.monotonic() - at >= STATUS_EVERY_S and _without_time(status) != written:
                at = time.monotonic()
                try:
                    await self._core.store.update(status["_id"], partial(_replaced, status))
                except MosaicError as error:
                    text = f"the status cannot be written: {error}"
                    problem.met(logging.WARNING, text, extra={"operation": "status"})
                else:
                    written = _without_time(status)
                    problem.gone()
            await asyncio.sleep(_STATUS_LOOK_S)


def _replaced(status: dict[str, Any], _present: dict[str, Any] | None) -> dict[str, Any]:
    return status


def _without_time(status: dict[str, Any]) -> dict[str, Any]:
    """What is worth being written when it changes: not the time, nor a subsystem's ``figures``, which the writing of
    the status itself would move."""
    parts = {
        name: {key: value for key, value in part.items() if key != "figures"}
        for name, part in status["subsystems"].items()
    }
    return {key: value for key, value in status.items() if key != "updated_at"} | {"subsystems": parts}
