"""What ``mosaicfs plugin list`` shows: the packages of this environment, and which are switched off on this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mosaicfs_core.documents.instances import package_of
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.plugins.node_settings import RESERVED

if TYPE_CHECKING:
    from mosaicfs_core.home import Home
    from mosaicfs_core.hooks import Program
    from mosaicfs_core.plugins.loading import LoadedPlugin

COLUMNS: Final = {
    "name": "name",
    "status": "status",
    "title": "title",
    "version": "version",
    "distribution": "package",
    "note": "note",
}


_PASSED_OVER: Final = "a program of the same name is passed over: give it another name"
_HIDES: Final = "a package of the same name is installed: `mosaicfs plugin remove {name}` makes room for it"
_WORK: Final = frozenset(
    ["mosaicfs_crawl", "mosaicfs_watch", "mosaicfs_run", "mosaicfs_file_event", "mosaicfs_query", "mosaicfs_health"]
)
"""What a package does for an instance alone."""


class Here(NamedTuple):
    """What there is on this machine: the plugin documents of its node, the names of all instances that were ever made
    by default, and whether a hub is configured."""

    documents: Sequence[Mapping[str, Any]] = ()
    seeded: frozenset[str] = frozenset()
    hub: bool = False


def on_this_machine(home: Home, *, hub: bool) -> Here:
    """What there is here, from the replica, which is there while nothing runs as well. Nothing where no replica can be
    read: the packages are listed all the same."""
    from mosaicfs_core.plugins.first_instances import seeded_here
    from mosaicfs_core.store import Reader

    try:
        reader = Reader.open(home.replica)
    except (MosaicError, sqlite3.Error, OSError):
        return Here(hub=hub)
    try:
        found, seeded = reader.documents_of("plugin", (home.node_id(),)), seeded_here(reader)
    except (MosaicError, sqlite3.Error, OSError):
        return Here(hub=hub)
    finally:
        reader.close()
    return Here([document for document in found if document["plugin_name"] != RESERVED], seeded, hub)


def running_notes(home: Home) -> dict[str, str]:
    """Let the MosaicFS that runs with this home look again at what is installed; what it cannot use as it is, by name.
    Empty where none runs."""
    from mosaicfs_core.cli.client import HttpApi, find_endpoint

    try:
        endpoint = find_endpoint(home)
        if endpoint.home is None:  # an instance elsewhere has packages of its own
            return {}
        api = HttpApi(endpoint)
        found = api.send("POST", f"nodes/{api.get('system/info')['node_id']}/rescan")["items"]
    except MosaicError:
        return {}
    notes = {str(one["name"]): one.get("restart") or one.get("error") for one in found if "type" not in one}
    return {name: f"running: {note}" for name, note in notes.items() if note}


def rows(
    plugins: Iterable[LoadedPlugin], programs: Sequence[Program], here: Here, running: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A row for each package, each program, and each instance without a package; one row for a name, which is a
    package's rather than a program's as long as no instance says otherwise. ``programs`` are those of this
    machine, ``running`` is what the MosaicFS that runs here says of packages."""
    installed = {plugin.name: plugin for plugin in plugins}
    packaged = [one for one in here.documents if one.get("plugin_type", "package") == "package"]
    instances = {name: [one for one in packaged if package_of(one) == name] for name in installed}
    in_use = [one for one in here.documents if one not in packaged]
    used = {(package_of(one), one["plugin_type"]) for one in in_use}
    unused = [one for one in programs if (one.name, one.plugin_type) not in used]
    taken = {str(one["plugin_name"]) for one in in_use}
    twins = {one.name for one in unused if one.name in installed}
    found = []
    for name, plugin in installed.items():
        if instances[name] or name not in taken:
            row = _row(plugin, instances[name], here, running.get(name, ""))
            found.append(_with_note(row, _PASSED_OVER) if name in twins else row)
    for one in in_use:
        row = _in_use(one, programs)
        hides = row["name"] in installed and not instances[row["name"]]
        found.append(_with_note(row, _HIDES.format(name=row["name"])) if hides else row)
    found += [_program(one) for one in unused if one.name not in twins]
    gone = [one for one in packaged if package_of(one) not in installed]
    return found + [_left_behind(one) for one in gone]


