"""``mosaicfs plugin``: what is installed, writing, checking and running a package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mosaicfs_core.cli import plugin_check, plugin_jobs, plugin_limits, plugin_settings, plugin_switches

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext
    from mosaicfs_core.errors import MosaicError


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``plugin``."""

    @cli.group("plugin", short_help="List, check, write and switch plugins.")
    def plugin() -> None:
        """List, check, write and switch plugins."""

    _add_list(plugin, context)
    _add_new(plugin, context)
    plugin_check.register(plugin, context)
    plugin_switches.register(plugin, context)
    plugin_settings.register(plugin, context)
    plugin_limits.register(plugin, context)
    _add_serve(plugin, context)
    plugin_jobs.register(plugin, context)
    _add_describe(plugin, context)
    _add_run(plugin)


def _add_list(group: click.Group, context: TerminalContext) -> None:
    @group.command("list")
    @click.option("--disable", multiple=True, metavar="NAME", help="Do not import this plugin (repeatable).")
    @click.option("--safe-mode", is_flag=True, help="Import the plugins of MosaicFS itself alone.")
    def list_plugins(disable: tuple[str, ...], safe_mode: bool) -> None:
        """List the plugins installed in this environment and the programs of this machine, those that cannot be used
        with the reason, and which are switched off here.

        A MosaicFS that runs here looks again what is installed, and uses it from then on. With --verbose the
        traceback of each failed one follows.
        """
        from mosaicfs_core import config
        from mosaicfs_core.cli.plugin_listing import COLUMNS, on_this_machine, rows, running_notes
        from mosaicfs_core.plugins.environments import host_of
        from mosaicfs_core.plugins.running import kinds

        quiet_log()
        configured = config.load(context.home.config_file)
        host = host_of(context.home, (*disable, *configured.agent.disabled_plugins), safe_mode)
        here = on_this_machine(context.home, hub=bool(configured.hub.url))
        programs = kinds.programs(context.home, host)
        found = rows(host.plugins.values(), programs, here, running_notes(context.home))
        context.show(found, COLUMNS, empty="no plugin is installed")
        if context.verbose:
            for plugin in host.plugins.values():
                if plugin.traceback:
                    click.echo(f"\n{plugin.name}:\n{plugin.traceback}", err=True)


def _add_new(group: click.Group, context: TerminalContext) -> None:
    @group.command("new")
    @click.argument("name")
    @click.option(
        "--in",
        "parent",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=Path(),
        show_default="the current directory",
        help="The directory to write the package's directory into.",
    )
    def new(name: str, parent: Path) -> None:
        """Write a package for a new plugin NAME: a project, a module, a test and a README.

        It is complete: pip install it, and it is listed, crawls and passes its conformance test.
        """
        from mosaicfs_core.cli.plugin_template import write_package

        written = write_package(name, parent)
        context.say(
            f"wrote {written.directory}; next: pip install -e {written.directory} && mosaicfs plugin check {name}"
        )
        if context.json:
            context.show({"directory": str(written.directory), "files": list(written.files)})


def _add_serve(group: click.Group, context: TerminalContext) -> None:
    @group.command("serve")
    @click.argument("name")
    @click.option(
        "--socket",
        "path",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="The Unix socket to listen on; a file that is there already is replaced.",
    )
    def serve(name: str, path: Path) -> None:
        """Serve the installed plugin NAME on a socket: its own process, which a MosaicFS connects to.

        NAME=MODULE serves a module that is importable but not installed as a plugin.

        MosaicFS starts this itself for plugins that it isolates. It says in one line of JSON when it listens, and ends
        when its standard input ends or it gets a signal.
        """
        import asyncio

        from mosaicfs_core.cli.plugin_serving import serve_package

        asyncio.run(serve_package(name, path))


def _add_describe(group: click.Group, context: TerminalContext) -> None:
    @group.command("describe")
    @click.argument("name")
    def describe(name: str) -> None:
        """Say in JSON what the installed plugin NAME is: its manifest, and the hooks that it has. A program in the
        plugin directory has none; of one that cannot be run this says why.

        MosaicFS asks this of a package that has a virtual environment of its own.
        """
        import msgspec

        from mosaicfs_core.cli.plugin_alone import load_alone, own_output
        from mosaicfs_core.errors import NotFound
        from mosaicfs_core.plugins.environments import description_of

        quiet_log()
        try:
            plugin = load_alone(name)[1]
        except NotFound as error:
            raise _of_program(context, name) or error from None
        with own_output() as output:
            output.write(msgspec.json.encode(description_of(plugin)))


def _of_program(context: TerminalContext, name: str) -> MosaicError | None:
    """That a name is no package's but a program's, and why that cannot be run; None where there is none."""
    from mosaicfs_core.errors import PluginError
    from mosaicfs_core.plugins.environments import host_of
    from mosaicfs_core.plugins.running import kinds

    for program in kinds.programs(context.home, host_of(context.home)):
        if program.name == name:
            what = f"{name} is a program ({program.plugin_type}), which has no manifest"
            return PluginError(f"{what}; it cannot be run: {program.problem}" if program.problem else what, name, "")
    return None


def _add_run(group: click.Group) -> None:
    @group.command("run")
    @click.argument("name")
    def run(name: str) -> None:
        """Run the installed plugin NAME once: for an event, a question or a crawl, JSON in and JSON out.

        NAME=MODULE runs a module that is importable but not installed as a plugin.

        A program in the plugin directory that says `exec mosaicfs plugin run NAME` makes the package a plugin of the
        type executable: a new process each time.
        """
        from mosaicfs_core.cli.plugin_running import run_package

        run_package(name)


def quiet_log() -> None:
    """Let nothing of the host's log get to the terminal."""
    # What went wrong is shown in the answer; the host's log would say it twice.
    import logging

    logging.getLogger("mosaicfs").addHandler(logging.NullHandler())
