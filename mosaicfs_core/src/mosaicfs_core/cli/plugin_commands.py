"""``mosaicfs plugin``: what is installed, writing and checking a package, switching instances."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mosaicfs_core.cli import plugin_jobs
from mosaicfs_core.hooks.events import EVENTS

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext


_PROGRAM_EVENTS: Final = ("file.added", "file.modified")


def register(cli: click.Group, context: TerminalContext) -> None:
    """Add the group ``plugin``."""

    @cli.group("plugin", short_help="List, check, write and switch plugins.")
    def plugin() -> None:
        """List, check, write and switch plugins."""

    _add_list(plugin, context)
    _add_new(plugin, context)
    _add_check(plugin, context)
    _add_switches(plugin, context)
    _add_serve(plugin, context)
    plugin_jobs.register(plugin, context)
    _add_describe(plugin)
    _add_run(plugin)


def _add_list(group: click.Group, context: TerminalContext) -> None:
    @group.command("list")
    @click.option("--disable", multiple=True, metavar="NAME", help="Do not import this plugin (repeatable).")
    @click.option("--safe-mode", is_flag=True, help="Import the plugins of MosaicFS itself alone.")
    def list_plugins(disable: tuple[str, ...], safe_mode: bool) -> None:
        """List the plugins installed in this environment, working or not, and which are switched off on this machine.

        With --verbose the traceback of each failed one follows.
        """
        from mosaicfs_core import config
        from mosaicfs_core.cli.plugin_listing import COLUMNS, instances_of, rows
        from mosaicfs_core.plugins.environments import host_of

        _quiet_log()
        configured = config.load(context.home.config_file).agent.disabled_plugins
        host = host_of(context.home, (*disable, *configured), safe_mode)
        found = rows(host.plugins.values(), instances_of(context.home))
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


def _add_check(group: click.Group, context: TerminalContext) -> None:
    @group.command("check")
    @click.argument("name")
    def check(name: str) -> None:
        """Check that the installed plugin NAME keeps the contract of plugins.

        NAME is an entry point's name; NAME=MODULE checks a module that is importable but not installed as a plugin.
        """
        import asyncio
        import tempfile

        from mosaicfs_core.errors import MosaicError
        from mosaicfs_core.testing.checks import run_checks
        from mosaicfs_core.testing.harness import plugin_at

        _quiet_log()
        name, _, module = name.partition("=")
        with tempfile.TemporaryDirectory(prefix="mosaicfs-check-") as directory:
            results = asyncio.run(run_checks(plugin_at(name, module) if module else name, Path(directory)))
        rows = [
            {"check": text, "result": "failed" if problem else "ok", "problem": problem} for text, problem in results
        ]
        context.show(rows, {"check": "CHECK", "result": "RESULT"})
        failed = [row for row in rows if row["problem"]]
        if failed and not context.json:
            for row in failed:
                click.echo(f"\n{row['check']}:\n{row['problem']}", err=True)
        if failed:
            raise MosaicError(f"{name} fails {len(failed)} of {len(rows)} checks")


def _add_switches(group: click.Group, context: TerminalContext) -> None:
    node = click.option(
        "--node", metavar="NODE", help="The node of the instance, by name or id; this machine's by default."
    )

    @group.command("enable")
    @click.argument("name")
    @click.option(
        "--event", "events", multiple=True, type=click.Choice(EVENTS), help="What a program is told of (repeatable)."
    )
    @click.option("--mime", "globs", multiple=True, metavar="GLOB", help="Only of files of this type (repeatable).")
    @click.option("--answers", multiple=True, metavar="CAPABILITY", help="What a program can be asked (repeatable).")
    @node
    def enable(
        name: str, events: tuple[str, ...], globs: tuple[str, ...], answers: tuple[str, ...], node: str | None
    ) -> None:
        """Switch the instance NAME on. When there is none it is made: of the installed package of that name, or of the
        program of that name in the plugin directory of the machine (or that listens on a socket there), which is told
        of new and changed files unless --event says otherwise."""
        from mosaicfs_core.errors import NotFound

        node_id = _node_id(context, node)
        where = f"nodes/{node_id}/plugins"
        wishes = {"subscribed_events": list(events), "mime_globs": list(globs), "query_endpoints": _endpoints(answers)}
        asked = {field: wish for field, wish in wishes.items() if wish}
        try:
            answer = context.api.send("PATCH", f"{where}/{name}", {"enabled": True, **asked})
        except NotFound:
            kind = _installed_type(context, node_id, name)
            if kind != "package":
                asked.setdefault("subscribed_events", list(_PROGRAM_EVENTS))
            made = {"plugin_name": name, "plugin_type": kind, "enabled": True, **asked}
            answer = context.api.send("POST", where, made)
        _tell(context, answer, f"{name} is on")

    @group.command("disable")
    @click.argument("name")
    @node
    def disable(name: str, node: str | None) -> None:
        """Switch the instance NAME off; what it indexed stays."""
        where = f"nodes/{_node_id(context, node)}/plugins/{name}"
        _tell(context, context.api.send("PATCH", where, {"enabled": False}), f"{name} is off")

    @group.command("remove")
    @click.argument("name")
    @node
    def remove(name: str, node: str | None) -> None:
        """Remove the instance NAME with its settings, what it indexed and what it kept on that machine. Files that it
        only watched stay on disk.

        The package stays installed, and a default instance does not come back by itself."""
        where = f"nodes/{_node_id(context, node)}/plugins/{name}"
        _tell(context, context.api.send("DELETE", where), f"{name} is removed")


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


def _add_describe(group: click.Group) -> None:
    @group.command("describe")
    @click.argument("name")
    def describe(name: str) -> None:
        """Say in JSON what the installed plugin NAME is: its manifest, and the hooks that it has.

        MosaicFS asks this of a package that has a virtual environment of its own.
        """
        import msgspec

        from mosaicfs_core.cli.plugin_alone import load_alone, own_output
        from mosaicfs_core.plugins.environments import description_of

        _quiet_log()
        with own_output() as output:
            output.write(msgspec.json.encode(description_of(load_alone(name)[1])))


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


def _endpoints(capabilities: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"name": capability, "capability": capability} for capability in capabilities]


def _node_id(context: TerminalContext, node: str | None) -> str:
    """The node that an option names; this machine's without one."""
    from mosaicfs_core.hooks import node_argument

    return context.home.node_id() if node is None else node_argument(context.api, node)