def _with_note(row: dict[str, Any], note: str) -> dict[str, Any]:
    return {**row, "note": f"{row['note']}; {note}" if row["note"] else note}


def _in_use(document: Mapping[str, Any], programs: Sequence[Program]) -> dict[str, Any]:
    """An instance of a foreign program, and why that cannot be run; whether it answers is seen in the status alone."""
    name, kind, package = str(document["plugin_name"]), str(document["plugin_type"]), package_of(document)
    on = document.get("enabled", True)
    known = [one for one in programs if (one.name, one.plugin_type) == (package, kind)]
    # A program that listens is there while it runs.
    problem = known[0].problem if known else f"there is no program {package}" if kind == "executable" else None
    note = f"a program, {kind}" if on else f"`mosaicfs plugin enable {name}` switches it on"
    return {
        "name": name,
        "status": "failed" if problem and on else "on" if on else "off",
        "title": document.get("name"),
        "note": problem or note,
    }


def _program(program: Program) -> dict[str, Any]:
    """A foreign program that no instance uses."""
    how = f"a program, {program.plugin_type}; `mosaicfs plugin enable {program.name}` switches it on"
    status = "failed" if program.problem else "off"
    return {"name": program.name, "status": status, "title": None, "note": program.problem or how}


def _left_behind(document: Mapping[str, Any]) -> dict[str, Any]:
    """An instance whose package is gone."""
    name = str(document["plugin_name"])
    package = package_of(document)
    whose = "its package" if package == name else f"its package {package}"
    return {
        "name": name,
        "status": "not installed",
        "title": document.get("name"),
        "note": f"{whose} is gone; `mosaicfs plugin remove {name}` removes the instance",
    }


def _row(plugin: LoadedPlugin, instances: Sequence[Mapping[str, Any]], here: Here, running: str) -> dict[str, Any]:
    manifest = plugin.manifest
    status, note = _standing(plugin, instances, here)
    note = plugin.error or running or note
    if plugin.python is not None:
        place = f"in an environment of its own, {plugin.python.parents[1]}"
        note = f"{note}; {place}" if note else place
    return {
        "name": plugin.name,
        "status": status,
        "title": manifest.title if manifest else None,
        "description": manifest.description if manifest else None,
        "version": manifest.version if manifest else plugin.distribution_version or None,
        "distribution": plugin.distribution or None,
        "first_party": plugin.first_party,
        "default_enabled": manifest.default_enabled if manifest else False,
        "hooks": sorted(plugin.hooks),
        "note": note or None,
    }


def _standing(plugin: LoadedPlugin, instances: Sequence[Mapping[str, Any]], here: Here) -> tuple[str, str]:
    """Whether a package works on this machine, and what switches it on when it does not."""
    if plugin.status != "ok" or plugin.manifest is None:
        return plugin.status, plugin.error or ""
    if not plugin.manifest.available:
        return "announced", "not available in this release"
    off = [str(one["plugin_name"]) for one in instances if not one.get("enabled", True)]
    if off:
        which = off[0] if len(instances) > 1 else "it"
        return "off" if len(off) == len(instances) else "ok", f"`mosaicfs plugin enable {off[0]}` switches {which} on"
    if not instances and _needs_an_instance(plugin, here):
        return "off", f"`mosaicfs plugin enable {plugin.name}` switches it on"
    if "mosaicfs_hub" in plugin.hooks and not here.hub:
        return "off", "`[hub]` in mosaicfs.toml switches it on, on a control plane"
    return "ok", ""


def _needs_an_instance(plugin: LoadedPlugin, here: Here) -> bool:
    """Whether a package without an instance does nothing: not one that comes with the next start, nor one whose routes
    answer without any."""
    if plugin.manifest is not None and plugin.manifest.default_enabled:
        return plugin.name in here.seeded
    return bool(plugin.hooks & _WORK) and "mosaicfs_routes" not in plugin.hooks
