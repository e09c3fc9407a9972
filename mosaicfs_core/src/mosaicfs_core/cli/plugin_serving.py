"""A package served on a socket, as ``mosaicfs plugin serve`` does it."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mosaicfs_core.cli.foreground import stop_on_signals
from mosaicfs_core.cli.plugin_alone import load_alone, own_output
from mosaicfs_core.cli.tied import Tie
from mosaicfs_core.hooks import HOOK_API
from mosaicfs_core.hooks.wire import PluginHello, serve
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.loading import LoadedPlugin
from mosaicfs_core.plugins.running.in_process import STALL_S


class ServedPackage:
    """A loaded package as the wire serves it: its hooks under the dispatcher of this process."""

    def __init__(self, host: PluginHost, plugin: LoadedPlugin) -> None:
        self._host, self._plugin = host, plugin

    @property
    def hello(self) -> PluginHello:
        """Its name and version."""
        manifest = self._plugin.manifest
        return PluginHello(hook_api=HOOK_API, name=self._plugin.name, version=manifest.version if manifest else "")

    async def call(self, hook: str, timeout: float | None, **arguments: Any) -> Any:
        """Call a coroutine hook. Raises ``PluginError``."""
        return await self._host.call(self._plugin, hook, timeout=timeout, **arguments)

    def iterate(self, hook: str, **arguments: Any) -> AsyncGenerator[Any, None]:
        """Iterate an async-generator hook. Raises ``PluginError``."""
        return self._host.iterate(self._plugin, hook, stall_timeout=STALL_S, **arguments)


async def serve_package(name: str, path: Path) -> None:
    """Serve until told to stop. Raises ``NotFound`` or ``PluginError`` for a package that cannot be served."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    loop, stop = asyncio.get_running_loop(), stop_on_signals()

    def gone() -> None:
        with suppress(RuntimeError):  # the loop is closed: we are ending already
            loop.call_soon_threadsafe(stop.set)

    tie = Tie(gone)  # first of all: also the import of a package may not return
    try:
        with own_output() as output:
            host, plugin = load_alone(name)
            # What was loaded stays for good: let no later look for garbage go through it again. How often to look is
            # left as it is, for a few cycles may hold much memory, and the host cannot know what a package makes.
            gc.collect()
            gc.freeze()

            def ready() -> None:
                output.write(json.dumps({"listening": os.fspath(path)}).encode() + b"\n")
                output.flush()

            await serve(path, ServedPackage(host, plugin), ready, stop)
    finally:
        tie.end_others()
