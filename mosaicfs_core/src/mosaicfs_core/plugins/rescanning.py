"""What becomes of a host's plugins when packages are installed, upgraded or taken away while it runs.

A package that comes is loaded. One that is loaded stays what it is, since Python cannot let go of code that others have
hold of: that another version is installed, or none, is said and takes effect at the next start. Its work may run in a
process of its own (``LoadedPlugin.apart``), which is what was installed when that process was started, and not before.
A package in an environment of its own is nowhere imported, and so is always what is installed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from mosaicfs_core.plugins.discovery import InstalledPlugin
from mosaicfs_core.plugins.loading import STARTED_ANEW, LoadedPlugin

_NEW_ONE: Final = f"the new one is used {STARTED_ANEW}"
AT_START: Final = {
    "mosaicfs_routes": "routes",
    "mosaicfs_step_ops": "step ops",
    "mosaicfs_hub": "hub",
}
"""What a plugin adds that is asked for at the start alone, in words."""


def rescanned(
    before: Mapping[str, LoadedPlugin],
    found: Iterable[InstalledPlugin],
    apart: Iterable[LoadedPlugin],
    load: Callable[[InstalledPlugin], LoadedPlugin],
) -> dict[str, LoadedPlugin]:
    """The plugins by name: ``found`` are installed beside MosaicFS now, ``apart`` in environments of their own."""
    loaded = {name: plugin for name, plugin in before.items() if plugin.status == "ok" and plugin.python is None}
    here = {one.name: _here(loaded, before.get(one.name), one, load) for one in found}
    elsewhere = {plugin.name: plugin for plugin in apart}
    gone = {
        name: dataclasses.replace(plugin, restart=_gone(plugin))
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
        return dataclasses.replace(plugin, restart=_replaced(plugin, installed) or _missed(plugin))
    if known is not None and known.status == "failed" and known.restart is not None:
        return dataclasses.replace(
            known,
            entry_point=installed.entry_point.value,
            distribution=installed.distribution,
            distribution_version=installed.distribution_version,
        )
    # One that is not loaded is not mixed with another version of its package: the problem is for who loads it to tell.
    siblings = [other for other in loaded.values() if other.distribution == installed.distribution]
    mixed = next(
        (problem for other in siblings if (problem := _other_version(other, installed, _NEW_ONE)) is not None), None
    )
    plugin = load(dataclasses.replace(installed, problem=installed.problem or mixed))
    if plugin.status != "ok":
        return plugin
    late = dataclasses.replace(plugin, late=True)
    return dataclasses.replace(late, restart=_missed(late))


def _replaced(plugin: LoadedPlugin, installed: InstalledPlugin) -> str | None:
    """That something else is installed now than what is loaded of the same name."""
    there, here = installed.entry_point.value, plugin.entry_point
    moved = f"{there} is installed and {here} loaded: {_new_one_used(plugin)}" if there != here else None
    return _other_version(plugin, installed, _new_one_used(plugin)) or moved


def _other_version(plugin: LoadedPlugin, installed: InstalledPlugin, used: str) -> str | None:
    """That a package was upgraded beneath what is loaded of it, and when the new one is ``used``."""
    there, here = installed.distribution_version, plugin.distribution_version
    if there == here:
        return None
    return f"version {there} is installed and {here} loaded: {used}"


def _new_one_used(plugin: LoadedPlugin) -> str:
    """When what is installed in place of a loaded plugin is used."""
    if not plugin.apart:
        return _NEW_ONE
    return (
        f"a process of its own that starts from now on runs the new one (`mosaicfs plugin disable {plugin.name}`, "
        f"`enable {plugin.name}`), and what it says of itself, its settings among that, is the new one's {STARTED_ANEW}"
    )


def _gone(plugin: LoadedPlugin) -> str:
    """What becomes of a loaded plugin that is not installed any more."""
    if not plugin.apart:
        return f"it is not installed any more: it goes on as it is loaded, and is gone {STARTED_ANEW}"
    return (
        "it is not installed any more: a process of its own goes on, and cannot start again once it ends; "
        f"the plugin is gone {STARTED_ANEW}"
    )


def _missed(plugin: LoadedPlugin) -> str | None:
    """What of a plugin that was loaded after the start does not work yet."""
    missed = [words for hook, words in AT_START.items() if plugin.late and hook in plugin.hooks]
    return f"its {' and '.join(missed)} work {STARTED_ANEW}" if missed else None
