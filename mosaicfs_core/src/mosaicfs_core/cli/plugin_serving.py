"""A package served on a socket, as ``mosaicfs plugin serve`` does it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from mosaicfs_core.cli.foreground import stop_on_signals
from mosaicfs_core.cli.plugin_alone import load_alone, own_output
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
    with own_output() as output:
        host, plugin = load_alone(name)
        stop = stop_on_signals()
        _stop_at_the_end_of_input(stop)

        def ready() -> None:
            output.write(json.dumps({"listening": os.fspath(path)}).encode() + b"\n")
            output.flush()

        await serve(path, ServedPackage(host, plugin), ready, stop)


def _stop_at_the_end_of_input(stop: asyncio.Event) -> None:
    """Whoever started us holds the other end of our standard input: when that goes, so do we."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            stop.set()

    try:
        loop.add_reader(descriptor, readable)
    except PermissionError:
        # A file or /dev/null as standard input, which never ends in that sense: only a signal ends us then.
        logging.getLogger(__name__).debug("standard input cannot be watched")
