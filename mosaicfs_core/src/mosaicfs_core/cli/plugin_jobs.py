"""``mosaicfs plugin jobs|sync|retry|pause|resume``: what plugins have to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.cli.plugin_instances import instance_path, node_option, tell

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext

_COLUMNS: Final = {"event": "event", "export_path": "file", "attempts": "attempts", "told": "what of it"}
_SHOWN: Final = 120
"""Characters of the beginning and of the end of a long reason."""


def register(group: click.Group, context: TerminalContext) -> None:
    """Add the commands to the group ``plugin``."""
    _add_jobs(group, context)
    _add_sync(group, context)
    _add_retry(group, context)
    _add_pause(group, context)
    _add_resume(group, context)


def _add_jobs(group: click.Group, context: TerminalContext) -> None:
    @group.command("jobs")
    @click.argument("name")
    @click.option(
        "--status", type=click.Choice(["pending", "in_flight", "failed"]), default="pending", show_default=True
    )
    @click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
    @node_option
    def jobs(name: str, status: str, limit: int, node: str | None) -> None:
        """Show what the instance NAME has to do, is doing or could not do, and what it waits for.

        Long reasons are shortened; --verbose shows them whole."""
        answer = context.api.get(f"{instance_path(context, name, node)}/jobs", status=status, limit=limit)
        if context.json:
            context.show(answer)
            return
        context.say(_sentence(name, answer))
        told = str if context.verbose else shortened
        rows = [{**job, "told": told(job.get("last_error") or job.get("why") or "")} for job in answer["items"]]
        context.show(rows, _COLUMNS, empty=f"No job is {status.replace('_', ' ')}.")


def _add_sync(group: click.Group, context: TerminalContext) -> None:
    @group.command("sync")
    @click.argument("name")
    @node_option
    def sync(name: str, node: str | None) -> None:
        """Give the instance NAME every file that it has not done as it is now; `plugin jobs` shows how far it is."""
        answer = context.api.send("POST", f"{instance_path(context, name, node)}/sync")
        tell(context, answer, f"{name} is being given what it has not done")


def _add_retry(group: click.Group, context: TerminalContext) -> None:
    @group.command("retry")
    @click.argument("name")
    @node_option
    def retry(name: str, node: str | None) -> None:
        """Let the jobs of the instance NAME that failed for good be tried again."""
        answer = context.api.send("POST", f"{instance_path(context, name, node)}/jobs/retry", {})
        tell(context, answer, f"{_jobs(answer['retried'])} of {name} will be tried again")


def _add_pause(group: click.Group, context: TerminalContext) -> None:
    @group.command("pause")
    @click.argument("name")
    @node_option
    def pause(name: str, node: str | None) -> None:
        """Let the instance NAME begin nothing more, crawls and watching included; what happens to files waits for it,
        and questions are still answered."""
        answer = context.api.send("PATCH", instance_path(context, name, node), {"paused": True})
        tell(context, answer, f"{name} is paused")


def _add_resume(group: click.Group, context: TerminalContext) -> None:
    @group.command("resume")
    @click.argument("name")
    @node_option
    def resume(name: str, node: str | None) -> None:
        """Let a paused instance NAME go on."""
        answer = context.api.send("PATCH", instance_path(context, name, node), {"paused": False})
        tell(context, answer, f"{name} goes on")


def _sentence(name: str, answer: dict[str, Any]) -> str:
    counts = answer["counts"]
    parts = [f"{counts[status]:,} {status.replace('_', ' ')}" for status in ("pending", "in_flight", "failed")]
    told = [f"{name}: {', '.join(parts)}."]
    sync = answer.get("sync")
    if sync:
        # It goes by the numbers of documents, of which files are some: only their share means something.
        share = sync["looked_at"] * 100 // max(sync["documents"], 1)
        told.append(f"A full sync has looked through {share} % of the index: {_jobs(sync['enqueued'])} so far.")
    if answer.get("waits"):
        told.append(answer["waits"])
    return " ".join(told)


def _jobs(number: int) -> str:
    return f"{number:,} {'job' if number == 1 else 'jobs'}"


def shortened(reason: str) -> str:
    """A reason for a table's cell: its beginning, which says what failed, and its end, which says why."""
    line = " ".join(reason.split())
    return line if len(line) <= 2 * _SHOWN + 3 else f"{line[:_SHOWN]} … {line[-_SHOWN:]}"
