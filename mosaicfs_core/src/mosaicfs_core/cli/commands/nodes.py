"""``mosaicfs nodes``: list, status, rename, crawl, mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mosaicfs_core.cli.commands.failed_jobs import failed_jobs
from mosaicfs_core.cli.output import cell
from mosaicfs_core.hooks.arguments import node_argument

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

COLUMNS = {"id": "id", "friendly_name": "name", "node_kind": "kind", "status": "status", "platform": "platform"}

STATUSES = ["online", "offline", "degraded", "disabled", "unknown"]

MOUNT_COLUMNS = {
    "id": "id",
    "remote_node_id": "of node",
    "remote_base_export_path": "folder there",
    "local_mount_path": "seen at",
    "mount_type": "kind",
    "priority": "priority",
}


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``nodes``."""

    @cli.group("nodes", short_help="List, inspect and rename nodes.")
    def nodes() -> None:
        """List, inspect and rename nodes."""

    _add_reading(nodes, context)
    _add_acting(nodes, context)

    @nodes.group("mounts", short_help="Tell nodes of the network mounts that they have.")
    def mounts() -> None:
        """Network mounts: where a node sees another one's files, so that their bytes need not be fetched."""

    _add_mounts(mounts, context)
    _add_mount_edit(mounts, context)


def _add_reading(nodes: click.Group, context: TerminalContext) -> None:
    @nodes.command("list")
    @click.option("--status", type=click.Choice(STATUSES), help="Only these.")
    @click.option("--kind", type=click.Choice(["physical", "cloud_bridge", "federated_peer"]), help="Only these.")
    def list_nodes(status: str | None, kind: str | None) -> None:
        """List the nodes. Where the control plane cannot be reached, it is unknown whether others are there."""
        context.show(context.api.get("nodes", status=status, kind=kind, limit=500), COLUMNS, "No nodes.")

    @nodes.command("status")
    @click.argument("node", required=False)
    def node_status(node: str | None) -> None:
        """Show how NODE (default: this machine) is."""
        node_id = node_argument(context.api, node)
        answer = context.api.get(f"nodes/{node_id}/status")
        if context.json:
            context.show(answer)
            return
        here = node_id == context.api.get("system/info")["node_id"]
        context.say(_headline(node_id, answer))
        if not here and (reached := _reached(answer, context.api.get(f"nodes/{node_id}"))):
            context.say(reached)
        if answer.get("double"):
            context.say(f"Another machine, at {answer['double']}, runs with a copy of its home and is refused: end it.")
        rows = _rows(answer)
        judges = here or "connected" in answer
        empty = "It has not reported yet." if judges else "What it reports of itself, the control plane knows alone."
        context.show(rows, ["subsystem", "status", "detail"], empty)
        if any(row["status"] in ("degraded", "unhealthy") for row in rows):
            where = "" if here else "On that machine, "
            context.say(f"{where}`mosaicfs doctor` says how to mend what is not well.")
        for sentence in failed_jobs(answer, node):
            context.say(f"{sentence}.")


def _add_acting(nodes: click.Group, context: TerminalContext) -> None:
    @nodes.command("rename")
    @click.argument("node")
    @click.argument("name")
    def rename(node: str, name: str) -> None:
        """Give NODE another NAME."""
        node_id = node_argument(context.api, node)
        context.show(context.api.send("PATCH", f"nodes/{node_id}", {"friendly_name": name}), COLUMNS)

    @nodes.command("crawl")
    @click.argument("node", required=False)
    @click.option("--full", is_flag=True, help="Let no crawl source rely on where it stopped.")
    def crawl(node: str | None, full: bool) -> None:
        """Look for changes on NODE (default: this machine) now."""
        context.show(context.api.send("POST", f"nodes/{node_argument(context.api, node)}/crawl", {"full": full}))


