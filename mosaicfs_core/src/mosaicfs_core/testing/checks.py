"""The checks behind the contracts, without pytest, so that ``mosaicfs plugin check`` runs them too.

Each raises ``AssertionError`` that says what is wrong, and is named by its first docstring line.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from importlib_metadata import EntryPoint

from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import HOOK_API, CrawlRequest
from mosaicfs_core.plugins.context import InstanceContext
from mosaicfs_core.plugins.discovery import InstalledPlugin
from mosaicfs_core.plugins.probing import fatal_import
from mosaicfs_core.plugins.routes_context import routes_context
from mosaicfs_core.plugins.schema_shape import translate
from mosaicfs_core.testing.harness import STALL_S, Harness

_LOAD_SECONDS: Final = 60
_FEW_ITEMS: Final = 3


class FatalImport(AssertionError):
    """The package must be imported by no process that is to go on."""


def name_of(plugin: str | EntryPoint) -> str:
    """The plugin's name."""
    return plugin if isinstance(plugin, str) else plugin.name


def start(plugin: str | EntryPoint, path: Path) -> contextlib.AbstractAsyncContextManager[Harness]:
    """A harness with this plugin alone."""
    if isinstance(plugin, str):
        return Harness.start(path, only={plugin})
    return Harness.start(path, plugins=[plugin])


async def check_clean_process(plugin: str | EntryPoint, path: Path) -> None:
    """loads in a clean process"""
    command = [sys.executable, "-m", "mosaicfs_core.testing.probe", name_of(plugin)]
    if isinstance(plugin, EntryPoint):
        # One that is installed the host looks at itself before it imports it.
        fatal = await asyncio.to_thread(fatal_import, InstalledPlugin(plugin.name, plugin, "", ""))
        if fatal is not None:
            raise FatalImport(fatal)
        command.append(plugin.value)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=_LOAD_SECONDS, env=environment, check=False
    )
    assert done.returncode == 0, f"loading ended the process with {done.returncode}: {done.stderr[-2000:]}"
    lines = done.stdout.splitlines()
    assert len(lines) == 1, f"importing it prints to standard output: {lines[0]!r}" if lines else "nothing was answered"
    answer = json.loads(lines[0])
    assert answer["status"] == "ok", f"{answer['error']}\n{answer['traceback'] or ''}"


async def check_manifest(plugin: str | EntryPoint, path: Path) -> None:
    """has a manifest that says what it is"""
    async with start(plugin, path) as harness:
        manifest = harness.working(name_of(plugin)).manifest
    assert manifest is not None
    assert manifest.title.strip(), "the manifest's title is empty"
    assert manifest.description.strip(), "the manifest's description is empty"
    assert manifest.version.strip(), "the manifest's version is empty"
    assert manifest.hook_api == HOOK_API, f"it is written for hook API {manifest.hook_api}, this is {HOOK_API}"


async def check_settings_schema(plugin: str | EntryPoint, path: Path) -> None:
    """has a settings schema that can be rendered, and defaults that satisfy it"""
    async with start(plugin, path) as harness:
        loaded = harness.working(name_of(plugin))
        schema = harness.host.settings_schema(loaded)
        assert loaded.manifest is not None
        properties = translate(loaded.manifest.settings_schema or {}).get("properties", {})
    for key, part in properties.items():
        assert "title" in part or "description" in part, f"setting {key} has neither title nor description"
        if part.get("format") == "secret":
            assert part.get("writeOnly") is True, f"secret setting {key} must have writeOnly: true"
            assert "default" not in part, f"secret setting {key} has a default"
    defaults = schema.filled({})
    wrong = [error for error in schema.errors(defaults) if error.message != "is required"]
    assert not wrong, f"the defaults do not satisfy the schema: {wrong}"


async def check_hooks(plugin: str | EntryPoint, path: Path) -> None:
    """answers its registration hooks with what they promise"""
    async with start(plugin, path) as harness:
        loaded = harness.working(name_of(plugin))
        _register(harness, loaded.name)


async def check_start_and_stop(plugin: str | EntryPoint, path: Path) -> None:
    """starts and stops twice, and leaves no task, thread or descriptor behind"""
    async with start(plugin, path) as harness:
        name = harness.working(name_of(plugin)).name
        context = await harness.instance(name)
        # The first round may fill caches (imports, thread pools); the second must find everything as it was.
        await _run_once(harness, name, context)
        replica = str(harness.core.home.replica)
        before = _resources(replica)
        await _run_once(harness, name, context)
        await _settle()
        after = _resources(replica)
    for kind in before:
        left = after[kind] - before[kind]
        assert not left, f"left behind after stopping: {kind} {sorted(left)}"


