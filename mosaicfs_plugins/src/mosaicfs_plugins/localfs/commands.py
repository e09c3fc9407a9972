"""``mosaicfs folders``: which folders of a node are watched, from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import click

from mosaicfs_core.hooks import CommandContext, NotFound, Stale, UserError, node_argument, written_argument
from mosaicfs_plugins.localfs.scan import within

PACKAGE: Final = "localfs"
SETTING: Final = "paths"
_COLUMNS: Final = {"folder": "folder", "files": "files", "state": "state"}
_PAGE: Final = 500
_ATTEMPTS: Final = 5


def register(cli: click.Group, context: CommandContext) -> None:
    """Add the group."""

    @cli.group(name="folders", short_help="List, add and remove watched folders.")
    def folders() -> None:
        """List, add and remove the folders whose files are indexed. What changes takes effect without a restart."""

    _add_list(folders, context)
    _add_changes(folders, context)


def _add_list(folders: click.Group, context: CommandContext) -> None:
    @folders.command(name="list", short_help="List the watched folders.")
    @click.option("--node", metavar="NODE", help="Those of this node (default: this machine).")
    def list_folders(node: str | None) -> None:
        """List the watched folders, the files that are indexed of each, and what is wrong with it."""
        node_id = _node_id(context, node)
        status = context.api.get(f"nodes/{node_id}/status")
        rows = [
            _row(context, node_id, instance, path, status)
            for instance in _instances(context, node_id)
            for path in _folders_of(instance)
        ]
        context.show(rows, _COLUMNS, empty="No folder is watched. Add one with: mosaicfs folders add FOLDER")
        if any(isinstance(row["files"], str) for row in rows):
            context.say("No more are counted here; `mosaicfs status` tells how many files of all machines there are.")


def _add_changes(folders: click.Group, context: CommandContext) -> None:
    of_node = click.option("--node", metavar="NODE", help="On this node, by whole paths (default: this machine).")

    @folders.command(name="add", short_help="Watch further folders.")
    @click.argument("folder", nargs=-1, required=True)
    @of_node
    def add(folder: tuple[str, ...], node: str | None) -> None:
        """Index each FOLDER with everything beneath it, and follow its changes."""
        node_id = _node_id(context, node)
        wanted = context.watchable(folder) if node is None else [_elsewhere(path) for path in folder]
        instances = _instances(context, node_id)
        taking = _taking(instances, node_id)
        present = _folders_of(taking)
        changed = _change(context, taking, partial(with_added, wanted=wanted))
        for path in wanted:
            holder = next((one for one in present if within(path, _plain(one))), None)
            context.say(f"{path} is watched now." if holder is None else _known(path, holder))
        _tell(context, node_id, [changed if one is taking else one for one in instances])

    @folders.command(name="remove", short_help="Stop watching folders.")
    @click.argument("folder", nargs=-1, required=True)
    @of_node
    def remove(folder: tuple[str, ...], node: str | None) -> None:
        """Stop watching each FOLDER. Its files leave the index, and stay on disk."""
        node_id = _node_id(context, node)
        instances = _instances(context, node_id)
        watched = [path for instance in instances for path in _folders_of(instance)]
        unwanted = [_here(path) if node is None else _elsewhere(path) for path in folder]
        for path in unwanted:
            _require_watched(path, watched, node_id)
        changed = [
            _change(context, instance, lambda present: [path for path in present if _plain(path) not in unwanted])
            for instance in instances
        ]
        for path in unwanted:
            context.say(f"{path} is not watched any more.")
        _tell(context, node_id, changed)


def with_added(present: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The folders with further ones: none that lies in another, and none twice."""
    folders = {_plain(path): path for path in (*wanted, *present)}  # those that are there stay as they are written
    ordered = dict.fromkeys([*map(_plain, present), *wanted])
    return [folders[path] for path in ordered if not any(within(path, other) and path != other for other in folders)]


def _row(
    context: CommandContext, node_id: str, instance: Mapping[str, Any], path: str, status: Mapping[str, Any]
) -> dict[str, Any]:
    """A watched folder as a line of the table."""
    export_path = written_argument(_plain(path))
    found = context.api.get("files", node_id=node_id, path_prefix=export_path, limit=1)
    files = f"more than {found['total']:,}" if found.get("more") else found["total"]
    state = next(_states(instance, export_path, status.get("subsystems", {}).get("crawler", {})))
    return {"folder": path, "node_id": node_id, "instance": instance["id"], "files": files, "state": state}


