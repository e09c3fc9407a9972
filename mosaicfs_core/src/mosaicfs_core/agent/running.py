"""What runs the instances of this node: started when an instance can run, told of new settings, started anew only when
it is to be run in another way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from mosaicfs_core.hooks import RunningPlugin
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instance, Instances
from mosaicfs_core.plugins.running import kinds

WORK_HOOKS: Final = frozenset(
    {
        "mosaicfs_crawl",
        "mosaicfs_watch",
        "mosaicfs_run",
        "mosaicfs_file_event",
        "mosaicfs_query",
        "mosaicfs_health",
    }
)
"""An instance without any of these has nothing to run."""


class RunningInstances:
    """By name. ``changed`` is called with the name of one that works, or does not, otherwise than before; ``ending``
    with that of one right before it ends, so that whoever has it work lets go of it."""

    def __init__(
        self,
        core: CoreServices,
        instances: Instances,
        changed: Callable[[str], None],
        ending: Callable[[str], Awaitable[None]],
    ) -> None:
        self._core, self._instances, self._changed, self._ending = core, instances, changed, ending
        self._running: dict[str, tuple[tuple[Any, ...], RunningPlugin]] = {}

    def get(self, name: str) -> RunningPlugin | None:
        """What runs an instance, None when nothing does."""
        found = self._running.get(name)
        return None if found is None else found[1]

    def problems(self) -> dict[str, str]:
        """Why those that do not work at present do not, by name."""
        return {name: running.problem for name, (_, running) in self._running.items() if running.problem is not None}

    async def ensure(self, instance: Instance) -> RunningPlugin | None:
        """Have an instance run as its document says now; None when it cannot or has nothing to run."""
        way = _way(instance)
        found = self._running.get(instance.name)
        if found is not None and found[0] == way:
            found[1].configure()
            return found[1]
        await self.drop(instance.name)
        if way is None:
            return None
        running = kinds.run(self._core, self._instances, instance, lambda: self._changed(instance.name))
        self._running[instance.name] = (way, running)
        await running.start()
        return running

    async def drop(self, name: str) -> None:
        """End what runs an instance."""
        found = self._running.pop(name, None)
        if found is not None:
            await self._ending(name)
            await found[1].stop()

    async def stop(self) -> None:
        """End all."""
        for name in list(self._running):
            await self.drop(name)


def _way(instance: Instance) -> tuple[Any, ...] | None:
    """What a running instance cannot change without being started anew; None when nothing is to be run."""
    if not any(instance.runs(hook) for hook in WORK_HOOKS):
        return None
    document = instance.document
    return (
        document.get("plugin_type", "package"),
        instance.package,
        None if instance.plugin is None else instance.plugin.code,
        document.get("isolate"),
        instance.prefix,
        instance.hooks,
    )
