"""From an instance to what runs it: the host's process, a child, or a kind that a plugin adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from mosaicfs_core import children
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import Notice, PluginContext, Program, RunningPlugin
from mosaicfs_core.hooks.wire import WORKERS
from mosaicfs_core.plugins.containment import as_plugin_error
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.environments import interpreter
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.instances import Instance, Instances
from mosaicfs_core.plugins.loading import LoadedPlugin
from mosaicfs_core.plugins.running.child import Child
from mosaicfs_core.plugins.running.guarded import Guarded
from mosaicfs_core.plugins.running.in_process import InProcess
from mosaicfs_core.plugins.running.not_running import NotRunning

_DEFAULT_TIMEOUT_S: Final = 60.0
SYSTEM_PLUGINS: Final = Path("/usr/lib/mosaicfs/plugins")
"""Programs that the machine's administrator installed."""


class Surroundings:
    """The ``KindContext`` of an instance. ``changed`` is called when it runs otherwise than before."""

    def __init__(
        self, core: CoreServices, instances: Instances, instance: Instance, changed: Callable[[], None]
    ) -> None:
        self._core, self._instances, self._instance = core, instances, instance
        self._changed = changed

    @property
    def plugin(self) -> PluginContext:
        """The instance's own context."""
        return self._instance.context

    @property
    def package(self) -> str:
        """What the instance runs."""
        return self._instance.package

    @property
    def document(self) -> Mapping[str, Any]:
        """The instance's document as it is now."""
        return self._instances.current.get(self._instance.name, self._instance).document

    @property
    def timeout_s(self) -> float:
        """The limit as it is now."""
        return float(self.document.get("timeout_s") or _DEFAULT_TIMEOUT_S)

    @property
    def plugin_dirs(self) -> Sequence[Path]:
        """The home's first, then the machine's."""
        return plugin_dirs(self._core.home)

    @property
    def socket_dir(self) -> Path:
        """Where plugins listen."""
        return socket_dir(self._core.home)

    async def notify(self, notice: Notice) -> None:
        """Record what the plugin says of its own accord."""
        await self._instance.context.raise_notification(notice)

    def changed(self) -> None:
        """Pass it on."""
        self._changed()


def plugin_dirs(home: Home) -> tuple[Path, ...]:
    """Where foreign programs are on this node."""
    return (home.plugins_dir, SYSTEM_PLUGINS)


def socket_dir(home: Home) -> Path:
    """Where foreign programs listen on this node."""
    return home.run_dir / "plugin-sockets"


def make_places(home: Home) -> None:
    """Make the home's directories of foreign programs, which its owner alone may write to, where they are not there:
    whoever writes a program puts it there. Raises ``Unavailable``."""
    for directory in (home.plugins_dir, socket_dir(home)):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{directory} cannot be made: {error.strerror}") from None


def programs(home: Home, host: PluginHost) -> list[Program]:
    """The foreign programs of this node, good and bad; a kind that cannot tell of its own stands for them."""
    found: list[Program] = []
    for name, (plugin, kind) in host.kinds().items():
        try:
            told = list(kind.programs(plugin_dirs(home), socket_dir(home)))
            wrong = [type(one).__name__ for one in told if not isinstance(one, Program)]
            if wrong:
                raise TypeError(f"it lists a {wrong[0]}, which is no Program")
        except Exception as error:  # noqa: BLE001 - the edge to foreign code
            problem = as_plugin_error(plugin, "mosaicfs_plugin_kinds", error).message
            told = [Program(name=name, plugin_type=name, problem=problem)]
        found += told
    return found


def is_isolated(instance: Instance, plugin: LoadedPlugin) -> bool:
    """Whether a package runs in a process of its own: what its instance says, else as it is for the package."""
    wish = instance.document.get("isolate")
    return plugin.apart if wish is None or plugin.python is not None else bool(wish)


def run(core: CoreServices, instances: Instances, instance: Instance, changed: Callable[[], None]) -> RunningPlugin:
    """What runs an instance that has no ``problem``; not started."""
    context = Surroundings(core, instances, instance, changed)
    kind = str(instance.document.get("plugin_type", "package"))
    inner: RunningPlugin
    if kind != "package":
        inner = _of_kind(core, kind, context)
    else:
        plugin = instance.plugin
        assert plugin is not None
        if not is_isolated(instance, plugin):
            return InProcess(core.host, plugin, context)
        workers = plugin.manifest.workers if plugin.manifest else WORKERS
        inner = Child(partial(_command, core.home, plugin), plugin.hooks, workers, context)
    return Guarded(inner, core.host, context, lambda: instances.places(instance.name))


def _command(home: Home, plugin: LoadedPlugin) -> list[str]:
    """What starts a package's process. Raises ``PluginError`` when its environment is not to be relied on by now."""
    served = plugin.name if plugin.distribution else f"{plugin.name}={plugin.entry_point}"
    python = None if plugin.python is None else interpreter(home, plugin.name)
    return children.command(home.path, "plugin", "serve", served, "--socket", python=python)


def _of_kind(core: CoreServices, kind: str, context: Surroundings) -> RunningPlugin:
    """An instance of a kind that a plugin adds, or one that says why that plugin could not make it."""
    plugin, made = core.host.kinds()[kind]
    try:
        running = made.run(context)
        if not isinstance(running, RunningPlugin):
            raise TypeError(f"it made a {type(running).__name__}, which is no RunningPlugin")
    except Exception as error:  # noqa: BLE001 - the edge to foreign code
        failed = as_plugin_error(plugin, "mosaicfs_plugin_kinds", error)
        core.host.record(failed)
        return NotRunning(failed.message)
    return running
