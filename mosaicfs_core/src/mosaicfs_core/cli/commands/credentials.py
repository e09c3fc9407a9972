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
    "node_id": "machine",
    "created_at": "created",
    "last_seen": "last seen",
}


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``credentials``."""

    @cli.group("credentials", short_help="Create, list and revoke access keys.")
    def credentials() -> None:
        """Create, list and revoke access keys."""

    _add_making(credentials, context)
    _add_switching(credentials, context)


def _add_making(credentials: click.Group, context: TerminalContext) -> None:
    @credentials.command("list")
    def list_keys() -> None:
        """List the access keys."""
        context.show(context.api.get("credentials", limit=500), COLUMNS, "No access keys.")

    @credentials.command("create")
    @click.argument("name")
    @click.option(
        "--kind",
        type=click.Choice(["user", "agent", "hub"]),
        default="user",
        show_default=True,
        help="For people and scripts, for another machine, or for a CouchDB or PouchDB that replicates everything.",
    )
    def create(name: str, kind: str) -> None:
        """Make an access key called NAME. Its secret is shown this once."""
        made = context.api.send("POST", "credentials", {"name": name, "kind": kind})
        context.show(made, {"id": "access key id", "secret_key": "secret"})
        context.say("Keep the secret now: it is shown this once.")
        if kind == "agent":
            for line in _how_to_enrol(context, str(made["id"])).split("\n"):
                context.say(line)
        if kind == "hub":
            context.say(
                "It reads and writes everything at /db/mosaicfs, with the id as name and the secret as password."
            )

    @credentials.command("link")
    def link() -> None:
        """Make a one-time login link; the one before stops working."""
        made: dict[str, Any] = context.api.send("POST", "auth/link")
        context.show(made if context.json else made["url"])


def _add_switching(credentials: click.Group, context: TerminalContext) -> None:
    @credentials.command("revoke")
    @click.argument("key")
    def revoke(key: str) -> None:
        """Disable the access key KEY (its id): end its sessions, and the machine that was enrolled with it.

        The control plane refuses both at once, other machines as soon as they hear of it.
        """
        context.show(context.api.send("DELETE", f"credentials/{key}"), COLUMNS)

    @credentials.command("enable")
    @click.argument("key")
    def enable(key: str) -> None:
        """Let the access key KEY (its id) hold again after it was revoked."""
        context.show(context.api.send("PATCH", f"credentials/{key}", {"enabled": True}), COLUMNS)


def _how_to_enrol(context: TerminalContext, key_id: str) -> str:
    """What to type on the machine that the key is for, as far as it is known here."""
    from urllib.parse import urlsplit

    from mosaicfs_core.security.addresses import host_names, machine_addresses, names_this_machine

    parts = urlsplit(context.api.url_for_others or "")
    if parts.scheme != "https":
        return (
            'This instance listens on this machine alone. For others to join, set [server] host = "0.0.0.0" in'
            f" {context.home.config_file} and start it again."
        )
    # A name outlives an address.
    own = names_this_machine(parts.hostname) or parts.hostname in machine_addresses()
    host = host_names()[0] if own else parts.hostname
    address = f"[{host}]" if ":" in str(host) else host
    line = f"mosaicfs agent init https://{address}:{parts.port or 443} --access-key-id {key_id}"
    if (authority := context.api.ca_pem) is not None:
        from mosaicfs_core.security import certificates

        line += f" --ca-fingerprint {certificates.fingerprint(certificates.load(authority))}"
    return f"On that machine: {line}"
