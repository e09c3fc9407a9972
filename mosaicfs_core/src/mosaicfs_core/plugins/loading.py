"""Loading one plugin: import, manifest, hook API, hooks, registration, each guarded and named when it fails."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

import msgspec
import pluggy

from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import EVENTS, HOOK_API, PluginManifest
from mosaicfs_core.plugins.discovery import InstalledPlugin
from mosaicfs_core.plugins.hooktable import HOOKS, PREFIX, kind_of
from mosaicfs_core.plugins.patience import Hangs, within
from mosaicfs_core.plugins.schema_shape import structure_problem
from mosaicfs_core.similar import similar

OLDEST_HOOK_API: Final = 1
LOAD_S: Final = 10.0
"""How long the import of a plugin that is not ours may take, its manifest included."""
STARTED_ANEW: Final = "once MosaicFS is started anew"
_ONE_ASIDE: Final = threading.Lock()
_MANIFEST: Final = "mosaicfs_manifest"
_NAMING_FILES: Final = ("mosaicfs_crawl", "mosaicfs_watch")

Status = Literal["ok", "failed", "disabled"]


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin as the host lists it, working or not.

    ``entry_point`` is what its entry point names (a module, or ``module:object``). ``error`` is one line for people,
    ``traceback`` the whole story of a failed one. ``hooks`` are the names of the hooks it implements (empty unless
    ``status`` is ok). ``python`` is the interpreter of the environment that it has for itself: nothing of it is
    imported here then. ``late`` is one that was loaded after the start, and ``restart`` says what is not as it is
    installed before this process starts anew.
    """

    name: str
    entry_point: str
    manifest: PluginManifest | None
    distribution: str
    distribution_version: str
    first_party: bool
    status: Status
    error: str | None = None
    traceback: str | None = None
    hooks: frozenset[str] = frozenset()
    python: Path | None = None
    late: bool = False
    restart: str | None = None

    @property
    def code(self) -> tuple[str, Path | None]:
        """Which code runs, and where: a version, and whose interpreter."""
        return self.distribution_version, self.python

    @property
    def apart(self) -> bool:
        """Whether its work runs in a process of its own unless an instance says otherwise: what its manifest says, else
        what is not ours does, for in our process it could block everything. What was given to this process alone can
        only run in it, what has an environment of its own only there."""
        if self.python is not None:
            return True
        if self.manifest is not None and self.manifest.isolate is not None:
            return self.manifest.isolate
        return not self.first_party and bool(self.distribution)


