"""What becomes of a host's plugins when packages are installed, upgraded or taken away while it runs.

A package that comes is loaded. One that is loaded stays what it is, since Python cannot let go of code that others have
hold of: that another version is installed, or none, is said and takes effect at the next start. A package in an
environment of its own is nowhere imported, and so is always what is installed.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mosaicfs_core.plugins.discovery import InstalledPlugin
from mosaicfs_core.plugins.loading import LoadedPlugin, not_usable

AT_START: Final = {
    "mosaicfs_routes": "routes",
    "mosaicfs_step_ops": "step ops",
    "mosaicfs_hub": "hub",
}
"""What a plugin adds that is asked for at the start alone, in words."""
STARTED_ANEW: Final = "once MosaicFS is started anew"


def rescanned(
    before: Mapping[str, LoadedPlugin],
    found: Iterable[InstalledPlugin],
    apart: Iterable[LoadedPlugin],
    load: Callable[[InstalledPlugin], LoadedPlugin],
) -> dict[str, LoadedPlugin]:
    """The plugins by name: ``found`` are installed beside MosaicFS now, ``apart`` in environments of their own."""
    loaded = {name: plugin for name, plugin in before.items() if plugin.status == "ok" and plugin.python is None}
    here = {one.name: _here(loaded, before.get(one.name), one, load) for one in found}
    elsewhere = {plugin.name: _apart(before.get(plugin.name), plugin) for plugin in apart}
    gone = {
        name: dataclasses.replace(plugin, restart=f"it is not installed any more, and gone {STARTED_ANEW}")
        for name, plugin in loaded.items()
        if name not in here and name not in elsewhere
    }
    return {**here, **gone, **elsewhere}


def _here(
    loaded: Mapping[str, LoadedPlugin],
    known: LoadedPlugin | None,
    installed: InstalledPlugin,
    load: Callable[[InstalledPlugin], LoadedPlugin],
) -> LoadedPlugin:
    if installed.name in loaded:
        plugin = loaded[installed.name]
        return dataclasses.replace(plugin, restart=_other_version(plugin, installed) or _missed(plugin))
    there = installed.distribution_version
    for other in loaded.values():
        if other.distribution == installed.distribution and other.distribution_version != there:
            return not_usable(installed, _upgraded(other.distribution_version, there))
    if known is not None and known.status == "failed":
        _forget(installed.entry_point.module)
    plugin = dataclasses.replace(load(installed), late=True)
    return dataclasses.replace(plugin, restart=_missed(plugin))


def _other_version(plugin: LoadedPlugin, installed: InstalledPlugin) -> str | None:
    """That a package was upgraded beneath what is loaded of it."""
    there, here = installed.distribution_version, plugin.distribution_version
    if (there, installed.entry_point.value) == (here, plugin.entry_point):
        return None
    return _upgraded(here, there)


def _upgraded(here: str, there: str) -> str:
    return f"version {there} is installed and {here} loaded: the new one is used {STARTED_ANEW}"


def _missed(plugin: LoadedPlugin) -> str | None:
    """What of a plugin that was loaded after the start does not work yet."""
    missed = [words for hook, words in AT_START.items() if plugin.late and hook in plugin.hooks]
    return f"its {' and '.join(missed)} work {STARTED_ANEW}" if missed else None


def _forget(module: str) -> None:
    """Forget what was imported of a plugin that could not be used: nobody has hold of it."""
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        del sys.modules[name]


def _apart(known: LoadedPlugin | None, plugin: LoadedPlugin) -> LoadedPlugin:
    """A plugin in an environment of its own. One that has worked is not ended because its interpreter does not answer
    this once."""
    if known is not None and known.python is not None and known.status == "ok" and plugin.status == "failed":
        return dataclasses.replace(known, restart=plugin.error)
    return plugin
