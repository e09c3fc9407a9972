"""``mosaicfs system``: health, info, reindex."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``system``."""

    @cli.group("system", short_help="Health of the instance and re-indexing.")
    def system() -> None:
        """Health of the instance and re-indexing."""

    _add_health(system, context)
    _add_fingerprint(system, context)

    @system.command("info")
    def info() -> None:
        """Show what runs: versions, ids, counts, plugins."""
        answer = context.api.get("system/info")
        context.show(answer if context.json else _info_lines(answer))

    @system.command("reindex")
    def reindex() -> None:
        """Crawl everything on this machine again; `mosaicfs status` shows how far it is."""
        context.show(context.api.send("POST", "system/reindex", {"full": True}))


def _add_health(system: click.Group, context: TerminalContext) -> None:
    @system.command("health")
    def health() -> None:
        """Show whether the instance works; exits with 1 when it does not."""
        from mosaicfs_core.cli.client import health_of

        answer = health_of(context.api)
        if context.json:
            context.show(answer)
        else:
            rows: list[dict[str, Any]] = [
                {"subsystem": name, "status": part["status"]} for name, part in sorted(answer["subsystems"].items())
            ]
            context.say(f"The instance is {answer['status']}.")
            context.show(rows, ["subsystem", "status"])
        if answer["status"] == "unhealthy":
            raise click.exceptions.Exit(1)


def _add_fingerprint(system: click.Group, context: TerminalContext) -> None:
    @system.command("fingerprint")
    def fingerprint() -> None:
        """Show the SHA-256 fingerprint of this instance's certificate authority, which other machines must be shown.

        Works on the machine of the control plane, also while it does not run. An agent's machine shows the authority
        that it was enrolled with.
        """
        from mosaicfs_core.errors import NotFound
        from mosaicfs_core.security import certificates, enrolment

        known, file = enrolment.load(context.home), context.home.certs_dir / "ca.pem"
        if known is not None:
            pem: str | bytes = known.ca_pem
            note = (
                f"That is the authority of {known.urls[0]} as this machine came to know it; ask there whether it is so."
            )
            click.echo(note, err=True)
        elif file.exists():
            pem = file.read_bytes()
        else:
            raise NotFound(
                f"the home {context.home.path} has no authority yet: the control plane makes it when it first listens"
                " for other machines, for example by `mosaicfs server run --host 0.0.0.0`; where another home is meant,"
                " --home names it"
            )
        found = certificates.fingerprint(certificates.load(pem))
        context.show({"sha256": found} if context.json else found)


def _info_lines(answer: dict[str, Any]) -> dict[str, Any]:
    """What runs, in words for people."""
    counts = [f"{count:,} {kind.replace('_', ' ')}" for kind, count in sorted(answer["documents"].items())]
    plugins = [f"{name} ({state})" if state != "ok" else name for name, state in sorted(answer["plugins"].items())]
    return {
        "version": f"{answer['version']} on Python {answer['python']}, {answer['platform']}",
        "running for": str(timedelta(seconds=answer["uptime_s"])),
        "started_at": answer["started_at"],
        "instance": answer["instance_id"],
        "node": answer["node_id"],
        "documents": ", ".join(counts),
        "plugins": ", ".join(plugins),
        "agent": ", ".join(f"{name} {state}" for name, state in sorted(answer["agent"].items())),
        "changes so far": answer["update_seq"],
        **({"hub": f"{answer['hub']['url']}: {answer['hub']['detail']}"} if answer.get("hub") else {}),
    }