def _states(instance: Mapping[str, Any], export_path: str, crawler: Mapping[str, Any]) -> Iterator[str]:
    """What can be said of a folder, the most telling first."""
    if not instance["enabled"] or instance.get("paused"):
        yield "switched off"
    for problem in crawler.get("problems", ()):
        if problem["kind"] == "inaccessible" and problem["export_path"] == export_path:
            yield str(problem["message"])
    if any(crawl["instance"] == instance["id"] for crawl in crawler.get("crawling", ())):
        yield "crawling"
    yield "ok"


def _change(
    context: CommandContext, instance: Mapping[str, Any], changed: Callable[[list[str]], list[str]]
) -> dict[str, Any]:
    """Give an instance the folders that come of those it has, unless they are the same; the instance as it is then.

    When somebody else changes them at the same time, both changes are made. Raises ``Stale`` when that goes on.
    """
    where = f"nodes/{instance['node_id']}/plugins/{instance['id']}"
    attempts = 0
    while True:
        present, etag = context.api.get_with_etag(where)
        folders = changed(_folders_of(present))
        if folders == _folders_of(present):
            found: dict[str, Any] = present
            return found
        try:
            written: dict[str, Any] = context.api.send("PATCH", where, {"settings": {SETTING: folders}}, if_match=etag)
        except Stale:
            attempts += 1
            if attempts == _ATTEMPTS:
                raise
        else:
            return written


def _tell(context: CommandContext, node_id: str, instances: Sequence[Mapping[str, Any]]) -> None:
    """Show programs the folders that are watched now, and people what keeps some from being so."""
    if context.json:
        folders = [path for instance in instances for path in _folders_of(instance)]
        context.show({"node_id": node_id, "folders": folders})
    for instance in instances:
        if not instance["enabled"]:
            context.say(f"Note: {instance['id']} is switched off; `mosaicfs plugin enable {instance['id']}` starts it.")


def _instances(context: CommandContext, node_id: str) -> list[dict[str, Any]]:
    """The instances of this plugin on a node."""
    found = context.api.get(f"nodes/{node_id}/plugins", limit=_PAGE)["items"]
    return [one for one in found if (one.get("package") or one["id"]) == PACKAGE]


def _taking(instances: Sequence[dict[str, Any]], node_id: str) -> dict[str, Any]:
    """The instance that takes further folders: the one of the plugin's name, else the first."""
    if not instances:
        raise NotFound(f"{node_id} has no instance of {PACKAGE}: `mosaicfs plugin enable {PACKAGE}` there makes one")
    return next((one for one in instances if one["id"] == PACKAGE), instances[0])


def _folders_of(instance: Mapping[str, Any]) -> list[str]:
    """The folders of an instance, as its settings have them."""
    settings = {**(instance.get("config") or {}), **(instance.get("settings") or {})}
    return list(settings.get(SETTING) or ())


def _require_watched(path: str, watched: Sequence[str], node_id: str) -> None:
    """Raise ``NotFound`` with what is watched instead."""
    plain = [_plain(one) for one in watched]
    if path in plain:
        return
    holder = next((one for one in plain if within(path, one)), None)
    if holder is not None:
        raise NotFound(
            f"{path} is no watched folder itself: it lies in {holder}. A .mosaicfsignore in {os.path.dirname(path)}"
            " that names it leaves it out"
        )
    raise NotFound(f"{path} is no watched folder of {node_id}; those are {', '.join(watched) or 'none'}")


def _known(path: str, holder: str) -> str:
    return f"{path} is watched already." if path == _plain(holder) else f"{path} is watched already, with {holder}."


def _plain(path: str) -> str:
    """A configured folder in the form in which two are compared."""
    return os.path.normpath(os.path.expanduser(path))


def _here(path: str) -> str:
    """A folder of this machine, as the shell gave it."""
    return os.path.abspath(os.path.expanduser(path))


def _elsewhere(path: str) -> str:
    """A folder of another machine."""
    if not path.startswith("/"):
        raise UserError(f"{path} is a place on another machine: give its whole path", field="folder")
    return os.path.normpath(path)


def _node_id(context: CommandContext, given: str | None) -> str:
    """The id of a node that is given by its id or its friendly name; this machine's when none is."""
    node_id = node_argument(context.api, given)
    if given is None and node_id.startswith("control-plane"):
        raise UserError("this is a control plane, which watches no folders: name a node with --node")
    return node_id
