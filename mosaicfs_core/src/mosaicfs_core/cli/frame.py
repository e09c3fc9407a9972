"""The frame around every command: lazy loading, options that are accepted anywhere, errors as exit codes.

Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 the instance cannot be reached, 4 not allowed.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import click

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.errors import MosaicError, NotAllowed, NotSignedIn, UserError
from mosaicfs_core.printing import printable
from mosaicfs_core.similar import similar

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_NOT_ALLOWED: Final = 4
EXIT_INTERRUPTED: Final = 130

_FLAGS: Final = ("--json", "--quiet", "--verbose")


class CoreCommand(NamedTuple):
    """Where a command of the core lives, and its one-line help (kept here so that the overview imports nothing)."""

    module: str
    help: str


class RootGroup(click.Group):
    """The group ``mosaicfs``: core commands by a static map, plugin commands by the environment's cached list."""

    def __init__(self, core_commands: Mapping[str, CoreCommand], **attributes: Any) -> None:
        super().__init__(**attributes)
        self.core_commands = core_commands

    # -- options anywhere ------------------------------------------------------------------------------------------

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Pull the global options out of the whole line and make this invocation's context."""
        leading, rest = _extract_globals(args)
        context = ctx.obj = TerminalContext()
        # An option of some commands, heeded before they are known: to find them, plugins may have to be imported.
        context.safe_mode = _wants(args, "--safe-mode")
        return super().parse_args(ctx, [*leading, *rest])

    # -- lazy commands ---------------------------------------------------------------------------------------------

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.core_commands, *_plugin_commands().names(ctx.ensure_object(TerminalContext))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        context = ctx.ensure_object(TerminalContext)
        core = self.core_commands.get(cmd_name)
        if core is None:
            # Plugins are asked again for a command that nobody knows, but not for a misspelt one.
            again = not self._near(ctx, cmd_name)
            found: click.Command | None = _plugin_commands().load(cmd_name, context, again=again)
            return found
        scratch = click.Group()
        importlib.import_module(core.module).register(scratch, context)
        return scratch.commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or an error that names those it may have been meant to be."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if near := self._near(ctx, args[0]):
                raise click.UsageError(f"{error.message} Did you mean {' or '.join(near)}?", ctx) from None
            raise

    def _near(self, ctx: click.Context, name: str) -> list[str]:
        return similar(name, self.list_commands(ctx), 2)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, from the map and the cached list alone."""
        rows = {name: command.help for name, command in self.core_commands.items()}
        found = _plugin_commands().helps(ctx.ensure_object(TerminalContext))
        plugin_rows = {name: text for name, text in found.items() if name not in rows}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))
        if plugin_rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(sorted(plugin_rows.items()))

    # -- errors ----------------------------------------------------------------------------------------------------

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the line given; every error ends as one line on standard error and its exit code."""
        given = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(given, prog_name, complete_var, False, **extra)
        as_json, verbose = _wants(given, "--json"), _wants(given, "--verbose") or _wants(given, "-v")
        try:
            code = super().main(given, prog_name, complete_var, False, **extra)
            sys.stdout.flush()
        except click.exceptions.Exit as error:
            sys.exit(error.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            _leave_broken_pipe()
        except Exception as error:  # noqa: BLE001 - the edge: whatever happened becomes one line and an exit code
            _report(error, as_json=as_json, verbose=verbose)
            sys.exit(exit_code(error))
        sys.exit(code if isinstance(code, int) else 0)


def root_group(core_commands: Mapping[str, CoreCommand]) -> RootGroup:
    """The root command over these core commands."""
    return RootGroup(
        core_commands,
        name="mosaicfs",
        params=_root_options(),
        help=(
            "One filesystem over everything you own.\n\n"
            "--json, --quiet, --verbose and --home are accepted before and after a command; -q and -v before it."
        ),
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110},
        no_args_is_help=True,
    )


def _root_options() -> list[click.Parameter]:
    return [
        click.Option(["--json"], is_flag=True, expose_value=False, callback=_set("json"), help="Print JSON."),
        click.Option(
            ["--quiet", "-q"], is_flag=True, expose_value=False, callback=_set("quiet"), help="Print results only."
        ),
        click.Option(
            ["--verbose", "-v"],
            is_flag=True,
            expose_value=False,
            callback=_set("verbose"),
            help="Show logs and tracebacks.",
        ),
        click.Option(
            ["--home"],
            type=click.Path(file_okay=False, path_type=Path),
            expose_value=False,
            is_eager=True,  # before --help, which shows the commands of the plugins that this home has not disabled
            callback=_set("home_path"),
            envvar="MOSAICFS_HOME",
            help="The directory that holds this machine's state.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version.",
        ),
    ]


def exit_code(error: BaseException) -> int:
    """The exit code that an error ends the program with."""
    if isinstance(error, NotAllowed | NotSignedIn):
        return EXIT_NOT_ALLOWED
    if isinstance(error, MosaicError) and error.code == "unreachable":
        return EXIT_UNREACHABLE
    if isinstance(error, UserError):
        return EXIT_USAGE
    return EXIT_FAILED


def _report(error: Exception, *, as_json: bool, verbose: bool) -> None:
    if verbose:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, MosaicError):
        code, message, details = error.code, error.message, error.details
    else:
        code, message, details = "failed", f"{type(error).__name__}: {error}", {}
    if as_json:
        import json

        body: dict[str, Any] = {"code": code, "message": message}
        if details:
            body["details"] = details
        click.echo(json.dumps({"error": body}, ensure_ascii=False, default=str), err=True)
        return
    click.echo(f"mosaicfs: {printable(' '.join(message.split()))}", err=True)
    if code == "failed" and not verbose:
        click.echo("This is unexpected; --verbose shows where it happened.", err=True)


def _extract_globals(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the line into the global options, wherever they stand before ``--``, and the rest in order."""
    leading: list[str] = []
    rest: list[str] = []
    remaining = iter(args)
    for word in remaining:
        if word == "--":
            rest.append(word)
            break
        if word in _FLAGS or word.startswith("--home="):
            leading.append(word)
        elif word == "--home":
            leading.append(word)
            leading.extend(value for value in [next(remaining, None)] if value is not None)
        else:
            rest.append(word)
    rest.extend(remaining)
    return leading, rest


def _wants(args: Sequence[str], flag: str) -> bool:
    return flag in (args[: args.index("--")] if "--" in args else args)


def _set(attribute: str) -> Any:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        setattr(ctx.ensure_object(TerminalContext), attribute, value)

    return callback


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"mosaicfs {version('mosaicfs-core')}")
    ctx.exit()


def _plugin_commands() -> Any:
    from mosaicfs_core.cli import plugin_cache

    return plugin_cache


def _leave_broken_pipe() -> NoReturn:
    # The reader of our output has gone; keep the interpreter's final flush from complaining about it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(EXIT_FAILED)
