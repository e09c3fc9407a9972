"""``mosaicfs up`` and ``mosaicfs down``: everything in one process (and the mount beside it), in front or behind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:
    from mosaicfs_core.cli.crawl_progress import Indexed
    from mosaicfs_core.cli.frame_context import TerminalContext
    from mosaicfs_core.cli.mounting import MountKeeper
    from mosaicfs_core.cli.runtime import AgentRuntime
    from mosaicfs_core.config import Config

# A crawl of any size is worth waiting for only so long before the user is told where everything is,
# and one that does not move is not worth waiting for at all.
FIRST_CRAWL_SECONDS: Final = 60.0
STALLED_SECONDS: Final = 3.0
TREE: Final = ": `mosaicfs vfs ls /` shows the same tree."


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    paths: tuple[str, ...]
    mount: Path | None
    no_mount: bool
    port: int | None
    safe_mode: bool


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add ``up`` and ``down``."""

    @cli.command("up", short_help="Start MosaicFS here: index folders, serve the API, mount the tree.")
    @click.argument("paths", nargs=-1)
    @click.option("--mount", type=click.Path(path_type=Path), help="Where to mount (default: ~/MosaicFS).")
    @click.option("--no-mount", is_flag=True, help="Do not mount.")
    @click.option("--port", type=click.IntRange(0, 65535), help="TCP port of the API; 0 takes a free one.")
    @click.option("--safe-mode", is_flag=True, help="Start without third-party plugins.")
    @click.option("--detach", is_flag=True, help="Run in the background; `mosaicfs down` stops it.")
    def up(
        paths: tuple[str, ...], mount: Path | None, no_mount: bool, port: int | None, safe_mode: bool, detach: bool
    ) -> None:
        """Index the folders PATHS (those of the last time when none is given), serve the API, mount the tree.

        Runs until Ctrl-C. Folders given later are added to the ones before.
        """
        options = Options(paths=paths, mount=mount, no_mount=no_mount, port=port, safe_mode=safe_mode)
        with context.home.kept_if_used():
            if detach:
                from mosaicfs_core.cli.detach import start

                start(context, options)
                return
            with context.home.lock(instead=context.home.further_folders()):
                asyncio.run(_run(context, options))

    @cli.command("down", short_help="Stop the MosaicFS that runs on this home.")
    def down() -> None:
        """Stop the MosaicFS that runs on this home, and wait until it has ended."""
        from mosaicfs_core.cli.detach import stop

        pid = stop(context.home)
        if context.json:
            context.show({"stopped": pid})
        else:
            context.say(f"Stopped process {pid}." if pid else f"Nothing runs on {context.home.path}.")


async def _run(context: TerminalContext, options: Options) -> None:
    from mosaicfs_core import config as configuration
    from mosaicfs_core import logs, stuck
    from mosaicfs_core.cli.enrolled import refuse_enrolled
    from mosaicfs_core.cli.foreground import keep_the_terminal_quiet, mounted, stop_on_signals
    from mosaicfs_core.cli.mounting import default_mount
    from mosaicfs_core.cli.runtime import running
    from mosaicfs_core.content.watchable import check_watch_paths
    from mosaicfs_core.mount_table import mount_point
    from mosaicfs_core.server.serve import bind

    stop = stop_on_signals()
    home = context.home.prepare()
    refuse_enrolled(home)
    config = configuration.load(home.config_file)
    directory = None if options.no_mount else mount_point(options.mount or default_mount(home))
    given = options.paths or _first_paths(context)
    roots = check_watch_paths(given, home, directory)
    where = configuration.where_set(home.config_file, "server", "host")
    listener = bind(msgspec.structs.replace(config.server, port=_port(config, options)), where)
    logs.configure(config.logging, home.log_dir)
    stuck.watch(home.log_dir, "mosaicfs")
    if not context.verbose:
        keep_the_terminal_quiet()
    async with running(
        home,
        config,
        listener,
        paths=roots,
        named=bool(options.paths),
        mount=directory,
        safe_mode=options.safe_mode,
    ) as runtime:
        indexed = await _wait_for_first_crawl(context, runtime, stop)
        async with mounted(runtime, directory, stop, safe_mode=options.safe_mode) as (keeper, problem):
            if not stop.is_set():
                await _announce(context, runtime, keeper, problem, indexed)
            await stop.wait()
            context.say("Stopping…")


def _port(config: Config, options: Options) -> int:
    return config.server.port if options.port is None else options.port


def _first_paths(context: TerminalContext) -> tuple[str, ...]:
    """What to index when no folder was given: nothing new, unless none was ever given."""
    from mosaicfs_core.cli.default_root import default_root

    if context.home.replica.exists():
        return ()
    root, note = default_root(context.home)
    context.say(note)
    return (root,)


async def _wait_for_first_crawl(context: TerminalContext, runtime: AgentRuntime, stop: asyncio.Event) -> Indexed:
    """Show how the first crawl goes, until the folders are indexed, it hangs or takes long, or the user has enough."""
    from mosaicfs_core.cli import crawl_progress

    return await crawl_progress.show(context, runtime, stop, longest=FIRST_CRAWL_SECONDS, stalled=STALLED_SECONDS)


def login_line(link: str | None, problem: str | None) -> str:
    """How to sign in, or why that cannot be yet."""
    return f"Log in    {link}   (once, within an hour)" if link else f"Log in    not now: {problem}"


async def _announce(
    context: TerminalContext, runtime: AgentRuntime, keeper: MountKeeper | None, problem: str | None, indexed: Indexed
) -> None:
    """Say where everything is: the ready message, or one line of JSON."""
    facts = await _facts(runtime, keeper, problem, indexed)
    if context.json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    from mosaicfs_core.cli.foreground import NO_MOUNT

    if keeper is not None:
        context.say(f"Mounted   {keeper.directory}")
    elif problem is not None:
        context.say(f"Mounted   nowhere: {problem}")
        context.say("          Everything else works" + (TREE if problem != NO_MOUNT else "."))
    context.say(f"API       {runtime.url}/api/docs")
    if runtime.url.startswith("https:"):
        from mosaicfs_core.security.authority import Authority

        context.say(f"Authority {Authority.of_home(runtime.core.home).fingerprint}")
    click.echo(login_line(facts["login_link"], facts["login_problem"]))
    context.say("Ctrl-C stops it.")


async def _facts(
    runtime: AgentRuntime, keeper: MountKeeper | None, problem: str | None, indexed: Indexed
) -> dict[str, Any]:
    """What the ready message tells, as ``--json`` has it. It makes the login link."""
    from mosaicfs_core.errors import MosaicError

    roots = await runtime.roots()
    link, unable = None, None
    try:
        link = await runtime.login_link()
    except MosaicError as error:  # the disk is full, say: what runs goes on
        unable = f"{error.message} Once that is mended, `mosaicfs credentials link` makes a login link."
    return {
        "ready": True,
        "url": runtime.url,
        "login_link": link,
        "login_problem": unable,
        "mount": str(keeper.directory) if keeper else None,
        "mount_problem": problem,
        "roots": list(roots),
        "indexed": indexed.said,
        "problems": list(indexed.problems),
        "crawling": runtime.agent.awaited(),
        "node_id": runtime.core.node_id,
    }
