"""``mosaicfs status``: what runs, what is indexed, what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mosaicfs_core.cli.commands.excluded import left_out
from mosaicfs_core.cli.commands.failed_jobs import failed_jobs
from mosaicfs_core.cli.output import cell

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add ``status``."""

    @cli.command("status", short_help="Show what runs, what is indexed and what is wrong.")
    def status() -> None:
        """Show what runs, what is indexed and what is wrong."""
        info = context.api.get("system/info")
        node = context.api.get(f"nodes/{info['node_id']}/status")
        if context.json:
            context.show({"info": info, "status": node})
            return
        context.show(_summary(info, node))
        if left_out(_counts(node)):
            context.say("`mosaicfs files excluded` lists what is left out, and why.")
        rows = [
            {"subsystem": name, "status": part.get("status", ""), "detail": _detail(part)}
            for name, part in sorted(node.get("subsystems", {}).items())
        ]
        context.say("")
        context.show(rows, ["subsystem", "status", "detail"])
        if any(row["status"] in ("degraded", "unhealthy") for row in rows):
            context.say("`mosaicfs doctor` says how to mend what is not well.")
        for sentence in failed_jobs(node):
            context.say(f"{sentence}.")
        problems = node.get("recent_errors", [])[-5:]
        if problems:
            context.say("")
            context.say("Recent problems")
            context.show(problems, {"time": "time", "subsystem": "subsystem", "level": "level", "message": "message"})


def _detail(part: dict[str, Any]) -> str:
    """What is wrong, and which instances crawl at this moment."""
    busy = [
        f"{crawl['instance']} crawls since {cell('started_at', crawl['started_at'])}, seen: {crawl['files_seen']:,}"
        for crawl in part.get("crawling", ())
    ]
    said = part.get("detail") or part.get("recovered", "")
    return "; ".join(busy if said == "crawling" else [*busy, said] if said else busy)


def _counts(node: dict[str, Any]) -> dict[str, int]:
    """What the last whole crawl left out, by kind."""
    return dict(node.get("subsystems", {}).get("crawler", {}).get("counts") or {})


def _summary(info: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    failed = [name for name, state in info["plugins"].items() if state == "failed"]
    return {
        "state": node.get("overall", "unknown"),
        "files": info["documents"].get("file", 0),
        "left out": left_out(_counts(node)) or "nothing",
        "node": info["node_id"],
        "started_at": info["started_at"],
        "version": info["version"],
        "failed plugins": ", ".join(failed) or "none",
    }
