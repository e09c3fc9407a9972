"""The pieces of a running MosaicFS (store, plugin host, content, agent, API), put together as three programs over one
home each: all in one, the control plane alone, an agent alone. Started and ended in order."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quart import Quart

from mosaicfs_core import logs
from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.link import Connect, Uplink
from mosaicfs_core.agent.link.wanted import WantedFolders
from mosaicfs_core.agent.node import write_node
from mosaicfs_core.agent.peers import PeerRoutes, public_key_of
from mosaicfs_core.agent.replication import Replication
from mosaicfs_core.backoff import Backoff
from mosaicfs_core.cli.agent_listener import ListenerOfAgent
from mosaicfs_core.cli.endpoints import endpoints
from mosaicfs_core.cli.registration import add_watch_paths, register_control_plane, watched_roots
from mosaicfs_core.config import Config
from mosaicfs_core.content import Content, Route, node_content
from mosaicfs_core.documents import paths as written
from mosaicfs_core.documents.ids import CONTROL_PLANE
from mosaicfs_core.errors import MosaicError, Unavailable
from mosaicfs_core.home import Home
from mosaicfs_core.plugins import environments
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.node_settings import NodeSettings
from mosaicfs_core.plugins.secrets import seal_plain
from mosaicfs_core.replication import ConflictResolver
from mosaicfs_core.security.addresses import is_loopback
from mosaicfs_core.security.enrolment import Enrolment
from mosaicfs_core.security.node_keys import NodeKey, NodeSigner
from mosaicfs_core.security.requests import Requests, SignedRequests
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.hub import running_hub
from mosaicfs_core.server.identity import identity_of
from mosaicfs_core.server.link.relayed import RelayTier
from mosaicfs_core.server.serve import serving, url_of
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.server.tls import wanted
from mosaicfs_core.store import Store
from mosaicfs_core.supervision import end_tasks, supervised

logger = logging.getLogger(__name__)

FIRST_CONTACT: Final = "waiting for the control plane, which must be reached once before anything is indexed"


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
    """An agent's control plane: what the machine knows of it, and the ways there, signed as this node."""

    enrolment: Enrolment
    requests: Requests
    connect: Connect

    @property
    def url(self) -> str:
        """Its address."""
        return self.enrolment.urls[0]

    @property
    def node_id(self) -> str:
        """This machine's node id."""
        return self.enrolment.node_id


@asynccontextmanager
async def running(
    home: Home,
    config: Config,
    listener: socket.socket,
    *,
    paths: Sequence[str] = (),
    named: bool = True,
    mount: Path | None = None,
    safe_mode: bool = False,
) -> AsyncIterator[AgentRuntime]:
    """Control plane and agent in one process around a block. The caller holds the home's lock and has bound
    ``listener``.

    ``paths`` are export paths to watch from now on, checked by the caller; when somebody ``named`` them it is an error
    that nothing here indexes folders. ``mount`` is where the tree will be mounted (``mount_table.mount_point``): no
    crawl enters it, the first included.
    """
    async with AsyncExitStack() as stack:
        store = await _open(stack, home)
        core = await _services(home, config, store, home.node_id(config.agent.name or None), safe_mode=safe_mode)
        await _reserve(core, mount)
        await add_watch_paths(core, paths, named=named)
        identity = await identity_of(core)
        host, port = listener.getsockname()[:2]
        tls = wanted(config.server, str(host))
        reached = endpoints(config.agent.endpoints, str(host), port) if tls and not is_loopback(str(host)) else ()
        await write_node(core, endpoints=reached)
        await register_control_plane(core, identity)
        await seal_plain(core, identity.key)
        signer = NodeSigner(core.node_id, identity.key, public_key_of(store))

        def authority() -> str:
            return identity.authority.pem

        # What others cannot be asked for directly is asked of our own API, which has their links.
        own = SignedRequests(url_of(listener, tls=tls), identity.node_id, signer, authority() if tls else None)
        stack.push_async_callback(own.close)
        relay = Route("relay", own, relay=True)
        agent = await _agent(stack, core, PeerRoutes(store, signer, authority, lambda _node_id: relay))
        await stack.enter_async_context(running_hub(core))
        app = await stack.enter_async_context(running_app(core))
        url = await stack.enter_async_context(serving(app, listener, home))
        await _settle_conflicts(stack, core, identity.node_id)
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
        await seal_plain(core, identity.key)
        await _beside(stack, core, "settings", core.settings.run)
        await stack.enter_async_context(running_hub(core))
        app = await stack.enter_async_context(running_app(core))
        server: ServerState = app.extensions[EXTENSION]
        core.content = Content([RelayTier(server.relay, core.node_id)])
        url = await stack.enter_async_context(serving(app, listener, home))
        await _settle_conflicts(stack, core, identity.node_id)
        yield Runtime(core, app, url)


