"""``mosaicfs plugin jobs|sync|retry|pause|resume``: what plugins have to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

_COLUMNS: Final = {"event": "event", "export_path": "file", "attempts": "attempts", "told": "what of it"}


def register(group: click.Group, context: TerminalContext) -> None:
    """Add the commands to the group ``plugin``."""
    node = click.option(
        "--node", metavar="NODE", help="The node of the instance, by name or id; this machine's by default."
    )

    @group.command("jobs")
    @click.argument("name")
    @click.option(
        "--status", type=click.Choice(["pending", "in_flight", "failed"]), default="pending", show_default=True
    )
    @click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
    @node
    def jobs(name: str, status: str, limit: int, node: str | None) -> None:
        """Show what the instance NAME has to do, is doing or could not do, and what it waits for."""
        answer = context.api.get(f"{_instance(context, name, node)}/jobs", status=status, limit=limit)
        if context.json:
            context.show(answer)
            return
        context.say(_sentence(name, answer))
        rows = [{**job, "told": job.get("last_error") or job.get("why") or ""} for job in answer["items"]]
        context.show(rows, _COLUMNS, empty=f"No job is {status.replace('_', ' ')}.")

    @group.command("sync")
    @click.argument("name")
    @node
    def sync(name: str, node: str | None) -> None:
        """Give the instance NAME every file that it has not done as it is now; `plugin jobs` shows how far it is."""
        answer = context.api.send("POST", f"{_instance(context, name, node)}/sync")
        _tell(context, answer, f"{name} is being given what it has not done")

    @group.command("retry")
    @click.argument("name")
    @node
    def retry(name: str, node: str | None) -> None:
        """Let the jobs of the instance NAME that failed for good be tried again."""
        answer = context.api.send("POST", f"{_instance(context, name, node)}/jobs/retry", {})
        _tell(context, answer, f"{answer['retried']:,} jobs of {name} will be tried again")

    @group.command("pause")
    @click.argument("name")
    @node
    def pause(name: str, node: str | None) -> None:
        """Let the instance NAME begin nothing more; what happens to files waits for it."""
        _tell(context, context.api.send("PATCH", _instance(context, name, node), {"paused": True}), f"{name} is paused")

    @group.command("resume")
    @click.argument("name")
    @node
    def resume(name: str, node: str | None) -> None:
        """Let a paused instance NAME go on."""
        _tell(context, context.api.send("PATCH", _instance(context, name, node), {"paused": False}), f"{name} goes on")


def _instance(context: TerminalContext, name: str, node: str | None) -> str:
    """The path of an instance in the API."""
    from mosaicfs_core.hooks import node_argument

    node_id = context.home.node_id() if node is None else node_argument(context.api, node)
    return f"nodes/{node_id}/plugins/{name}"


def _sentence(name: str, answer: dict[str, Any]) -> str:
    counts = answer["counts"]
    parts = [f"{counts[status]:,} {status.replace('_', ' ')}" for status in ("pending", "in_flight", "failed")]
    told = [f"{name}: {', '.join(parts)}."]
    sync = answer.get("sync")
    if sync:
        told.append(
            f"A full sync saw {sync['looked_at']:,} of {sync['documents']:,}: {sync['enqueued']:,} jobs so far."
        )
    if answer.get("waits"):
        told.append(answer["waits"])
    return " ".join(told)


def _tell(context: TerminalContext, answer: Any, text: str) -> None:
    if context.json:
        context.show(answer)
    else:
        context.say(text)
