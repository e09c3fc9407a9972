"""What ``mosaicfs plugin list`` shows: the packages of this environment, and which are switched off on this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mosaicfs_core.documents.instances import package_of
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.plugins.node_settings import RESERVED

if TYPE_CHECKING:
    from mosaicfs_core.home import Home
    from mosaicfs_core.plugins.loading import LoadedPlugin

COLUMNS: Final = {
    "name": "name",
    "status": "status",
    "title": "title",
    "version": "version",
    "distribution": "package",
    "note": "note",
}


def instances_of(home: Home) -> list[dict[str, Any]]:
    """The plugin documents of this machine's node, from the replica, which is there while nothing runs as well.
    Empty where no replica can be read: the packages are listed all the same."""
    from mosaicfs_core.store import Reader

    try:
        reader = Reader.open(home.replica)
    except (MosaicError, sqlite3.Error, OSError):
        return []
    try:
        found = reader.documents_of("plugin", (home.node_id(),))
    except (MosaicError, sqlite3.Error, OSError):
        return []
    finally:
        reader.close()
    return [document for document in found if document["plugin_name"] != RESERVED]


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
    plugins: Iterable[LoadedPlugin], documents: Sequence[Mapping[str, Any]], running: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A row for each package, each program in use, and each instance without a package. ``documents`` are those of this
    machine, ``running`` what the MosaicFS that runs there says of packages."""
    installed = {plugin.name: plugin for plugin in plugins}
    packaged = [one for one in documents if one.get("plugin_type", "package") == "package"]
    found = [
        _row(plugin, [one for one in packaged if package_of(one) == name], running.get(name))
        for name, plugin in installed.items()
    ]
    programs = [one for one in documents if one not in packaged]
    gone = [one for one in packaged if package_of(one) not in installed]
    return found + [_program(one) for one in programs] + [_left_behind(one) for one in gone]


def _program(document: Mapping[str, Any]) -> dict[str, Any]:
    """An instance of a foreign program; whether that works is seen in the status alone."""
    name, kind = str(document["plugin_name"]), str(document["plugin_type"])
    on = document.get("enabled", True)
    return {
        "name": name,
        "status": "on" if on else "off",
        "title": document.get("name"),
        "note": f"a program, {kind}" if on else f"`mosaicfs plugin enable {name}` switches it on",
    }


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


def _row(plugin: LoadedPlugin, instances: Sequence[Mapping[str, Any]], running: str | None) -> dict[str, Any]:
    manifest = plugin.manifest
    off = [str(one["plugin_name"]) for one in instances if not one.get("enabled", True)]
    note = plugin.error or running
    if note is None and manifest is not None and not manifest.available:
        note = "announced, not available in this release"
    if note is None and off:
        note = f"`mosaicfs plugin enable {off[0]}` switches {off[0] if len(instances) > 1 else 'it'} on"
    if note is None and plugin.python is not None:
        note = f"in an environment of its own, {plugin.python.parents[1]}"
    all_off = bool(instances) and len(off) == len(instances)
    return {
        "name": plugin.name,
        "status": "off" if plugin.status == "ok" and all_off else plugin.status,
        "title": manifest.title if manifest else None,
        "description": manifest.description if manifest else None,
        "version": manifest.version if manifest else plugin.distribution_version or None,
        "distribution": plugin.distribution or None,
        "first_party": plugin.first_party,
        "default_enabled": manifest.default_enabled if manifest else False,
        "hooks": sorted(plugin.hooks),
        "note": note,
    }
