"""``mosaicfs credentials``: create, list, revoke, and one-time login links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

COLUMNS = {
    "id": "access key id",
    "name": "name",
    "kind": "kind",
    "enabled": "enabled",
    "created_at": "created",
    "last_seen": "last seen",
}


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``credentials``."""

    @cli.group("credentials", short_help="Create, list and revoke access keys.")
    def credentials() -> None:
        """Create, list and revoke access keys."""

    @credentials.command("list")
    def list_keys() -> None:
        """List the access keys."""
        context.show(context.api.get("credentials", limit=500), COLUMNS, "No access keys.")

    @credentials.command("create")
    @click.argument("name")
    @click.option(
        "--kind",
        type=click.Choice(["user", "agent"]),
        default="user",
        show_default=True,
        help="For people and scripts, or for another machine.",
    )
    def create(name: str, kind: str) -> None:
        """Make an access key called NAME. Its secret is shown this once."""
        made = context.api.send("POST", "credentials", {"name": name, "kind": kind})
        context.show(made, {"id": "access key id", "secret_key": "secret"})
        context.say("Keep the secret now: it is shown this once.")

    @credentials.command("revoke")
    @click.argument("key")
    def revoke(key: str) -> None:
        """Disable the access key KEY (its id) and end its sessions."""
        context.show(context.api.send("DELETE", f"credentials/{key}"), COLUMNS)

    @credentials.command("link")
    def link() -> None:
        """Make a one-time login link; the one before stops working."""
        made: dict[str, Any] = context.api.send("POST", "auth/link")
        context.show(made if context.json else made["url"])
