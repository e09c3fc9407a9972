"""``mosaicfs plugin check``: the checks of the conformance kit, without pytest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from importlib_metadata import EntryPoint

    from mosaicfs_core.cli.frame_context import TerminalContext
    from mosaicfs_core.testing.package_checks import Given, Result

_WAYS: Final = ("package", "isolated", "executable", "socket")
_COLUMNS: Final = {"check": "CHECK", "way": "RUN AS", "result": "RESULT", "skipped": "WHY"}


def register(group: click.Group, context: TerminalContext) -> None:
    """Add the command to the group ``plugin``."""

    @group.command("check")
    @click.argument("name")
    @click.option(
        "--file",
        "files",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file that it can make something of, for one that works on files (repeatable; default: some text).",
    )
    @click.option("--setting", "settings", multiple=True, metavar="KEY=VALUE", help="A setting it needs (repeatable).")
    @click.option(
        "--way", "ways", multiple=True, type=click.Choice(_WAYS), help="Run it so (repeatable; default: every way)."
    )
    def check(name: str, files: tuple[Path, ...], settings: tuple[str, ...], ways: tuple[str, ...]) -> None:
        """Check that the installed plugin NAME keeps the contracts of plugins: of the package, and of the hooks that it
        has (crawls, file events, questions), in every way to run it.

        NAME is an entry point's name; NAME=MODULE checks a module that is importable but not installed as a plugin.
        One that has a virtual environment of its own is checked by that. What only tests of its own can check is shown
        as skipped.
        """
        from mosaicfs_core.cli.plugin_commands import quiet_log
        from mosaicfs_core.errors import MosaicError
        from mosaicfs_core.printing import printable
        from mosaicfs_core.testing.harness import plugin_at

        quiet_log()
        name, _, module = name.partition("=")
        if not module and (python := _own_python(context, name)):
            given = {"--file": [str(file.absolute()) for file in files], "--setting": settings, "--way": ways}
            raise SystemExit(_run_by(python, context, name, given))
        plugin = plugin_at(name, module) if module else name
        results = _run(plugin, _given(plugin, files, settings, ways))
        rows = [_row(result) for result in results]
        context.show(rows, _COLUMNS)
        failed = [result for result in results if result.problem]
        for result in () if context.json else failed:
            way = f" ({result.way})" if result.way else ""
            click.echo(f"\n{result.check}{way}:\n{printable(str(result.problem), keep_lines=True)}", err=True)
        if failed:
            done = sum(result.skipped is None for result in results)
            raise MosaicError(f"{name} fails {len(failed)} of {done} checks")


def _own_python(context: TerminalContext, name: str) -> Path | None:
    """The interpreter of the environment that a package has for itself; None where it has none, or this is it. Raises
    ``PluginError`` for one that must not be run."""
    import sys

    from mosaicfs_core.plugins.discovery import PLUGIN_NAME
    from mosaicfs_core.plugins.environments import interpreter

    own = context.home.environments_dir / name
    if PLUGIN_NAME.fullmatch(name) is None or not own.exists() or own.resolve() == Path(sys.prefix).resolve():
        return None
    return interpreter(context.home, name)


def _run_by(python: Path, context: TerminalContext, name: str, given: Mapping[str, Iterable[str]]) -> int:
    """Have another interpreter check, whose answer is ours; its exit code."""
    import subprocess

    from mosaicfs_core.children import PROGRAM

    frame = ["--home", str(context.home.path), *(["--json"] if context.json else [])]
    options = [word for option, values in given.items() for value in values for word in (option, value)]
    return subprocess.call([str(python), "-I", "-c", PROGRAM, *frame, "plugin", "check", name, *options])


def _run(plugin: str | EntryPoint, given: Given) -> Sequence[Result]:
    import asyncio
    import tempfile

    from mosaicfs_core.testing.package_checks import run_all

    async def gathered(path: Path) -> list[Result]:
        return [result async for result in run_all(plugin, path, given)]

    with tempfile.TemporaryDirectory(prefix="mosaicfs-check-") as directory:
        return asyncio.run(gathered(Path(directory)))


def _given(plugin: str | EntryPoint, files: Sequence[Path], settings: Sequence[str], ways: Sequence[str]) -> Given:
    """What the options say. Raises ``UserError`` for a setting that is none."""
    from mosaicfs_core.testing.package_checks import SAMPLES, Given

    found = {file.name: file.read_bytes() for file in files}
    values = _values(plugin, settings) if settings else {}
    return Given(settings=values, files=found or SAMPLES, transports=tuple(ways) or _WAYS)


def _values(plugin: str | EntryPoint, settings: Sequence[str]) -> dict[str, Any]:
    """Settings as the plugin's schema reads the words."""
    from mosaicfs_core.cli.plugin_alone import load_alone
    from mosaicfs_core.cli.plugin_values import check_key, value_of

    _, loaded = load_alone(plugin if isinstance(plugin, str) else f"{plugin.name}={plugin.value}")
    schema = (loaded.manifest.settings_schema if loaded.manifest is not None else None) or {}
    given: dict[str, list[str]] = {}
    for setting in settings:
        key, _, text = setting.partition("=")
        check_key(loaded.name, schema, key)
        given.setdefault(key, []).append(text)
    return {key: value_of(schema, key, texts) for key, texts in given.items()}


def _row(result: Result) -> dict[str, Any]:
    state = "failed" if result.problem else "skipped" if result.skipped else "ok"
    return {**result._asdict(), "result": state}
