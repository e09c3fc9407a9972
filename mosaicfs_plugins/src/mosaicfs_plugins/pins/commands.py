"""``mosaicfs pins``: keep files on chosen nodes, from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import click

from mosaicfs_core.hooks import CommandContext, UserError, node_argument, tree_argument, written_argument

_COLUMNS: Final = {
    "name": "name",
    "holds": "holds",
    "node": "on",
    "state": "state",
    "files": "files",
    "bytes_present": "here",
    "bytes_wanted": "of",
    "problem": "problem",
}
_PAGE: Final = 500
_STATES: Final = {"no_room": "no room", "unknown": "not heard of"}


def register(cli: click.Group, context: CommandContext) -> None:
    """Add the group."""

    @cli.group(name="pins", short_help="Keep files on chosen nodes.")
    def pins() -> None:
        """Keep files of other machines on chosen nodes, to be read there without a network."""

    _add_reading(pins, context)
    _add_making(pins, context)
    _add_removing(pins, context)


def _add_reading(pins: click.Group, context: CommandContext) -> None:
    @pins.command(name="list", short_help="List the pins and how far they are.")
    @click.option("--node", metavar="NODE", help="Only what is kept on this node.")
    def list_pins(node: str | None) -> None:
        """List the pins and how far each node is with them."""
        found = _all(context, node_id=None if node is None else _node_id(context, node))
        if context.json:
            context.show(found)
        else:
            context.show([row for pin in found["items"] for row in _rows(pin)], _COLUMNS, empty="No pins.")

    @pins.command(short_help="Show a pin, and the files that are not there yet.")
    @click.argument("name")
    def show(name: str) -> None:
        """Show the pin NAME on each of its nodes, with the files that could not be fetched and why."""
        found = _all(context, name=name)
        if context.json or not found["items"]:
            context.show(found, empty=f"There is no pin {name}.")
            return
        context.show([row for pin in found["items"] for row in _rows(pin)], _COLUMNS)
        failures = [
            {"on": node["node_name"], **failure}
            for pin in found["items"]
            for node in pin["nodes"]
            for failure in node.get("failures", ())
        ]
        if failures:
            context.show(failures, {"on": "on", "node_id": "file of", "export_path": "path", "reason": "reason"})


def _add_making(pins: click.Group, context: CommandContext) -> None:
    @pins.command(name="add", short_help="Make a pin.")
    @click.argument("directory", required=False)
    @click.option("--name", help="What to call it (default: the directory's path). One of that name is replaced.")
    @click.option("--node", "nodes", multiple=True, metavar="NODE", help="Keep it there (default: this machine).")
    @click.option("--glob", "globs", multiple=True, metavar="PATTERN", help="Only files whose path matches.")
    @click.option("--label", "labels", multiple=True, metavar="LABEL", help="Only files with this label.")
    @click.option("--steps", type=click.File(), help="JSON: a list of filter steps; - for stdin.")
    @click.option("--exclude-rest", is_flag=True, help="Leave out what passes all steps and is not included by one.")
    def add(
        directory: str | None,
        name: str | None,
        nodes: tuple[str, ...],
        globs: tuple[str, ...],
        labels: tuple[str, ...],
        steps: Any,
        exclude_rest: bool,
    ) -> None:
        """Keep the files that DIRECTORY, a path of the virtual tree, shows; those that pass filters; or both."""
        chain = _chain(steps, globs, labels)
        if directory is None and not chain:
            raise click.UsageError("give a DIRECTORY of the virtual tree, or filters with --glob, --label or --steps")
        path = None if directory is None else _tidy(tree_argument(directory) or written_argument(directory))
        called = name or path
        if called is None:
            raise click.UsageError("give it a name with --name")
        body: dict[str, Any] = {"name": called, "nodes": [_node_id(context, node) for node in nodes or (None,)]}
        if path is not None:
            body["directory"] = path
        if chain:
            body["steps"] = chain
        if exclude_rest:
            body["default_result"] = "exclude"
        _show_made(context, context.api.send("PUT", "pins", body))


def _add_removing(pins: click.Group, context: CommandContext) -> None:
    @pins.command(short_help="Remove a pin.")
    @click.argument("name")
    @click.option("--node", metavar="NODE", help="Only from this node (default: from all).")
    def remove(name: str, node: str | None) -> None:
        """Remove the pin NAME. Its files stay in the cache until room is wanted."""
        node_id = None if node is None else _node_id(context, node)
        found = context.api.send("DELETE", "pins", name=name, node_id=node_id)
        context.say(f"Removed {found['removed']} from {', '.join(found['nodes'])}.")


def _show_made(context: CommandContext, made: dict[str, Any]) -> None:
    """A pin that was just made, and what is odd with it."""
    if context.json:
        context.show(made)
        return
    context.show(_rows(made), _COLUMNS)
    for warning in made["warnings"]:
        context.say(f"Note: {warning}")


def _all(context: CommandContext, **params: Any) -> dict[str, Any]:
    """Every pin, fetched page by page."""
    items: list[Any] = []
    given = {key: value for key, value in params.items() if value is not None}
    while True:
        page = context.api.get("pins", limit=_PAGE, offset=len(items), **given)
        items += page["items"]
        if not page["items"] or len(items) >= page["total"]:
            return {"items": items, "total": len(items)}


def _rows(pin: dict[str, Any]) -> list[dict[str, Any]]:
    """A pin as lines of a table, one for each node."""
    return [
        {
            "name": pin["name"],
            "holds": _holds(pin),
            "node": node["node_name"],
            "state": _STATES.get(node["state"], node["state"]),
            "files": f"{node.get('files_present', 0)}/{node.get('files_wanted', 0)}",
            "bytes_present": node.get("bytes_present", 0),
            "bytes_wanted": node.get("bytes_wanted", 0),
            "problem": _problem(node),
        }
        for node in pin["nodes"]
    ]


def _holds(pin: dict[str, Any]) -> str:
    steps = pin["steps"]
    count = f"{len(steps)} step{'s' if len(steps) > 1 else ''}" if steps else ""
    return ", ".join(part for part in (pin["directory"], count) if part)


def _problem(node: dict[str, Any]) -> str:
    """The first thing that keeps a node from being done."""
    if node.get("files_without_room"):
        return f"{node['files_without_room']} files do not fit: {node['bytes_without_room']:,} bytes"
    failures: Sequence[dict[str, Any]] = node.get("failures", ())
    if failures:
        return str(failures[0]["reason"])
    return str(next(iter(node.get("warnings", ())), ""))


def _chain(steps: Any, globs: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The filter steps of a file, of patterns and of labels, in this order."""
    chain = [*_steps_of(steps), *({"op": "glob", "pattern": pattern} for pattern in globs)]
    return [*chain, {"op": "label", "labels": list(labels)}] if labels else chain


def _steps_of(file: Any) -> list[dict[str, Any]]:
    if file is None:
        return []
    try:
        steps = json.loads(file.read())
    except ValueError as error:
        raise click.UsageError(f"the steps are not JSON: {error}") from None
    if not isinstance(steps, list):
        raise click.UsageError("the steps are not a list")
    return steps


def _tidy(path: str) -> str:
    """A virtual path without what a shell's completion leaves at its end."""
    return path.rstrip("/") or "/"


def _node_id(context: CommandContext, given: str | None) -> str:
    """The id of a node that is given by its id or its friendly name; this machine's when none is."""
    node_id = node_argument(context.api, given)
    if given is None and node_id.startswith("control-plane"):
        raise UserError("this is a control plane, which keeps no files: name a node with --node")
    return node_id
