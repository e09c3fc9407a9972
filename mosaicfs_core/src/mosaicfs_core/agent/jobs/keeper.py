"""The plugins of this node that work on files: their subscriptions, workers, health and capabilities, kept in step with
the instances there are."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from mosaicfs_core.agent.jobs.capabilities import write_capabilities
from mosaicfs_core.agent.jobs.conditions import Conditions
from mosaicfs_core.agent.jobs.failing import subsystem_of
from mosaicfs_core.agent.jobs.health import watch_health
from mosaicfs_core.agent.jobs.offers import Offer, offer_of
from mosaicfs_core.agent.jobs.subscriptions import subscription_of
from mosaicfs_core.agent.jobs.worker import Worker
from mosaicfs_core.agent.running import RunningInstances
from mosaicfs_core.errors import MosaicError, NotFound
from mosaicfs_core.hooks import RunningPlugin, SyncTrigger
from mosaicfs_core.jobs import JobQueue
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instance
from mosaicfs_core.plugins.running.kinds import make_places
from mosaicfs_core.supervision import supervised

DISCONNECTED_S: Final = 10.0
"""A plugin that is back within this time is not worth telling the user of."""

GATHER_S: Final = 0.01
"""How long an answer of a plugin waits for others to be stored with; its place at the plugin does not wait."""


@dataclass
class _AtWork:
    running: RunningPlugin
    worker: Worker | None
    conditions: Conditions
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    told: asyncio.Task[None] | None = None
    asks_health: bool = False


class JobKeeper:
    """``adapt`` it whenever the instances changed; ``instances`` gives them by name, ``running`` what runs them."""

    def __init__(
        self, core: CoreServices, instances: Callable[[], Mapping[str, Instance]], running: RunningInstances
    ) -> None:
        self._core, self._instances, self._running = core, instances, running
        self.queue = JobQueue(core.store, core.node_id, core.step_ops(), gather_s=GATHER_S)
        self._at_work: dict[str, _AtWork] = {}
        self._capable = asyncio.Event()
        core.capability_changed = self._capable.set
        self._open = False

    async def start(self) -> None:
        """Open the queue, from where on what happens to files is enqueued, and put the instances to work. May be called
        again after it raised (``Unavailable``: the disk is full)."""
        await asyncio.to_thread(make_places, self._core.home)
        await self.queue.open()
        self._open = True
        await self.adapt()

    async def stop(self) -> None:
        """End the workers; what they had begun waits again."""
        for name in list(self._at_work):
            await self._end(name)
        await self.queue.close()

    async def adapt(self) -> None:
        """Bring subscriptions and workers in step with the instances, and look at all files for those that may have
        missed some. Nothing happens before ``start``."""
        if not self._open:
            return
        current = self._instances()
        wanted = {name: subscription_of(instance) for name, instance in current.items()}
        subscriptions = {name: wish for name, wish in wanted.items() if wish is not None}
        # Whoever has a document keeps what was done, whatever has become of its package: only removing it ends that.
        behind = await self.queue.subscribe(subscriptions, kept=current.keys())
        for name, instance in current.items():
            await self._set_paused(name, instance, subscribed=name in subscriptions)
        for name in behind:
            await self.queue.sync(name, "scheduled")
        for name in self._at_work.keys() | current.keys():
            await self._adapt(name, subscribed=name in subscriptions)
        self._capable.set()

    async def _set_paused(self, name: str, instance: Instance, *, subscribed: bool) -> None:
        if not subscribed:
            return
        standing = await self.queue.standing(name)
        if instance.paused is not standing.paused:
            await (self.queue.resume(name) if standing.paused else self.queue.pause(name))

    async def _adapt(self, name: str, *, subscribed: bool) -> None:
        running, present = self._running.get(name), self._at_work.get(name)
        if present is not None and (present.running is not running or (present.worker is not None) is not subscribed):
            await self._end(name)
            if running is None:
                # Nobody wants it to be there.
                await present.conditions.connected()
                await present.conditions.health_told()
            present = None
        if present is not None:
            self._stir(present)
        elif running is not None:
            self._begin(name, running, subscribed=subscribed)

    def _begin(self, name: str, running: RunningPlugin, *, subscribed: bool) -> None:
        conditions = Conditions(self._core, name)

        def instance() -> Instance | None:
            return self._instances().get(name)

        made = _AtWork(running, None, conditions)
        if subscribed:
            made.worker = Worker(
                self.queue, running, instance, conditions.jobs_failed, partial(self._drained, name, conditions)
            )
            self._spawn(made, f"jobs of {name}", made.worker.run)
        self._at_work[name] = made
        self.changed(name)

    def _spawn(self, made: _AtWork, name: str, work: Callable[[], Awaitable[None]]) -> None:
        made.tasks.append(asyncio.create_task(supervised(name, work, self._core.failing), name=name))

    async def _drained(self, name: str, conditions: Conditions) -> None:
        """Nothing is left to do; when nothing has failed either, that is worth taking a notification back."""
        standing = await self.queue.standing(name)
        if not standing.counts.failed:
            await conditions.jobs_well()

    async def let_go(self, name: str) -> None:
        """What runs an instance is about to end: give back its jobs first, which must not be charged for that. The next
        ``adapt`` puts it to work again, where it still is."""
        made = self._at_work.get(name)
        if made is not None:
            await self._end_tasks(made)

    async def _end(self, name: str) -> None:
        await self._end_tasks(self._at_work.pop(name))
        self._core.withdrawn.pop(name, None)

    async def _end_tasks(self, made: _AtWork) -> None:
        tasks = [*made.tasks, *([made.told] if made.told is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Whether plugins are there.

    def changed(self, name: str) -> None:
        """An instance works, or does not, otherwise than before. Plain function."""
        made = self._at_work.get(name)
        if made is not None:
            self._stir(made)
            if made.told is not None:
                made.told.cancel()
            made.told = asyncio.create_task(self._tell(made), name=f"connection of {name}")
            if "mosaicfs_health" in made.running.hooks and not made.asks_health:
                # A foreign program says only once it is connected that it can be asked.
                made.asks_health = True
                health = partial(watch_health, made.running, lambda: self._instances().get(name), made.conditions)
                self._spawn(made, f"health of {name}", health)
        self._capable.set()

    def _stir(self, made: _AtWork) -> None:
        if made.worker is not None:
            made.worker.stir()

    async def _tell(self, made: _AtWork) -> None:
        try:
            if made.running.problem is None:
                await made.conditions.connected()
                return
            await asyncio.sleep(DISCONNECTED_S)
            if made.running.problem is not None:
                await made.conditions.disconnected(made.running.problem)
        except MosaicError:  # the store cannot be written: the next change tells it
            return

    # Capabilities.

    def offers(self) -> dict[str, Offer]:
        """What each instance can be asked now, and what it lacks, by name."""
        core, found = self._core, {}
        for name, instance in self._instances().items():
            made = self._at_work.get(name)
            running = made.running if made is not None else None
            found[name] = offer_of(instance, running, core.withdrawn.get(name, ()), core.reports.get(name, {}))
        return found

    def running(self, name: str) -> tuple[RunningPlugin, str]:
        """What runs an instance that offers something, and its package."""
        return self._at_work[name].running, self._instances()[name].package

    async def advertise(self) -> None:
        """Keep the node's document true about what this node can be asked. Runs until it is cancelled."""
        while True:
            await self._capable.wait()
            self._capable.clear()
            offers = self.offers()
            offered = {endpoint.capability for offer in offers.values() for endpoint in offer.endpoints}
            self._core.offers["plugins"] = frozenset(offered)
            self._core.lacking = {
                (capability, name): offer.reason for name, offer in offers.items() for capability in offer.lacking
            }
            await write_capabilities(self._core)

    # For the user.

    async def sync(self, instance: str | None, trigger: SyncTrigger = "manual") -> dict[str, bool]:
        """Begin a full sync of one instance, or all that take file events; of each whether it was begun or is under way
        already. Raises ``NotFound``."""
        subscribed = {name for name, made in self._at_work.items() if made.worker is not None}
        if instance is not None:
            self.check_takes_events(instance)
        if instance is not None and instance not in subscribed:
            raise NotFound(f"no instance {instance} works on files on this node", instance=instance)
        names = sorted(subscribed) if instance is None else [instance]
        return {name: await self.queue.sync(name, trigger) for name in names}

    def check_takes_events(self, name: str) -> None:
        """Raise ``NotFound`` for an instance that is told nothing of files, and so never has jobs."""
        instance = self._instances().get(name)
        if instance is not None and instance.hooks and "mosaicfs_file_event" not in instance.hooks:
            text = f"{name} is told nothing of files and has no jobs; `mosaicfs status` shows what it does instead"
            raise NotFound(text, instance=name)

    def subsystem(self) -> dict[str, Any]:
        """The part of the status that tells which jobs failed for good."""
        if not self._open:
            return subsystem_of([])
        try:
            return subsystem_of(self.queue.failures())
        except sqlite3.Error as error:
            return {"status": "degraded", "detail": f"the queue cannot be read: {error}"}

    def waits(self, instance: str) -> str:
        """Why an instance takes no jobs at present, in a sentence; empty when nothing is in the way."""
        made = self._at_work.get(instance)
        if made is None:
            return "The plugin does not run."
        return made.worker.waits if made.worker is not None else ""