def load_plugin(manager: pluggy.PluginManager, installed: InstalledPlugin) -> LoadedPlugin:
    """Import and register a plugin. Never raises: a plugin that cannot be used is returned as failed, unregistered,
    and nothing of it stays imported. One whose import hangs says in ``restart`` that it cannot be tried again: its
    thread goes on, and holds the lock of the module."""
    manifest: PluginManifest | None = None
    before = frozenset(sys.modules)
    try:
        if installed.problem is not None:
            raise PluginError(installed.problem, installed.name, "")
        plugin, manifest = _imported(installed)
        _check_hook_api(manifest, installed.name)
        hooks = _check_hooks(manager, plugin, installed.name)
        _check_places(manifest, hooks, installed.name)
        manager.register(plugin, installed.name)
    except Hangs:
        text = f"plugin {installed.name}: its import has not ended after {LOAD_S:g} s"
        return replace(_listed(installed, None, "failed", text), restart=f"it is tried again {STARTED_ANEW}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's module may do anything, exiting included
        _unregister(manager, installed.name)
        _forget(installed.entry_point.module, before)
        return _listed(installed, manifest, "failed", _one_line(error), traceback.format_exc())
    return _listed(installed, manifest, "ok", hooks=hooks)


def _imported(installed: InstalledPlugin) -> tuple[Any, PluginManifest]:
    """What the entry point names, and its manifest. A stranger's module may take ``LOAD_S`` at most: nothing else
    starts meanwhile, and nobody could tell which one it is that does not come back. Raises ``Hangs``."""

    def load() -> tuple[Any, PluginManifest]:
        plugin = installed.entry_point.load()
        return plugin, _read_manifest(plugin, installed.name)

    def load_foreign() -> tuple[Any, PluginManifest]:
        try:
            return load()
        except (Exception, SystemExit):
            raise
        except BaseException as error:  # nobody pressed Ctrl-C in this thread
            raise PluginError(
                f"plugin {installed.name}: importing it raised {_one_line(error)}", installed.name, ""
            ) from error

    if installed.first_party:
        return load()
    with _output_aside():
        return within(LOAD_S, load_foreign)


@contextmanager
def _output_aside() -> Iterator[None]:
    """Have what is printed go to standard error, also by those who write to the descriptor itself. What a command
    prints may be read by a program; no stranger's module has a say in that. One at a time: a second would take what the
    first put there for the process's own, and leave it so."""
    with _ONE_ASIDE, redirect_stdout(sys.stderr):
        try:
            ours = os.dup(1)
            os.dup2(2, 1)
        except OSError:  # a process without these prints nothing
            yield
            return
        try:
            yield
        finally:
            os.dup2(ours, 1)
            os.close(ours)


def not_loaded(installed: InstalledPlugin, reason: str) -> LoadedPlugin:
    """A plugin that is listed as disabled, without having been imported."""
    return _listed(installed, None, "disabled", reason)


def _listed(
    installed: InstalledPlugin,
    manifest: PluginManifest | None,
    status: Status,
    error: str | None = None,
    trace: str | None = None,
    hooks: frozenset[str] = frozenset(),
) -> LoadedPlugin:
    return LoadedPlugin(
        name=installed.name,
        entry_point=installed.entry_point.value,
        manifest=manifest,
        distribution=installed.distribution,
        distribution_version=installed.distribution_version,
        first_party=installed.first_party,
        status=status,
        error=error,
        traceback=trace,
        hooks=hooks,
    )


def _read_manifest(plugin: Any, name: str) -> PluginManifest:
    implementation = getattr(plugin, _MANIFEST, None)
    if not callable(implementation):
        raise PluginError(f"plugin {name} has no {_MANIFEST}()", name, _MANIFEST)
    if inspect.iscoroutinefunction(implementation):
        raise PluginError(f"plugin {name}: {_MANIFEST} must be a plain function, not async", name, _MANIFEST)
    manifest = implementation()
    if not isinstance(manifest, PluginManifest):
        kind = type(manifest).__name__
        raise PluginError(f"plugin {name}: {_MANIFEST} returned {kind} instead of a PluginManifest", name, _MANIFEST)
    try:
        # Structs do not check their fields when they are made.
        manifest = msgspec.convert(msgspec.to_builtins(manifest, enc_hook=_plain), PluginManifest)
    except (TypeError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise PluginError(f"plugin {name}: the manifest cannot be used as given: {error}", name, _MANIFEST) from None
    _check_manifest(manifest, name)
    return manifest


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def _check_manifest(manifest: PluginManifest, name: str) -> None:
    amounts = {
        "poll_interval_s": manifest.poll_interval_s,
        "workers": manifest.workers,
        "health_check_interval_s": manifest.health_check_interval_s,
    }
    wrong = [f"{field} is not above 0" for field, amount in amounts.items() if amount is not None and not amount > 0]
    wrong += [f"there is no event {event}" for event in manifest.subscribed_events if event not in EVENTS]
    if wrong:
        raise PluginError(f"plugin {name}: its manifest is wrong: {'; '.join(wrong)}", name, _MANIFEST)
    problem = None if manifest.settings_schema is None else structure_problem(manifest.settings_schema)
    if problem is not None:
        raise PluginError(f"plugin {name}: its settings_schema is no schema of an object: {problem}", name, _MANIFEST)
    if manifest.watches is not None and manifest.watches not in (manifest.settings_schema or {}).get("properties", {}):
        raise PluginError(f"plugin {name}: it watches the setting {manifest.watches}, which it lacks", name, _MANIFEST)


def check_described(manifest: PluginManifest, hooks: frozenset[str], name: str) -> None:
    """Check what a package in another environment says of itself as if it were loaded here. Raises ``PluginError``."""
    _check_manifest(manifest, name)
    _check_hook_api(manifest, name)
    _check_places(manifest, hooks, name)


def _check_hook_api(manifest: PluginManifest, name: str) -> None:
    if OLDEST_HOOK_API <= manifest.hook_api <= HOOK_API:
        return
    known = str(HOOK_API) if OLDEST_HOOK_API == HOOK_API else f"{OLDEST_HOOK_API} to {HOOK_API}"
    older = "MosaicFS" if manifest.hook_api > HOOK_API else "the plugin"
    message = (
        f"plugin {name} is written for hook API {manifest.hook_api}, this MosaicFS offers {known}: upgrade {older}"
    )
    raise PluginError(message, name, _MANIFEST)


def _check_hooks(manager: pluggy.PluginManager, plugin: Any, name: str) -> frozenset[str]:
    """The hooks a plugin implements; raises for an unknown, unmarked or wrongly written one."""
    implemented: set[str] = set()
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            if attribute.startswith(PREFIX) and inspect.isroutine(getattr(plugin, attribute, None)):
                raise PluginError(f"plugin {name}: {attribute} is not marked with @hookimpl", name, attribute)
            continue
        hook_name = options.get("specname") or attribute
        hook = HOOKS.get(hook_name)
        if hook is None:
            raise PluginError(f"plugin {name}: there is no hook {hook_name}{_similar(hook_name)}", name, hook_name)
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"plugin {name}: {hook_name} cannot be a wrapper", name, hook_name)
        if kind_of(getattr(plugin, attribute)) is not hook.kind:
            raise PluginError(f"plugin {name}: {hook_name} must be {hook.kind.value}", name, hook_name)
        implemented.add(hook_name)
    return frozenset(implemented)


def _check_places(manifest: PluginManifest, hooks: frozenset[str], name: str) -> None:
    """Refuse a plugin that names files without saying where they lie: nothing would be its own to name."""
    hook = next((hook for hook in _NAMING_FILES if hook in hooks), None)
    if hook is not None and manifest.watches is None and not manifest.provides_filesystem:
        raise PluginError(
            f"plugin {name} has {hook}, but its manifest does not say where its files lie: set watches to the name of "
            "the setting that lists the folders it indexes, or provides_filesystem when the files are its own",
            name,
            _MANIFEST,
        )


def _similar(name: str) -> str:

    near = similar(name, HOOKS)
    return f"; did you mean {near[0]}?" if near else f"; the hooks are {', '.join(HOOKS)}"


def _unregister(manager: pluggy.PluginManager, name: str) -> None:
    """Leave no trace of a plugin: older pluggy keeps half of one whose validation failed."""
    if manager.get_plugin(name) is not None:
        manager.unregister(name=name)


def _forget(module: str, before: Collection[str]) -> None:
    """Forget what was imported of a package that cannot be used, so that it is imported anew once it is mended; not
    what was there ``before``, which others hold."""
    package = module.partition(".")[0]
    for name in sys.modules.keys() - before:
        if name == package or name.startswith(f"{package}."):
            _let_go(name, sys.modules.pop(name, None))


def _let_go(name: str, module: ModuleType | None) -> None:
    """Take a module that is forgotten from the one above it: ``from . import name`` looks there first."""
    above, _, attribute = name.rpartition(".")
    holder = sys.modules.get(above)
    if isinstance(holder, ModuleType) and module is not None and vars(holder).get(attribute) is module:
        delattr(holder, attribute)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, PluginError | pluggy.PluginValidationError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
