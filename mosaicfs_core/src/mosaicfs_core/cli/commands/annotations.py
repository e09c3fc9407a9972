"""``mosaicfs annotations``: what plugins said of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.cli.commands.files import find_file
from mosaicfs_core.cli.output import cell
from mosaicfs_core.hooks.arguments import node_argument

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

COLUMNS: Final = {"node_id": "node", "export_path": "file", "plugin_name": "plugin", "said": "says"}
_TEXT: Final = 100
_node = click.option("--node", metavar="NODE", help="Only files of this node, by name or id.")
_plugin = click.option("--plugin", metavar="NAME", help="Only what this instance said.")


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``annotations``."""

    @cli.group("annotations", short_help="Show what plugins said of files, and have it made anew.")
    def annotations() -> None:
        """Show what plugins said of files, and have it made anew."""

    _add_list(annotations, context)
    _add_renew(annotations, context)


def _add_list(group: click.Group, context: TerminalContext) -> None:
    @group.command("list")
    @click.argument("file", required=False)
    @_plugin
    @_node
    @click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="At most this many.")
    def list_annotations(file: str | None, plugin: str | None, node: str | None, limit: int) -> None:
        """List what plugins said of files: of FILE (its id, or its path on this machine or in the virtual tree), or of
        all. `mosaicfs files stat FILE` shows it whole."""
        found = context.api.get("annotations", **_which(context, file, plugin, node), limit=limit)
        rows = found["items"] if context.json else [{**one, "said": _said(one)} for one in found["items"]]
        context.show({**found, "items": rows}, COLUMNS, "No plugin said anything.")


def _add_renew(group: click.Group, context: TerminalContext) -> None:
    @group.command("renew")
    @click.argument("file", required=False)
    @_plugin
    @_node
    def renew(file: str | None, plugin: str | None, node: str | None) -> None:
        """Take away what plugins said of FILE, or what --plugin said or was said of files of --node; the plugins are
        asked again."""
        which = _which(context, file, plugin, node)
        if not which:
            raise click.UsageError("say which: a FILE, --plugin or --node")
        answer = context.api.send("DELETE", "annotations", **which)
        if context.json:
            context.show(answer)
            return
        context.say(f"{answer['deleted']:,} taken away, to be made anew")
        for one in answer["omitted"]:
            context.say(f"left out: {one['node_id']}: {one['reason']}")


def annotation_lines(annotation: dict[str, Any]) -> list[str]:
    """What one plugin said, for people: a line for each thing."""
    if annotation["status"] == "failed":
        return [f"{annotation['plugin_name']} failed: {annotation.get('error', '')}"]
    lines = [f"  {key}: {cell('', value)}" for key, value in annotation["data"].items()]
    return [f"{annotation['plugin_name']} ({cell('updated_at', annotation['updated_at'])})", *lines]


def _said(annotation: dict[str, Any]) -> str:
    if annotation["status"] == "failed":
        return f"failed: {annotation.get('error', '')}"[:_TEXT]
    text = ", ".join(f"{key}: {cell('', value)}" for key, value in annotation["data"].items())
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"


def _which(context: TerminalContext, file: str | None, plugin: str | None, node: str | None) -> dict[str, str]:
    """The query of the API."""
    if file is not None and node is not None:
        raise click.UsageError("--node cannot be given together with FILE, which is on one node")
    given = {} if plugin is None else {"plugin": plugin}
    if file is not None:
        found = find_file(context, file)
        return {**given, "node_id": found["node_id"], "path": found["export_path"]}
    return given if node is None else {**given, "node_id": node_argument(context.api, node)}