def _installed_type(context: TerminalContext, node_id: str, name: str) -> str:
    """``package``, or the type of the program of that name on a node. Raises ``NotFound`` with what may be meant when a
    node that told what is installed there does not have it."""
    from difflib import get_close_matches

    from mosaicfs_core.errors import NotFound

    told = context.api.get(f"nodes/{node_id}/status").get("available_plugins", [])
    installed = {str(plugin["name"]): str(plugin.get("type", "package")) for plugin in told}
    if not installed or name in installed:
        return installed.get(name, "package")
    instances = {str(one["id"]) for one in context.api.get(f"nodes/{node_id}/plugins")["items"]}
    near = get_close_matches(name, sorted(installed.keys() | instances), 1)
    hint = f"did you mean {near[0]}?" if near else f"installed are {', '.join(sorted(installed))}"
    raise NotFound(f"{node_id} has no plugin {name}, neither installed nor as an instance; {hint}")


def _tell(context: TerminalContext, answer: dict[str, Any], text: str) -> None:
    if context.json:
        context.show(answer)
        return
    context.say(text)
    for warning in answer.get("warnings", []):
        context.say(f"warning: {warning}")


def _quiet_log() -> None:
    # What went wrong is shown in the answer; the host's log would say it twice.
    import logging

    logging.getLogger("mosaicfs").addHandler(logging.NullHandler())
