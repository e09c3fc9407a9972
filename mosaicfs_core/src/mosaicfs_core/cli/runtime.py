"""The pieces of a running MosaicFS (store, plugin host, content, agent, API), put together as three programs over one
home each: all in one, the control plane alone, an agent alone. Started and ended in order."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from quart import Quart

from mosaicfs_core import logs
from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.link import Connect, Uplink
from mosaicfs_core.agent.node import write_node
from mosaicfs_core.cli.registration import add_watch_paths, register_control_plane, watched_roots
from mosaicfs_core.config import Config
from mosaicfs_core.content import Content, LocalTier
from mosaicfs_core.documents import paths as written
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.node_settings import NodeSettings
from mosaicfs_core.security.requests import Requests
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.identity import identity_of
from mosaicfs_core.server.serve import serving
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.store import Store
from mosaicfs_core.supervision import supervised


@dataclass(frozen=True)
class Runtime:
    """What runs. ``url`` is the API's address."""

    core: CoreServices
    app: Quart
    url: str

    async def login_link(self) -> str:
        """A new one-time login link."""
        server: ServerState = self.app.extensions[EXTENSION]
        return f"{self.url}/#bootstrap={await server.sessions.new_link()}"

    async def roots(self) -> tuple[str, ...]:
        """The watched folders, as export paths."""
        return await watched_roots(self.core)


@dataclass(frozen=True)
class AgentRuntime(Runtime):
    """What runs with an agent; ``uplink`` is its way to a control plane in another process."""

    agent: Agent
    uplink: Uplink | None = None


@dataclass(frozen=True)
class ControlPlane:
    """An agent's control plane: its address, the node ids of this machine and of it, and the ways there, signed as this
    node."""

    url: str
    node_id: str
    control_plane_id: str
    requests: Requests
    connect: Connect


@asynccontextmanager
async def running(
    home: Home, config: Config, listener: socket.socket, *, paths: Sequence[str] = (), safe_mode: bool = False
) -> AsyncIterator[AgentRuntime]:
    """Control plane and agent in one process around a block. The caller holds the home's lock and has bound
    ``listener``.

    ``paths`` are export paths to watch from now on, checked by the caller.
    """
    async with AsyncExitStack() as stack:
        store = await _open(stack, home)
        core = await _services(home, config, store, home.node_id(config.agent.name or None), safe_mode=safe_mode)
        await add_watch_paths(core, paths)
        await write_node(core)
        await register_control_plane(core, await identity_of(core))
        agent = _agent(core)
        app = await stack.enter_async_context(running_app(core))
        url = await stack.enter_async_context(serving(app, listener, home))
        await stack.enter_async_context(agent)
        yield AgentRuntime(core, app, url, agent)


@asynccontextmanager
async def running_server(
    home: Home, config: Config, listener: socket.socket, *, safe_mode: bool = False
) -> AsyncIterator[Runtime]:
    """The control plane alone around a block. It knows of files and holds none."""
    async with AsyncExitStack() as stack:
        store = await _open(stack, home)
        nameless = await _services(home, config, store, "", safe_mode=safe_mode)
        identity = await identity_of(nameless)
        core = dataclasses.replace(nameless, node_id=identity.node_id)
        core.settings.apply.append(_apply_log_level)
        await register_control_plane(core, identity)
        settings = asyncio.create_task(supervised("settings", core.settings.run, core.failing), name="settings")
        stack.push_async_callback(_end, settings)
        app = await stack.enter_async_context(running_app(core))
        url = await stack.enter_async_context(serving(app, listener, home))
        yield Runtime(core, app, url)


@asynccontextmanager
async def running_agent(
    home: Home,
    config: Config,
    listener: socket.socket,
    control_plane: ControlPlane,
    *,
    paths: Sequence[str] = (),
    safe_mode: bool = False,
) -> AsyncIterator[AgentRuntime]:
    """An agent alone around a block, with its own API on ``listener``. Everything local works while the control plane
    cannot be reached.

    ``paths`` are export paths to watch from now on; the control plane, whose they are to write down, is asked to.
    """
    async with AsyncExitStack() as stack:
        store = await _open(stack, home)
        core = await _services(home, config, store, control_plane.node_id, safe_mode=safe_mode)
        core.control, core.control_url = False, control_plane.url
        agent = _agent(core)
        app = await stack.enter_async_context(running_app(core))
        url = await stack.enter_async_context(serving(app, listener, home))
        await stack.enter_async_context(agent)
        native = [os.fsdecode(written.unescape(path)) for path in paths]
        uplink = Uplink(core, agent, control_plane.requests, control_plane.connect, paths=native)
        await stack.enter_async_context(uplink)
        yield AgentRuntime(core, app, url, agent, uplink)


async def _open(stack: AsyncExitStack, home: Home) -> Store:
    store = await Store.open(home.replica)
    stack.push_async_callback(store.close)
    return store


async def _services(home: Home, config: Config, store: Store, node_id: str, *, safe_mode: bool) -> CoreServices:
    host = await asyncio.to_thread(PluginHost.discover, config.agent.disabled_plugins, safe_mode)
    return CoreServices(home, config, store, Content([]), host, node_id)


def _agent(core: CoreServices) -> Agent:
    core.settings.apply.append(_apply_log_level)
    agent = Agent(core)
    core.agent = agent
    core.content = Content([LocalTier(core.node_id, agent.roots, agent.reindex, core.bridge_files)])
    return agent


def _apply_log_level(settings: NodeSettings) -> None:
    logs.set_level(settings.log_level)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
