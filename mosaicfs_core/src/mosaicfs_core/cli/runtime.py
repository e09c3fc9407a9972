"""All in one process: store, plugin host, content, agent and API over one home, started and ended in order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from quart import Quart

from mosaicfs_core.agent import Agent
from mosaicfs_core.cli.registration import add_watch_paths, register_nodes, watched_roots
from mosaicfs_core.config import Config
from mosaicfs_core.content import Content, LocalTier
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.hub import running_hub
from mosaicfs_core.server.serve import serving
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.store import Store


@dataclass(frozen=True)
class Runtime:
    """What runs. ``url`` is the API's address."""

    core: CoreServices
    agent: Agent
    app: Quart
    url: str

    async def login_link(self) -> str:
        """A new one-time login link."""
        server: ServerState = self.app.extensions[EXTENSION]
        return f"{self.url}/#bootstrap={await server.sessions.new_link()}"

    async def roots(self) -> tuple[str, ...]:
        """The watched folders, as export paths."""
        return await watched_roots(self.core)


@asynccontextmanager
async def running(
    home: Home, config: Config, listener: socket.socket, *, paths: Sequence[str] = (), safe_mode: bool = False
) -> AsyncIterator[Runtime]:
    """Run everything around a block. The caller holds the home's lock and has bound ``listener``.

    ``paths`` are export paths to watch from now on, checked by the caller.
    """
    async with AsyncExitStack() as stack:
        store = await Store.open(home.replica)
        stack.push_async_callback(store.close)
        host = await asyncio.to_thread(PluginHost.discover, config.agent.disabled_plugins, safe_mode)
        node_id = home.node_id(config.agent.name or None)
        core = CoreServices(home, config, store, Content([]), host, node_id)
        await add_watch_paths(core, paths)
        await register_nodes(core, await watched_roots(core))
        agent = Agent(core)
        core.agent = agent
        core.content = Content([LocalTier(node_id, agent.roots, agent.reindex, core.bridge_files)])
        await stack.enter_async_context(running_hub(core))
        app = await stack.enter_async_context(running_app(core))
        url = await stack.enter_async_context(serving(app, listener, home))
        await stack.enter_async_context(agent)
        yield Runtime(core, agent, app, url)