Check = Callable[[str | EntryPoint, Path], Awaitable[None]]
PLUGIN_CHECKS: Final[tuple[Check, ...]] = (
    check_clean_process,
    check_manifest,
    check_settings_schema,
    check_hooks,
    check_start_and_stop,
)


def _register(harness: Harness, name: str) -> None:
    """Call every registration hook that the plugin has."""
    plugin = harness.host.get(name)
    if "mosaicfs_step_ops" in plugin.hooks:
        harness.host.register(plugin, "mosaicfs_step_ops")
    if "mosaicfs_commands" in plugin.hooks:
        import click

        from mosaicfs_core.cli.frame_context import TerminalContext

        group = click.Group()
        harness.host.register(plugin, "mosaicfs_commands", cli=group, context=TerminalContext())
        assert group.commands, "mosaicfs_commands added no command"
    if "mosaicfs_routes" in plugin.hooks:
        from quart import Quart

        app = Quart("mosaicfs_check")
        context = routes_context(harness.core, plugin, dict)
        for blueprint in harness.host.register(plugin, "mosaicfs_routes", app=app, context=context):
            app.register_blueprint(blueprint)


async def _run_once(harness: Harness, name: str, context: InstanceContext) -> None:
    """Run its work hooks for a moment: a few items of a crawl, a watch and a background task cancelled once they
    wait."""
    plugin = harness.host.get(name)
    _register(harness, name)
    for hook in ("mosaicfs_watch", "mosaicfs_run"):
        if hook in plugin.hooks:
            await _start_and_cancel(harness, name, hook, context)
    if "mosaicfs_crawl" in plugin.hooks:
        request = CrawlRequest(trigger="startup")
        items = harness.host.iterate(plugin, "mosaicfs_crawl", stall_timeout=STALL_S, context=context, request=request)
        async with contextlib.aclosing(items):
            for _ in range(_FEW_ITEMS):
                if await anext(items, None) is None:
                    break


async def _start_and_cancel(harness: Harness, name: str, hook: str, context: InstanceContext) -> None:
    """Run a long-lived hook for a moment. ``emit`` goes to those alone that name it."""

    async def emit(_operations: Any) -> None:
        return None

    arguments = {"emit": emit} if hook == "mosaicfs_watch" else {}
    running = asyncio.ensure_future(harness.host.call(name, hook, timeout=None, context=context, **arguments))
    await asyncio.wait({running}, timeout=0.2)
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=STALL_S)
    assert done, f"{hook} ignores its cancellation"
    if not running.cancelled() and (error := running.exception()) is not None:
        raise AssertionError(f"{hook} failed: {error}") from error


async def _settle() -> None:
    """Let callbacks and finalizers run."""
    gc.collect()
    for _ in range(3):
        await asyncio.sleep(0)


def _resources(replica: str) -> dict[str, set[str]]:
    """The tasks, threads and descriptors of this process. Worker threads of pools, the host's among them, are reused
    and do not count, nor do their connections to the host's ``replica``, which each opens when it is first needed."""
    tasks = {f"{task.get_name()} {task.get_coro()}" for task in asyncio.all_tasks() if not task.done()}
    threads = {
        f"{thread.name} {thread.ident}"
        for thread in threading.enumerate()
        if not thread.name.startswith(("asyncio_", "ThreadPoolExecutor", "store-", "cache"))
    }
    return {"tasks": tasks, "threads": threads, "descriptors": _descriptors(replica)}


def _descriptors(replica: str) -> set[str]:
    table = Path("/proc/self/fd")
    if not table.is_dir():
        return set()
    found: set[str] = set()
    for entry in os.listdir(table):
        with contextlib.suppress(OSError):
            found.add(f"{entry} {os.readlink(table / entry)}")
    return {text for text in found if "/proc/" not in text and f" {replica}" not in text}


async def run_checks(plugin: str | EntryPoint, path: Path) -> list[tuple[str, str | None]]:
    """Run every plugin check; returns each one's name and what is wrong, None when nothing is. One that must not be
    imported here is asked for nothing more."""
    results: list[tuple[str, str | None]] = []
    told: dict[str, str] = {}  # the last line of each traceback, and the check that shows it
    for number, check in enumerate(PLUGIN_CHECKS):
        problem: str | None = None
        fatal = False
        try:
            await check(plugin, path / str(number))
        except (AssertionError, PluginError) as error:
            problem = str(error)
            fatal = isinstance(error, FatalImport)
        name = (check.__doc__ or check.__name__).strip()
        if problem is not None and "\n" in problem:
            first, last = problem.splitlines()[0], problem.splitlines()[-1]
            problem = f"{first} (the traceback stands at: {told[last]})" if last in told else problem
            told.setdefault(last, name)
        results.append((name, problem))
        if fatal:
            break
    return results
