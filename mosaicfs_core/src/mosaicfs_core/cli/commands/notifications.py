"""``mosaicfs notifications``: list and acknowledge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.hooks.arguments import node_argument

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

COLUMNS: Final = {
    "severity": "severity",
    "status": "status",
    "source.node_id": "node",
    "condition_key": "key",
    "title": "title",
    "last_seen": "last seen",
}
_SEVERITY: Final = click.option(
    "--severity", type=click.Choice(["error", "warning", "info"]), help="Only those of this severity."
)
_PAGE: Final = 500


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``notifications``."""

    @cli.group("notifications", short_help="List what needs attention, and take note of it.")
    def notifications() -> None:
        """List what needs attention, and take note of it."""

    _add_list(notifications, context)
    _add_ack(notifications, context)


def _add_list(group: click.Group, context: TerminalContext) -> None:
    @group.command("list")
    @click.option("--all", "everything", is_flag=True, help="Also those that are over.")
    @_SEVERITY
    def list_notifications(everything: bool, severity: str | None) -> None:
        """List what is wrong on all machines, the worst first: what nobody took note of yet, then the rest.

        With --verbose the message of each follows.
        """
        found = _all(context, severity)
        rows = [one for one in found if everything or one["status"] != "resolved"]
        context.show({"items": rows, "total": len(rows)}, COLUMNS, "Nothing needs attention.")
        if context.verbose and not context.json:
            for one in rows:
                context.say("")
                context.say(f"{one['condition_key']} of {one['source']['node_id']}: {one['message'] or one['title']}")


def _add_ack(group: click.Group, context: TerminalContext) -> None:
    @group.command("ack")
    @click.argument("keys", nargs=-1, metavar="[KEY]...")
    @click.option("--all", "everything", is_flag=True, help="All that is active.")
    @click.option("--node", metavar="NODE", help="Only those of this node, by name or id.")
    @_SEVERITY
    def ack(keys: tuple[str, ...], everything: bool, node: str | None, severity: str | None) -> None:
        """Take note of notifications by KEY, as the list shows it, or by id. One that is taken note of is active again
        only when it comes back or gets worse."""
        from mosaicfs_core.errors import NotFound

        if bool(keys) is everything:
            raise click.UsageError("name the notifications by KEY, or give --all")
        node_id = None if node is None else node_argument(context.api, node)
        active = [one for one in _all(context, severity, "active") if node_id in (None, one["source"]["node_id"])]
        known = {name for one in active for name in (one["id"], one["condition_key"])}
        if missing := [key for key in keys if key not in known]:
            raise NotFound(f"{', '.join(missing)} is not active; `mosaicfs notifications list` shows what is")
        meant = [one for one in active if everything or {one["id"], one["condition_key"]} & {*keys}]
        done = [context.api.send("POST", f"notifications/{one['id']}/acknowledge") for one in meant]
        context.show({"items": done, "total": len(done)}, COLUMNS, "Nothing was active.")


def _all(context: TerminalContext, severity: str | None, status: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = context.api.get("notifications", status=status, severity=severity, limit=_PAGE, offset=len(found))
        found += page["items"]
        if len(found) >= page["total"] or not page["items"]:
            return found
