"""Which plugins are installed in this environment. Nothing is imported here."""

from __future__ import annotations

import dataclasses
import importlib
import re
import site
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from importlib_metadata import EntryPoint, MetadataPathFinder, entry_points

from mosaicfs_core.hooks import ENTRY_POINT_GROUP
from mosaicfs_core.similar import similar

FIRST_PARTY: Final = frozenset(
    {"mosaicfs-core", "mosaicfs-vfs", "mosaicfs-plugins", "mosaicfs-fulltext", "mosaicfs-bridge-email"}
)
PLUGIN_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class InstalledPlugin:
    """An entry point of our group. ``distribution`` is the normalized name of its package, "" if unknown."""

    name: str
    entry_point: EntryPoint
    distribution: str
    distribution_version: str
    problem: str | None = None

    @property
    def first_party(self) -> bool:
        """Whether one of our own five distributions brought it (the entry point's name proves nothing)."""
        return self.distribution in FIRST_PARTY


def installed_plugins(found: Iterable[EntryPoint] | None = None) -> list[InstalledPlugin]:
    """Every installed plugin, ours first, then by name.

    A name that is malformed or taken (ours win, then the distribution that sorts first) is listed with its ``problem``;
    a taken one under ``name@distribution``.
    """
    candidates = [_describe(point) for point in (entry_points(group=ENTRY_POINT_GROUP) if found is None else found)]
    candidates.sort(key=lambda plugin: (not plugin.first_party, plugin.name, plugin.distribution))
    taken: dict[str, InstalledPlugin] = {}
    listed: list[InstalledPlugin] = []
    for plugin in candidates:
        owner = taken.get(plugin.name)
        if owner is not None and owner.entry_point.value == plugin.entry_point.value:
            continue
        if owner is not None:
            problem = f"the name {plugin.name!r} is taken by {owner.distribution or 'another package'}"
            name = f"{plugin.name}@{plugin.distribution or 'unknown'}"
            listed.append(dataclasses.replace(plugin, name=name, problem=problem))
            continue
        taken[plugin.name] = plugin
        listed.append(plugin)
    return listed


def look_anew() -> None:
    """Let this process find what was installed since it began: what the import system remembers of directories is
    forgotten, and ``.pth`` files are read, by which a checkout is installed (``pip install -e``)."""
    for directory in [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]:
        site.addsitedir(directory)
    importlib.invalidate_caches()
    MetadataPathFinder.invalidate_caches()


def unknown_names(names: Collection[str], installed: Iterable[InstalledPlugin]) -> list[str]:
    """A sentence for each of these names that no installed plugin has, with the one that may be meant."""
    known = sorted({plugin.name for plugin in installed})
    found: list[str] = []
    for name in names:
        if name not in known:
            near = similar(name, known)
            instead = f"did you mean {near[0]}?" if near else f"installed are {', '.join(known) or 'none'}"
            found.append(f"no plugin {name} is installed; {instead}")
    return found


def _describe(point: EntryPoint) -> InstalledPlugin:
    distribution = getattr(point, "dist", None)
    name = re.sub(r"[-_.]+", "-", distribution.name).lower() if distribution is not None else ""
    problem = None
    if PLUGIN_NAME.fullmatch(point.name) is None:
        problem = f"the entry point's name {point.name!r} must match {PLUGIN_NAME.pattern}"
    return InstalledPlugin(point.name, point, name, distribution.version if distribution is not None else "", problem)