@asynccontextmanager
async def running_agent(
    home: Home,
    config: Config,
    listener: socket.socket,
    control_plane: ControlPlane,
    stop: asyncio.Event,
    *,
    paths: Sequence[str] = (),
    mount: Path | None = None,
    safe_mode: bool = False,
) -> AsyncIterator[AgentRuntime]:
    """An agent alone around a block, with its own API on ``listener``. Everything local works while the control plane
    cannot be reached; only a replica that has never met it waits for that, until ``stop`` is set (``Unavailable``).

    ``paths`` are export paths to watch from now on; the control plane, whose they are to write down, is asked to, by
    the next agent of this home where this one has ended before it could.
    ``mount`` is where the tree will be mounted.
    """
    async with AsyncExitStack() as stack:
        stack.push_async_callback(control_plane.requests.close)
        store = await _open(stack, home)
        core = await _services(home, config, store, control_plane.node_id, safe_mode=safe_mode)
        core.control, core.control_url = False, control_plane.url
        await _reserve(core, mount)
        await WantedFolders(store).add([os.fsdecode(written.unescape(path)) for path in paths])
        replication = Replication(store, core.node_id, control_plane.requests)
        await _until_met(home, replication, control_plane.url, stop)
        signer = NodeSigner(core.node_id, NodeKey.of_home(home), public_key_of(store))
        relay = Route("relay", control_plane.requests, relay=True)
        known = control_plane.enrolment
        agent = await _agent(stack, core, PeerRoutes(store, signer, lambda: known.ca_pem, lambda _node_id: relay))
        app = await stack.enter_async_context(running_app(core))
        url = await stack.enter_async_context(serving(app, listener, home))
        listening = ListenerOfAgent(home, known, control_plane.requests, config.agent)
        await stack.enter_async_context(listening.serving(app))
        await _beside(stack, core, "renewal of the certificate", listening.keep_fresh)
        await stack.enter_async_context(agent)
        agent.subsystems["replication"] = replication.subsystem
        await _beside(stack, core, "replication", replication.run)
        uplink = Uplink(
            core,
            agent,
            control_plane.requests,
            control_plane.connect,
            endpoints=listening.endpoints,
            reconnected=replication.reconnected,
        )
        await stack.enter_async_context(uplink)
        yield AgentRuntime(core, app, url, agent, uplink)


async def _open(stack: AsyncExitStack, home: Home) -> Store:
    store = await Store.open(home.replica)
    stack.push_async_callback(store.close)
    return store


async def _services(home: Home, config: Config, store: Store, node_id: str, *, safe_mode: bool) -> CoreServices:
    host = await asyncio.to_thread(environments.host_of, home, config.agent.disabled_plugins, safe_mode)
    return CoreServices(home, config, store, Content([]), host, node_id)


async def _reserve(core: CoreServices, mount: Path | None) -> None:
    if mount is not None:
        await asyncio.to_thread(core.own.reserve, mount)


async def _agent(stack: AsyncExitStack, core: CoreServices, routes: PeerRoutes) -> Agent:
    """The agent, not started yet, and the content that it and everybody else here opens files by."""
    core.settings.apply.append(_apply_log_level)
    agent = Agent(core)
    core.agent = agent
    stack.push_async_callback(routes.close)
    made = await stack.enter_async_context(
        node_content(
            core.home,
            core.store,
            core.node_id,
            core.config.cache,
            roots=agent.roots,
            on_change=agent.reindex,
            routes=routes,
            failing=core.failing,
        )
    )
    core.content = made.content

    def resize(settings: NodeSettings) -> None:
        room = made.cache.room
        room.capacity, room.minimum_free = settings.cache_max_bytes, settings.cache_min_free_bytes

    core.settings.apply.append(resize)
    return agent


async def _beside(stack: AsyncExitStack, core: CoreServices, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` until the stack ends, again when it fails."""
    task = asyncio.create_task(supervised(name, work, core.failing), name=name)

    async def end() -> None:
        await end_tasks(task)

    stack.push_async_callback(end)


async def _settle_conflicts(stack: AsyncExitStack, core: CoreServices, control_id: str) -> None:
    """Make one document of those that two machines wrote at once, where they are the control plane's."""
    resolver = ConflictResolver.for_writer(core.store, CONTROL_PLANE, control_id, core.node_id)
    await _beside(stack, core, "conflicts", resolver.run)


async def _until_met(home: Home, replication: Replication, url: str, stop: asyncio.Event) -> None:
    """Wait until a replica that has never met its control plane has: files that are known there must not get other
    ids here. The home has the reason meanwhile. Raises ``Unavailable`` when it is stopped before."""
    backoff = Backoff()
    ended = asyncio.ensure_future(stop.wait())
    try:
        while not await replication.has_met():
            meeting = asyncio.ensure_future(replication.meet())
            await asyncio.wait({meeting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                await end_tasks(meeting)
                raise Unavailable(f"stopped before {url} could be reached for the first time")
            try:
                await meeting
            except MosaicError as error:
                why = f"{FIRST_CONTACT}: {error}"
                logger.warning("%s", why, extra={"operation": "replication"})
                home.tell_starting(why)
                await asyncio.wait({ended}, timeout=backoff.next())
    finally:
        ended.cancel()
        home.starting_file.unlink(missing_ok=True)


def _apply_log_level(settings: NodeSettings) -> None:
    logs.set_level(settings.log_level)
