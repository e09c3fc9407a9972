"""``mosaicfs agent``: this machine as a node of a control plane that runs elsewhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from mosaicfs_core.cli.commands import agent_init
from mosaicfs_core.cli.output import cell

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext


class AgentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    paths: tuple[str, ...]
    mount: Path | None
    safe_mode: bool


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``agent``."""

    @cli.group("agent", short_help="Make this machine a node of a control plane elsewhere.")
    def agent() -> None:
        """Make this machine a node of a control plane that runs elsewhere, run its agent, and see how it does."""

    @agent.command("run")
    @click.argument("paths", nargs=-1)
    @click.option("--mount", type=click.Path(path_type=Path), help="Mount the tree there as well.")
    @click.option("--safe-mode", is_flag=True, help="Start without third-party plugins.")
    def run(paths: tuple[str, ...], mount: Path | None, safe_mode: bool) -> None:
        """Index this machine's folders for the control plane that it was enrolled with, until Ctrl-C.

        Folders PATHS are added to those that are indexed already. Everything here works while the control plane cannot
        be reached, and is made known to it later.
        """
        with context.home.lock(instead=context.home.further_folders()):
            asyncio.run(_run(context, AgentOptions(paths=paths, mount=mount, safe_mode=safe_mode)))

    agent_init.add(agent, context)

    @agent.command("status")
    def status() -> None:
        """Show how the agent of this machine is: its connection, replication, the last error, and what is not well, why
        and how to mend it."""
        info = context.api.get("system/info")
        answer = context.api.get(f"nodes/{info['node_id']}/status")
        if context.json:
            context.show({"info": info, "status": answer})
            return
        context.show(_summary(info, answer))
        for line in _not_well(context, answer):
            context.say(line)


def _not_well(context: TerminalContext, answer: dict[str, Any]) -> list[str]:
    """The parts that are not as they should be, why, and what to do about each: lines, as reasons are long."""
    from mosaicfs_core.cli.commands.doctor import part_findings

    wrong = [found for found in part_findings(answer, context) if found.status != "ok"]
    lines = [line for one in wrong for line in (f"  {one.check}: {one.detail}", f"    to mend it: {one.mend}")]
    return ["", "Not well", *lines] if wrong else []


async def _run(context: TerminalContext, options: AgentOptions) -> None:
    from mosaicfs_core import config as configuration
    from mosaicfs_core import logs, stuck
    from mosaicfs_core.cli.enrolled import control_plane_of
    from mosaicfs_core.cli.foreground import keep_the_terminal_quiet, mounted, stop_on_signals
    from mosaicfs_core.cli.runtime import running_agent
    from mosaicfs_core.config import ServerConfig
    from mosaicfs_core.content.watchable import check_watch_paths
    from mosaicfs_core.mount_table import mount_point
    from mosaicfs_core.server.serve import bind

    stop = stop_on_signals()
    home = context.home.prepare()
    config = configuration.load(home.config_file)
    control_plane = control_plane_of(home)
    directory = None if options.mount is None else mount_point(options.mount)
    roots = check_watch_paths(options.paths, home, directory)
    where = configuration.where_set(home.config_file, "agent", "api_port")
    listener = bind(ServerConfig(port=config.agent.api_port), where)
    logs.configure(config.logging, home.log_dir)
    stuck.watch(home.log_dir, "mosaicfs")
    if not context.verbose:
        keep_the_terminal_quiet()
    async with (
        running_agent(
            home, config, listener, control_plane, stop, paths=roots, mount=directory, safe_mode=options.safe_mode
        ) as runtime,
        mounted(runtime, directory, stop, safe_mode=options.safe_mode) as (keeper, problem),
    ):
        facts = {
            "ready": True,
            "url": runtime.url,
            "node_id": runtime.core.node_id,
            "control_plane": control_plane.url,
            "mount": str(keeper.directory) if keeper else None,
            "mount_problem": problem,
        }
        _say_ready(context, facts)
        await stop.wait()
        context.say("Stopping…")


def _say_ready(context: TerminalContext, facts: dict[str, Any]) -> None:
    if context.json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    context.say(f"Agent     {facts['node_id']} of {facts['control_plane']}")
    if facts["mount"] is not None:
        context.say(f"Mounted   {facts['mount']}")
    elif facts["mount_problem"] is not None:
        context.say(f"Mounted   nowhere: {facts['mount_problem']}")
    context.say("Ctrl-C stops it.")


def _summary(info: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """How the agent is, for people."""
    parts = answer.get("subsystems", {})
    link, replication = parts.get("link"), parts.get("replication")
    errors = answer.get("recent_errors") or []
    rows: dict[str, Any] = {"node": info["node_id"], "state": answer.get("overall", "unknown")}
    if link is None:
        rows["control plane"] = "in the same process"
    else:
        since = f" since {cell('since_at', link['since'])}" if link.get("since") else ""
        rows["control plane"] = link.get("control_plane") or ""
        if link.get("connected"):
            rows["connection"] = f"connected{since}"
        else:
            rows["connection"] = f"not connected{since}: {link.get('detail') or 'not yet'}"
    if replication is not None:
        rows["replication"] = _replication(replication)
        if replication.get("recovered"):
            rows["recovered"] = replication["recovered"]
    crawler = parts.get("crawler", {})
    rows["files"] = info["documents"].get("file", 0)
    rows["crawling"] = ", ".join(one["instance"] for one in crawler.get("crawling", ())) or "no"
    rows["last crawl"] = cell("last_crawl_at", crawler["last_crawl"]) if crawler.get("last_crawl") else "not yet"
    rows["last error"] = f"{errors[-1]['subsystem']}: {errors[-1]['message']}" if errors else "none"
    return rows


def _replication(part: dict[str, Any]) -> str:
    """State, what waits, and how far behind it is."""
    figures = part.get("figures", {})
    text = str(part.get("state") or part.get("status"))
    if figures.get("pending"):
        text += f", {figures['pending']:,} documents wait"
    if figures.get("lag_s"):
        text += f", {figures['lag_s']:.0f} s behind"
    return f"{text}: {part['detail']}" if part.get("detail") else text
