"""``mosaicfs server run``: the control plane alone, for the agents of other machines."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for; None leaves it to the configuration."""

    host: str | None
    port: int | None
    hub: str | None
    safe_mode: bool


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``server``."""

    @cli.group("server", short_help="Run the control plane alone, for agents elsewhere.")
    def server() -> None:
        """Run the control plane alone, for agents elsewhere."""

    @server.command("run")
    @click.option("--host", help="Where to listen (default: [server] host).")
    @click.option("--port", type=click.IntRange(0, 65535), help="TCP port; 0 takes a free one.")
    @click.option("--hub", metavar="URL", help="The CouchDB database to share with others (default: [hub] url).")
    @click.option("--safe-mode", is_flag=True, help="Start without third-party plugins.")
    def run(host: str | None, port: int | None, hub: str | None, safe_mode: bool) -> None:
        """Serve the API and the agents of other machines, until Ctrl-C. It indexes no folders of this machine itself:
        `mosaicfs up` does both."""
        with context.home.lock():
            asyncio.run(_run(context, ServerOptions(host=host, port=port, hub=hub, safe_mode=safe_mode)))


async def _run(context: TerminalContext, options: ServerOptions) -> None:
    from mosaicfs_core import config as configuration
    from mosaicfs_core import logs, stuck
    from mosaicfs_core.cli.enrolled import refuse_enrolled
    from mosaicfs_core.cli.foreground import keep_the_terminal_quiet, stop_on_signals
    from mosaicfs_core.cli.runtime import running_server
    from mosaicfs_core.security.authority import Authority
    from mosaicfs_core.server.serve import bind

    stop = stop_on_signals()
    home = context.home.prepare()
    refuse_enrolled(home)
    config = configuration.with_hub(configuration.load(home.config_file), options.hub)
    given = {"host": options.host, "port": options.port}
    where = "--host" if options.host else configuration.where_set(home.config_file, "server", "host")
    wanted = {key: value for key, value in given.items() if value is not None}
    listener = bind(msgspec.structs.replace(config.server, **wanted), where)
    logs.configure(config.logging, home.log_dir)
    stuck.watch(home.log_dir, "mosaicfs")
    if not context.verbose:
        keep_the_terminal_quiet()
    async with running_server(home, config, listener, safe_mode=options.safe_mode) as runtime:
        link = await runtime.login_link()
        if context.json:
            facts = {"ready": True, "url": runtime.url, "login_link": link, "node_id": runtime.core.node_id}
            click.echo(json.dumps(facts, ensure_ascii=False))
        else:
            context.say(f"API       {runtime.url}/api/docs")
            if runtime.url.startswith("https:"):
                context.say(f"Authority {Authority.of_home(home).fingerprint}")
            click.echo(f"Log in    {link}   (once, within an hour)")
            context.say("Ctrl-C stops it.")
        await stop.wait()
        context.say("Stopping…")
