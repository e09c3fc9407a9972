"""One plugin, run in each of the ways there are: what the contracts of work hooks run over."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from importlib_metadata import EntryPoint, entry_points

from mosaicfs_core import children
from mosaicfs_core.documents import times
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.hooks import ENTRY_POINT_GROUP, RunningPlugin
from mosaicfs_core.plugins.running import kinds
from mosaicfs_core.testing.harness import Harness

TRANSPORTS: Final = ("package", "isolated", "executable", "socket")
_START_S: Final = 60.0


@asynccontextmanager
async def running(
    plugin: str | EntryPoint, transport: str, path: Path, settings: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[Harness, RunningPlugin]]:
    """A harness in the directory ``path``, and the plugin running in one of ``TRANSPORTS``. ``executable`` and
    ``socket`` need a plugin that adds these kinds (``external``). Raises ``AssertionError`` when it does not begin to
    work."""
    name = plugin if isinstance(plugin, str) else plugin.name
    points = _points(plugin, transport)
    async with AsyncExitStack() as stack:
        harness = await stack.enter_async_context(Harness.start(path, plugins=points))
        served = name if isinstance(plugin, str) else f"{plugin.name}={plugin.value}"
        if transport == "executable":
            _write_program(harness, name, served)
        elif transport == "socket":
            await stack.enter_async_context(_serving(harness, name, served))
        await harness.store.put(_document(harness, name, transport, settings or {}))
        instance = (await harness.instances.refresh())[name]
        assert instance.problem is None, instance.problem
        news = asyncio.Event()
        made = kinds.run(harness.core, harness.instances, instance, news.set)
        await made.start()
        stack.push_async_callback(made.stop)
        await _until_works(made, news)
        yield harness, made


def _document(harness: Harness, name: str, transport: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The instance's document: of a foreign program it says what a manifest would."""
    document = instance_document(harness.core.node_id, name, package=name, created_at=times.now_text())
    document |= {"settings": dict(settings), "isolate": transport == "isolated"}
    manifest = harness.working(name).manifest
    if transport in ("executable", "socket") and manifest is not None:
        document |= {
            "plugin_type": transport,
            "subscribed_events": list(manifest.subscribed_events),
            "query_endpoints": [msgspec.to_builtins(one) for one in manifest.queries],
        }
    return document


def _points(plugin: str | EntryPoint, transport: str) -> list[EntryPoint]:
    """The plugin, and for foreign programs all that is installed, among which is what runs them."""
    installed = list(entry_points(group=ENTRY_POINT_GROUP))
    own = [plugin] if isinstance(plugin, EntryPoint) else [point for point in installed if point.name == plugin]
    others = [point for point in installed if point.name == "external"] if transport in TRANSPORTS[2:] else []
    return own + [point for point in others if point not in own]


async def _until_works(made: RunningPlugin, news: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_START_S):
            while made.problem is not None:
                news.clear()
                await news.wait()
    except TimeoutError:
        raise AssertionError(f"it does not begin to work: {made.problem}") from None


def _environment() -> dict[str, str]:
    """A child finds the modules that this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


def _write_program(harness: Harness, name: str, served: str) -> None:
    """``mosaicfs plugin run`` as a program in the plugin directory."""
    directory = harness.home.plugins_dir
    directory.mkdir(mode=0o700, exist_ok=True)
    words = [*children.command(harness.home.path, "plugin", "run", served)]
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    program = directory / name
    program.write_text(f"#!/bin/sh\nPYTHONPATH='{_environment()['PYTHONPATH']}' exec {quoted}\n", encoding="utf-8")
    program.chmod(0o700)


@asynccontextmanager
async def _serving(harness: Harness, name: str, served: str) -> AsyncIterator[None]:
    """``mosaicfs plugin serve`` listening where sockets of plugins are."""
    directory = kinds.socket_dir(harness.home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = children.command(
        harness.home.path, "plugin", "serve", served, "--socket", str(directory / f"{name}.sock")
    )
    log = directory / f"{name}.log"
    with await asyncio.to_thread(log.open, "wb") as errors:
        child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors, env=_environment()
        )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            said = await child.stdout.readline()
        assert said, f"plugin serve {served} did not begin to listen: {log.read_text('utf-8', 'replace')[-2000:]}"
        yield
    finally:
        child.stdin.close()
        try:
            async with asyncio.timeout(10):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
