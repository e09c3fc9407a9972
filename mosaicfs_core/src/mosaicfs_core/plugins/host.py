"""The plugin host: every installed plugin, loaded and guarded, and the only way in which feature code calls hooks."""

from __future__ import annotations

import logging
import time
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import pluggy
from importlib_metadata import EntryPoint

from mosaicfs_core.errors import MosaicError, NotFound, PluginError
from mosaicfs_core.hooks import PluginKind, PluginManifest, StepOp, specs
from mosaicfs_core.plugins.containment import call_plain
from mosaicfs_core.plugins.discovery import InstalledPlugin, installed_plugins, look_anew, unknown_names
from mosaicfs_core.plugins.hooktable import HOOKS, HookKind
from mosaicfs_core.plugins.loading import LOAD_S, LoadedPlugin, load_plugin, not_loaded
from mosaicfs_core.plugins.operations import check_yielded
from mosaicfs_core.plugins.patience import Hangs, within
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.plugins.probing import fatal_import
from mosaicfs_core.plugins.rescanning import rescanned
from mosaicfs_core.plugins.results import check_answer, check_result
from mosaicfs_core.plugins.settings import SettingsSchema
from mosaicfs_core.plugins.step_ops import attributed_op

logger = logging.getLogger("mosaicfs.plugins")

_KEPT_FAILURES: Final = 50


@dataclass(frozen=True)
class PluginFailure:
    """Something a plugin did wrong. ``at`` is seconds since the epoch."""

    plugin: str
    hook: str
    message: str
    traceback: str
    at: float


class Watcher(NamedTuple):
    """A plugin that watches folders, and the setting that lists them."""

    plugin: str
    setting: str


@dataclass(frozen=True)
class _Choice:
    """Which plugins a host is to have: as ``PluginHost.discover`` is told."""

    disabled: frozenset[str]
    safe_mode: bool
    only: frozenset[str] | None
    entry_points: tuple[EntryPoint, ...] | None

    def has(self, name: str) -> bool:
        """Whether a plugin of this name is listed."""
        return self.only is None or name in self.only


