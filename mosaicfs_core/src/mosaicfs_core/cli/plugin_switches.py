"""``mosaicfs plugin enable|disable|remove``: which instances a node has, and which of them work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.cli.plugin_instances import (
    installed_on,
    installed_type,
    instance_path,
    node_id_of,
    node_option,
    tell,
    why_not_running,
)
from mosaicfs_core.hooks.events import EVENTS

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

_PROGRAM_EVENTS: Final = ("file.added", "file.modified")


def register(group: click.Group, context: TerminalContext) -> None:
    """Add the commands to the group ``plugin``."""
    _add_enable(group, context)
    _add_disable(group, context)
    _add_remove(group, context)


def _add_enable(group: click.Group, context: TerminalContext) -> None:
    @group.command("enable")
    @click.argument("name")
    @click.option(
        "--event", "events", multiple=True, type=click.Choice(EVENTS), help="What a program is told of (repeatable)."
    )
    @click.option("--mime", "globs", multiple=True, metavar="GLOB", help="Only of files of this type (repeatable).")
    @click.option("--answers", multiple=True, metavar="CAPABILITY", help="What a program can be asked (repeatable).")
    @node_option
    def enable(
        name: str, events: tuple[str, ...], globs: tuple[str, ...], answers: tuple[str, ...], node: str | None
    ) -> None:
        """Switch the instance NAME on. When there is none it is made: of the installed package of that name, or of the
        program of that name in the plugin directory of the machine (or that listens on a socket there), which is told
        of new and changed files unless --event says otherwise.

        One that cannot run as it is, is switched on all the same, works once that is mended, and is told as an error
        that says what to mend."""
        from mosaicfs_core.errors import PluginError

        endpoints = [{"name": capability, "capability": capability} for capability in answers]
        wishes = {"subscribed_events": list(events), "mime_globs": list(globs), "query_endpoints": endpoints}
        asked = {field: wish for field, wish in wishes.items() if wish}
        node_id = node_id_of(context, node)
        installed = installed_on(context, node_id)
        made = _enable(context, name, node_id, asked, installed)
        problem = why_not_running(made, installed)
        if problem is None:
            tell(context, made, f"{name} is on")
            return
        if context.json:
            context.show(made)
        raise PluginError(f"{name} is switched on and cannot run: {problem}", name, "")


def _enable(
    context: TerminalContext, name: str, node_id: str, asked: dict[str, Any], installed: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Switch an instance on, or make one. Raises ``UserError`` that says how to set what it needs first."""
    from mosaicfs_core.errors import NotFound, UserError

    where = f"nodes/{node_id}/plugins"
    try:
        changed: dict[str, Any] = context.api.send("PATCH", f"{where}/{name}", {"enabled": True, **asked})
        return changed
    except NotFound:
        kind = installed_type(context, node_id, name, installed)
    if kind != "package":
        asked = {"subscribed_events": list(_PROGRAM_EVENTS), **asked}
    body = {"plugin_name": name, "plugin_type": kind, "enabled": True, **asked}
    try:
        made: dict[str, Any] = context.api.send("POST", where, body)
    except UserError as error:
        if not str(error.details.get("field", "")).startswith("settings."):
            raise
        raise UserError(f"{error.message}; `mosaicfs plugin set {name} KEY=VALUE` sets it", **error.details) from None
    return made


def _add_disable(group: click.Group, context: TerminalContext) -> None:
    @group.command("disable")
    @click.argument("name")
    @node_option
    def disable(name: str, node: str | None) -> None:
        """Switch the instance NAME off; what it indexed stays."""
        answer = context.api.send("PATCH", instance_path(context, name, node), {"enabled": False})
        tell(context, answer, f"{name} is off")


def _add_remove(group: click.Group, context: TerminalContext) -> None:
    @group.command("remove")
    @click.argument("name")
    @node_option
    def remove(name: str, node: str | None) -> None:
        """Remove the instance NAME with its settings, what it indexed and what it kept on that machine. Files that it
        only watched stay on disk.

        The package stays installed, and a default instance does not come back by itself."""
        tell(context, context.api.send("DELETE", instance_path(context, name, node)), f"{name} is removed")
