"""Packages with a virtual environment of their own: ``environments/NAME`` in the home, made by whoever looks after the
machine, holds the package NAME and all that it needs. Nothing of it is imported here: its own interpreter says what the
package is, and runs it.

Like the plugin directory, the directory is a security boundary: it names programs that are run as MosaicFS, so no
document can name another one, and one to which others may write is passed over.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from mosaicfs_core import children
from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import PluginManifest
from mosaicfs_core.hooks.trust import open_to_others
from mosaicfs_core.plugins.discovery import PLUGIN_NAME
from mosaicfs_core.plugins.hooktable import HOOKS, HookKind
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.loading import LoadedPlugin, Status, check_described
from mosaicfs_core.plugins.running.environment import environment_of_child

DESCRIBE_S: Final = 30.0
"""How long an environment's interpreter may take to say what its package is."""
_AT_ONCE: Final = 4


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a package is, as ``mosaicfs plugin describe`` prints it."""

    manifest: PluginManifest
    hooks: tuple[str, ...]
    entry_point: str
    distribution: str
    distribution_version: str


def description_of(plugin: LoadedPlugin) -> Described:
    """A package that loaded, described for another process."""
    assert plugin.manifest is not None
    return Described(
        manifest=plugin.manifest,
        hooks=tuple(sorted(plugin.hooks)),
        entry_point=plugin.entry_point,
        distribution=plugin.distribution,
        distribution_version=plugin.distribution_version,
    )


def host_of(home: Home, disabled: Collection[str] = (), safe_mode: bool = False) -> PluginHost:
    """The plugins of a home: those installed beside MosaicFS, and those with an environment of their own. Blocks while
    the latter are asked what they are."""
    return PluginHost.discover(disabled, safe_mode, elsewhere=plugins_elsewhere(home, disabled, safe_mode))


def rescan(home: Home, host: PluginHost) -> frozenset[str]:
    """``PluginHost.rescan`` for a home's host; the names of plugins that are others than before. Blocks."""
    return host.rescan(plugins_elsewhere(home, host.disabled, host.safe_mode, host.plugins))


def plugins_elsewhere(
    home: Home,
    disabled: Collection[str] = (),
    safe_mode: bool = False,
    known: Mapping[str, LoadedPlugin] = MappingProxyType({}),
) -> list[LoadedPlugin]:
    """A plugin for each environment of a home, working or not, by name. ``disabled`` ones are not asked, in
    ``safe_mode`` none is. One that is ``known`` to work goes on when it does not say what it is this once, whatever
    the reason; it is failed when it must not be asked, or cannot be used as what it says it is."""

    def plugin(name: str) -> LoadedPlugin:
        if name in disabled:
            return _not_working(name, "disabled", "disabled by name")
        if safe_mode:
            return _not_working(name, "disabled", "not loaded in safe mode")
        try:
            return _ask(home, name)
        except Unavailable as error:
            before = known.get(name)
            if before is not None and before.status == "ok" and before.python is not None:
                return dataclasses.replace(before, restart=error.message)
            return _not_working(name, "failed", error.message)
        except PluginError as error:
            return _not_working(name, "failed", error.message)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(plugin, _names(home.environments_dir)))


def _names(directory: Path) -> list[str]:
    try:
        found = sorted(os.listdir(directory))
    except OSError:
        return []
    return [name for name in found if not name.startswith(".")]


def _not_working(name: str, status: Status, reason: str) -> LoadedPlugin:
    return LoadedPlugin(
        name=name,
        entry_point="",
        manifest=None,
        distribution="",
        distribution_version="",
        first_party=False,
        status=status,
        error=reason,
    )


def _ask(home: Home, name: str) -> LoadedPlugin:
    """The plugin in the environment of its name. Raises ``PluginError`` for one that must not be asked or cannot be
    used, and ``Unavailable`` when the interpreter does not say what it is: it may be that it is being upgraded, or that
    there is no memory for it now."""
    python = interpreter(home, name)
    words = children.command(home.path, "plugin", "describe", name, python=python)
    try:
        code, output, errors = children.hear_out(words, DESCRIBE_S, environment_of_child())
    except subprocess.TimeoutExpired:
        raise Unavailable(f"plugin {name}: {python} has not said within {DESCRIBE_S:g} s what it is") from None
    except OSError as error:
        raise Unavailable(f"plugin {name}: {python} cannot be run: {error.strerror}") from None
    if code != 0:
        raise Unavailable(f"plugin {name}: {python}: {children.failure(errors, code).message}")
    try:
        told = msgspec.json.decode(output, type=Described)
    except msgspec.DecodeError as error:
        raise Unavailable(f"plugin {name}: what {python} says of it cannot be understood: {error}") from None
    return _plugin(name, python, told)


def interpreter(home: Home, name: str) -> Path:
    """The Python of an environment. Raises ``PluginError`` for one that must not be run or is none."""
    directory = home.environments_dir
    if PLUGIN_NAME.fullmatch(name) is None:
        raise _unusable(name, f"the name of its environment must match {PLUGIN_NAME.pattern}")
    environment, python = directory / name, directory / name / "bin" / "python"
    try:
        entry, above = environment.lstat(), directory.stat()
        program = Path(os.path.realpath(python))
        relied_on = (python.parent, program.parent, program) if python.exists() else ()
        run = [(path, path.stat()) for path in relied_on]
    except OSError as error:
        raise _unusable(name, f"{environment} cannot be looked at: {error.strerror}") from None
    problem = open_to_others(directory, above)
    if problem is None and not stat.S_ISDIR(entry.st_mode):
        problem = f"{environment} is no directory; make the environment itself there"
    problem = problem or open_to_others(environment, entry)
    if problem is None and not run:
        problem = f"{environment} is no virtual environment: it has no bin/python"
    problem = problem or next((told for path, found in run if (told := open_to_others(path, found)) is not None), None)
    if problem is not None:
        raise _unusable(name, problem)
    return python


def _plugin(name: str, python: Path, told: Described) -> LoadedPlugin:
    # What registers something runs in the host's process, which cannot import it.
    work = {hook for hook in told.hooks if hook in HOOKS and HOOKS[hook].kind is not HookKind.PLAIN}
    check_described(told.manifest, frozenset(work), name)
    return LoadedPlugin(
        name=name,
        entry_point=told.entry_point,
        manifest=told.manifest,
        distribution=told.distribution,
        distribution_version=told.distribution_version,
        first_party=False,
        status="ok",
        hooks=frozenset(work),
        python=python,
    )


def _unusable(name: str, why: str) -> PluginError:
    return PluginError(f"plugin {name}: {why}", name, "mosaicfs_manifest")