class PluginHost:
    """Lists plugins and calls their hooks. Make one with ``discover``."""

    def __init__(self, manager: pluggy.PluginManager, choice: _Choice) -> None:
        self._manager = manager
        self._choice = choice
        self._failures: deque[PluginFailure] = deque(maxlen=_KEPT_FAILURES)
        self._step_ops: dict[str, StepOp] | None = None
        self._kinds: dict[str, tuple[str, PluginKind]] | None = None
        self._schemas: dict[str, SettingsSchema] = {}
        self._lasting: dict[str, PluginError] = {}
        self._listeners: list[Callable[[PluginError], None]] = []
        self.plugins: Mapping[str, LoadedPlugin] = {}

    @classmethod
    def discover(
        cls,
        disabled: Collection[str] = (),
        safe_mode: bool = False,
        *,
        only: Collection[str] | None = None,
        entry_points: Iterable[EntryPoint] | None = None,
        elsewhere: Iterable[LoadedPlugin] = (),
    ) -> PluginHost:
        """Load what is installed, ours first. Never raises for a plugin's sake.

        ``disabled`` names are listed without being imported, and a name among them that is none of a plugin's is
        logged as a warning; ``safe_mode`` imports first-party plugins alone; ``only``
        limits the host to these names; ``entry_points`` replaces what is installed; ``elsewhere`` are plugins in
        environments of their own, each in place of one of its name that is installed here.
        """
        manager = pluggy.PluginManager("mosaicfs")
        manager.add_hookspecs(specs)
        given = None if entry_points is None else tuple(entry_points)
        host = cls(manager, _Choice(frozenset(disabled), safe_mode, None if only is None else frozenset(only), given))
        apart = {plugin.name: plugin for plugin in elsewhere if only is None or plugin.name in only}
        found = installed_plugins(given)
        for problem in unknown_names([name for name in disabled if name not in apart], found):
            logger.warning("asked to leave out a plugin: %s", problem)
        host._take({one.name: host._load(one) for one in host._installed(apart.values())} | apart)
        return host

    def rescan(self, elsewhere: Iterable[LoadedPlugin]) -> frozenset[str]:
        """Look again at what is installed, and load what has come since; the names of plugins that are others than
        before. Blocks, and is to be called once at a time. What is loaded stays as it is, and says when something else
        is installed in its place (``LoadedPlugin.restart``). ``elsewhere`` are the plugins in environments of their own
        as they are now.
        """
        look_anew()
        before = self.plugins
        apart = [plugin for plugin in elsewhere if self._choice.has(plugin.name)]
        self._take(rescanned(before, self._installed(apart), apart, self._load))
        names = before.keys() | self.plugins.keys()
        changed = frozenset(name for name in names if before.get(name) != self.plugins.get(name))
        if changed:
            self._kinds = self._ask_kinds()  # here, where it may take its time
        return changed

    def _installed(self, apart: Iterable[LoadedPlugin]) -> list[InstalledPlugin]:
        """What is installed here, ours first, then by name, but for what has an environment of its own."""
        names = {plugin.name for plugin in apart}
        found = installed_plugins(self._choice.entry_points)
        return [plugin for plugin in found if plugin.name not in names and self._choice.has(plugin.name)]

    def _load(self, installed: InstalledPlugin) -> LoadedPlugin:
        if installed.name in self._choice.disabled:
            return not_loaded(installed, "disabled by name")
        if self._choice.safe_mode and not installed.first_party:
            return not_loaded(installed, "not loaded in safe mode")
        if not installed.first_party and installed.problem is None and self._choice.entry_points is None:
            fatal = fatal_import(installed)
            installed = replace(installed, problem=fatal and f"plugin {installed.name}: {fatal}")
        return load_plugin(self._manager, installed)

    def _take(self, plugins: Mapping[str, LoadedPlugin]) -> None:
        """These are the plugins from now on."""
        new = [plugin for name, plugin in plugins.items() if plugin != self.plugins.get(name)]
        for plugin in new:
            self._schemas.pop(plugin.name, None)
            if plugin.status == "failed":
                logger.error("plugin %s cannot be used: %s", plugin.name, plugin.error, extra={"plugin": plugin.name})
        self.plugins = plugins

    @property
    def disabled(self) -> Collection[str]:
        """The plugins that are not to be imported, by name."""
        return self._choice.disabled

    @property
    def safe_mode(self) -> bool:
        """Whether first-party plugins alone are."""
        return self._choice.safe_mode

    # -- what there is ---------------------------------------------------------------------------------------------

    def get(self, name: str) -> LoadedPlugin:
        """The plugin of that name. Raises ``NotFound``."""
        plugin = self.plugins.get(name)
        if plugin is None:
            raise NotFound(f"no plugin {name} is installed", plugin=name)
        return plugin

    def manifest_of(self, name: str) -> PluginManifest | None:
        """The manifest of the plugin of that name, None when it is not installed or did not load."""
        plugin = self.plugins.get(name)
        return plugin.manifest if plugin is not None else None

    def implements(self, plugin: LoadedPlugin | str, hook: str) -> bool:
        """Whether a working plugin has the hook."""
        found = self.plugins.get(plugin) if isinstance(plugin, str) else plugin
        return found is not None and found.status == "ok" and hook in found.hooks

    def providers(self, hook: str) -> list[LoadedPlugin]:
        """The working plugins that have the hook, in the order in which they are called: ours first, then by name."""
        return [plugin for plugin in self.plugins.values() if self.implements(plugin, hook)]

    def watcher(self) -> Watcher | None:
        """The plugin that takes the folders which a user names: the first working one that is on by default."""
        for plugin in self.plugins.values():
            manifest = plugin.manifest
            if plugin.status == "ok" and manifest is not None and manifest.default_enabled and manifest.watches:
                return Watcher(plugin.name, manifest.watches)
        return None

    def settings_schema(self, plugin: LoadedPlugin | str) -> SettingsSchema:
        """A plugin's compiled settings schema. Raises ``NotFound``, or ``PluginError`` when the schema is wrong."""
        found = self.get(plugin) if isinstance(plugin, str) else plugin
        schema = self._schemas.get(found.name)
        if schema is None:
            schema = SettingsSchema.compiled(found.name, found.manifest.settings_schema if found.manifest else None)
            self._schemas[found.name] = schema
        return schema

    @property
    def failures(self) -> Sequence[PluginFailure]:
        """The last failures of hooks, oldest first (a plugin that did not load says so itself)."""
        return tuple(self._failures)

    def record(self, error: PluginError) -> None:
        """Log a failure, with its traceback unless it was told on purpose, and keep it among ``failures``, a
        lasting one among ``lasting`` too."""
        trace = "".join(traceback.format_exception(error.__cause__ or error))
        unforeseen = None if isinstance(error.__cause__, MosaicError) else error.__cause__
        logger.error("%s", error.message, exc_info=unforeseen, extra={"plugin": error.plugin, "operation": error.hook})
        self._failures.append(PluginFailure(error.plugin, error.hook, error.message, trace, time.time()))
        if error.details.get("lasting"):
            self._lasting[error.message] = error
        for listener in self._listeners:
            listener(error)

    def over(self, error: PluginError) -> None:
        """A lasting failure has ended with the process that it was in."""
        self._lasting.pop(error.message, None)

    @property
    def lasting(self) -> Mapping[str, str]:
        """What is off since it failed, by plugin: the last message of each."""
        return {error.plugin: error.message for error in list(self._lasting.values())}

    def tell_failures(self, listener: Callable[[PluginError], None]) -> None:
        """Call ``listener`` with each failure from now on, in whatever thread it is recorded."""
        self._listeners.append(listener)

    # -- registration hooks ----------------------------------------------------------------------------------------

    def registered(self, hook: str, **arguments: Any) -> list[tuple[LoadedPlugin, Any]]:
        """Call a registration hook of every plugin; a failing or nonsensical one is recorded and left out."""
        answers: list[tuple[LoadedPlugin, Any]] = []
        for plugin in self.providers(hook):
            try:
                answers.append((plugin, self.register(plugin, hook, **arguments)))
            except PluginError as error:
                self.record(error)
        return answers

    def register(self, plugin: LoadedPlugin | str, hook: str, **arguments: Any) -> Any:
        """Call one plugin's registration hook. Raises ``PluginError``, also when one that is not ours has not returned
        after ``LOAD_S``: nothing else starts meanwhile."""
        name, function, wanted = self._implementation(plugin, hook, arguments, HookKind.PLAIN)
        call = partial(call_plain, name, hook, function, wanted)
        try:
            answer = call() if self.get(name).first_party else within(LOAD_S, call)
        except Hangs:
            raise PluginError(f"plugin {name}: {hook} has not returned after {LOAD_S:g} s", name, hook) from None
        problem = check_result(hook, answer)
        if problem is not None:
            raise PluginError(f"plugin {name}: {hook} returned {problem}", name, hook)
        return answer

    def step_ops(self) -> Mapping[str, StepOp]:
        """The plugins' step ops by name. Whatever one raises is a ``PluginError``, and recorded.

        Where two plugins have an op of one name the first keeps it and the other is recorded as a failure.
        """
        if self._step_ops is None:
            found: dict[str, StepOp] = {}
            for plugin, ops in self.registered("mosaicfs_step_ops"):
                for op in ops:
                    if op.name in found:
                        message = f"plugin {plugin.name}: another plugin has a step op named {op.name}"
                        self.record(PluginError(message, plugin.name, "mosaicfs_step_ops"))
                    else:
                        found[op.name] = attributed_op(plugin.name, op, self.record)
            self._step_ops = found
        return self._step_ops

    def kinds(self) -> Mapping[str, tuple[str, PluginKind]]:
        """The kinds that plugins add, by ``plugin_type``: who added it, and the kind. The first of a name keeps it."""
        if self._kinds is None:
            self._kinds = self._ask_kinds()
        return self._kinds

    def _ask_kinds(self) -> dict[str, tuple[str, PluginKind]]:
        found: dict[str, tuple[str, PluginKind]] = {}
        for plugin, kinds in self.registered("mosaicfs_plugin_kinds"):
            for kind in kinds:
                if kind.name in found or kind.name == "package":
                    message = f"plugin {plugin.name}: there is a kind {kind.name} of plugins already"
                    self.record(PluginError(message, plugin.name, "mosaicfs_plugin_kinds"))
                else:
                    found[kind.name] = (plugin.name, kind)
        return found

    # -- work hooks ------------------------------------------------------------------------------------------------

    async def call(self, plugin: LoadedPlugin | str, hook: str, *, timeout: float | None, **arguments: Any) -> Any:
        """Await a plugin's coroutine hook, at most ``timeout`` seconds. Raises ``PluginError`` (recorded), also for an
        answer that is not what the hook answers."""
        from mosaicfs_core.plugins import dispatch

        if "emit" in arguments:
            name = plugin if isinstance(plugin, str) else plugin.name
            arguments["emit"] = _checked_emit(name, hook, arguments["emit"], _places(arguments))
        name, function, wanted = self._implementation(plugin, hook, arguments, HookKind.COROUTINE)
        try:
            answer = await dispatch.call_coroutine(name, hook, function, wanted, timeout)
            problem = check_answer(hook, answer)
            if problem is not None:
                raise PluginError(f"plugin {name}: {hook} returned {problem}", name, hook)
            return answer
        except PluginError as error:
            self.record(error)
            raise

    async def iterate(
        self, plugin: LoadedPlugin | str, hook: str, *, stall_timeout: float | None, **arguments: Any
    ) -> AsyncGenerator[Any, None]:
        """Iterate a plugin's async-generator hook; each item must come within ``stall_timeout`` seconds.

        Close it (``contextlib.aclosing``) when leaving early, so that the plugin's generator ends then and not at some
        later collection. Raises ``PluginError`` (recorded).
        """
        from mosaicfs_core.plugins import dispatch

        name, function, wanted = self._implementation(plugin, hook, arguments, HookKind.GENERATOR)
        items = dispatch.iterate(name, hook, function, wanted, stall_timeout, _places(arguments))
        try:
            async for item in items:
                yield item
        except PluginError as error:
            self.record(error)
            raise
        finally:
            await items.aclose()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _implementation(
        self, plugin: LoadedPlugin | str, hook: str, arguments: Mapping[str, Any], kind: HookKind
    ) -> tuple[str, Callable[..., Any], dict[str, Any]]:
        """The function to call and the arguments it names, of those given."""
        name = plugin if isinstance(plugin, str) else plugin.name
        if HOOKS[hook].kind is not kind:
            raise TypeError(f"{hook} is {HOOKS[hook].kind.value}; the dispatcher was asked to run {kind.value}")
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin_name == name:
                return name, implementation.function, {key: arguments[key] for key in implementation.argnames}
        raise PluginError(f"plugin {name} has no working {hook}", name, hook)


def _places(arguments: Mapping[str, Any]) -> Places | None:
    """Where the instance behind these arguments must stay, None without one."""
    return getattr(arguments.get("context"), "places", None)


def _checked_emit(plugin: str, hook: str, emit: Callable[[Any], Any], places: Places | None) -> Callable[[Any], Any]:
    async def checked(operations: Any) -> None:
        problem = check_yielded(operations, places)
        if problem is not None:
            raise PluginError(f"plugin {plugin}: {hook} emitted {problem}", plugin, hook)
        await emit(operations if isinstance(operations, list | tuple) else [operations])

    return checked
