"""``mosaicfs nodes``: list, status, rename, crawl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

COLUMNS = {"id": "id", "friendly_name": "name", "node_kind": "kind", "status": "status", "platform": "platform"}


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``nodes``."""

    @cli.group("nodes", short_help="List, inspect and rename nodes.")
    def nodes() -> None:
        """List, inspect and rename nodes."""

    @nodes.command("list")
    @click.option("--status", type=click.Choice(["online", "offline", "degraded", "disabled"]), help="Only these.")
    @click.option("--kind", type=click.Choice(["physical", "cloud_bridge", "federated_peer"]), help="Only these.")
    def list_nodes(status: str | None, kind: str | None) -> None:
        """List the nodes."""
        context.show(context.api.get("nodes", status=status, kind=kind, limit=500), COLUMNS, "No nodes.")

    @nodes.command("status")
    @click.argument("node", required=False)
    def node_status(node: str | None) -> None:
        """Show how NODE (default: this machine) is."""
        node_id = _node_id(context, node)
        answer = context.api.get(f"nodes/{node_id}/status")
        if context.json:
            context.show(answer)
            return
        context.say(f"{node_id}: {answer['overall']}")
        context.show(_rows(answer), ["subsystem", "status", "detail"], "It has not reported yet.")

    @nodes.command("rename")
    @click.argument("node")
    @click.argument("name")
    def rename(node: str, name: str) -> None:
        """Give NODE another NAME."""
        node_id = _node_id(context, node)
        context.show(context.api.send("PATCH", f"nodes/{node_id}", {"friendly_name": name}), COLUMNS)

    @nodes.command("crawl")
    @click.argument("node", required=False)
    @click.option("--full", is_flag=True, help="Let no crawl source rely on where it stopped.")
    def crawl(node: str | None, full: bool) -> None:
        """Look for changes on NODE (default: this machine) now."""
        context.show(context.api.send("POST", f"nodes/{_node_id(context, node)}/crawl", {"full": full}))


def _node_id(context: TerminalContext, given: str | None) -> str:
    """The id of a node named by its id or its friendly name; this machine's when none is named."""
    if given is None:
        return str(context.api.get("system/info")["node_id"])
    found = context.api.get("nodes", limit=500)["items"]
    named = [node["id"] for node in found if given in (node["id"], node["friendly_name"])]
    if len(named) == 1:
        return str(named[0])
    if named:
        raise click.UsageError(f"several nodes are called {given}: {', '.join(named)}")
    return given


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    parts = answer.get("subsystems", {})
    return [
        {"subsystem": name, "status": part.get("status", ""), "detail": part.get("detail", "")}
        for name, part in sorted(parts.items())
    ]