def _add_mounts(mounts: click.Group, context: TerminalContext) -> None:
    @mounts.command("list")
    @click.argument("node", required=False)
    def list_mounts(node: str | None) -> None:
        """List the network mounts of NODE (default: this machine)."""
        answer = context.api.get(f"nodes/{node_argument(context.api, node)}/mounts", limit=500)
        context.show(answer, MOUNT_COLUMNS, "No network mounts.")

    @mounts.command("add")
    @click.argument("node")
    @click.argument("remote")
    @click.argument("remote_path")
    @click.argument("local_path")
    @click.option("--type", "kind", default="nfs", show_default=True, help="nfs, cifs, sshfs, gdrive_local, …")
    @click.option("--priority", type=int, default=0, show_default=True, help="The higher one is tried first.")
    def add_mount(node: str, remote: str, remote_path: str, local_path: str, kind: str, priority: int) -> None:
        """Tell NODE that it sees REMOTE_PATH of the node REMOTE under its own LOCAL_PATH."""
        body = {
            "remote_node_id": node_argument(context.api, remote),
            "remote_base_export_path": remote_path,
            "local_mount_path": local_path,
            "mount_type": kind,
            "priority": priority,
        }
        context.show(context.api.send("POST", f"nodes/{node_argument(context.api, node)}/mounts", body))

    @mounts.command("remove")
    @click.argument("node")
    @click.argument("mount_id")
    def remove_mount(node: str, mount_id: str) -> None:
        """Forget a network mount of NODE. Nothing is unmounted."""
        context.show(context.api.send("DELETE", f"nodes/{node_argument(context.api, node)}/mounts/{mount_id}"))


def _add_mount_edit(mounts: click.Group, context: TerminalContext) -> None:
    @mounts.command("edit")
    @click.argument("node")
    @click.argument("mount_id")
    @click.option("--remote", help="Another node.")
    @click.option("--remote-path", help="Another folder there.")
    @click.option("--local-path", help="Another place here.")
    @click.option("--type", "kind", help="Another kind.")
    @click.option("--priority", type=int, help="Another priority.")
    def edit_mount(
        node: str,
        mount_id: str,
        remote: str | None,
        remote_path: str | None,
        local_path: str | None,
        kind: str | None,
        priority: int | None,
    ) -> None:
        """Change a network mount of NODE."""
        given = {
            "remote_node_id": None if remote is None else node_argument(context.api, remote),
            "remote_base_export_path": remote_path,
            "local_mount_path": local_path,
            "mount_type": kind,
            "priority": priority,
        }
        body = {key: value for key, value in given.items() if value is not None}
        if not body:
            raise click.UsageError("say what to change, for example --priority 10")
        context.show(context.api.send("PATCH", f"nodes/{node_argument(context.api, node)}/mounts/{mount_id}", body))


def _headline(node_id: str, answer: dict[str, Any]) -> str:
    """How it is, by the control plane's word and by its own, which may be older."""
    status = answer.get("status")
    if status and answer["overall"] == "unknown":
        return f"{node_id}: {status}"
    said = "what it reported last is " if status in ("offline", "disabled", "unknown") else ""
    at = f", as it reported {cell('updated_at', answer['updated_at'])}" if answer.get("updated_at") else ""
    return f"{node_id}: {f'{status}; ' if status else ''}{said}{answer['overall']}{at}"


def _reached(answer: dict[str, Any], node: dict[str, Any]) -> str:
    """The two ways to another machine's bytes: its link, as far as the one that is asked has links, and its own
    listener."""
    told = []
    if (connected := answer.get("connected")) is not None:
        heard = (
            f"; it was heard of last {cell('last_heard_at', answer['last_heard'])}" if answer.get("last_heard") else ""
        )
        told.append(f"Its link to the control plane is {'up' if connected else f'down{heard}'}.")
    if (endpoints := (node.get("transfer") or {}).get("endpoints")) and answer.get("status") != "disabled":
        when = "When it is there, other" if answer.get("status") == "offline" else "Other"
        told.append(f"{when} machines fetch from it at {', '.join(endpoints)}.")
    return " ".join(told)


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    parts = answer.get("subsystems", {})
    return [
        {"subsystem": name, "status": part.get("status", ""), "detail": part.get("detail", "")}
        for name, part in sorted(parts.items())
    ]
