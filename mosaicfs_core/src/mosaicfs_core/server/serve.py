"""Serving the application: a socket that is surely ours, Hypercorn in the running loop, and a clean end."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Sockets
from hypercorn.utils import wrap_app
from quart import Quart

from mosaicfs_core.config import ServerConfig
from mosaicfs_core.errors import ConfigError, Unavailable
from mosaicfs_core.home import Home, write_private
from mosaicfs_core.link import MESSAGE_LIMIT
from mosaicfs_core.security.addresses import is_loopback, machine_addresses
from mosaicfs_core.security.listening import ListenerConfig
from mosaicfs_core.server.ended import quiet_ends
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.server.tls import Tls, is_wildcard, wanted
from mosaicfs_core.supervision import supervised

logger = logging.getLogger(__name__)

# Short requests end by themselves; a download that still goes on is cut off before the server would drop it noisily.
PATIENCE_SECONDS: Final = 2.0
GRACEFUL_SECONDS: Final = 4.0
BACKLOG: Final = 200
_HOW_TO_CHANGE: Final = "set another with --port, MOSAICFS_SERVER_PORT or [server] port in mosaicfs.toml (0 takes any)"


def bind(config: ServerConfig, where: str = "server.host") -> socket.socket:
    """The listening socket, bound before anything else starts so that a taken port is known at once.

    Raises ``Unavailable`` for a taken port and ``ConfigError`` for an address that is not this machine's, or not
    loopback while TLS is off: without TLS the API is not served to the network. ``where`` says where the address was
    set.
    """
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(
            f"{where}: {config.host!r} is not an address of this machine; expected one of its addresses, 127.0.0.1 for"
            " this machine alone or 0.0.0.0 for all networks",
            key="server.host",
        ) from error
    family, _, _, _, address = found[0]
    if config.tls == "off" and not is_loopback(str(address[0])):
        raise ConfigError(
            f"{where}: {config.host} is not loopback, and server.tls is off; MosaicFS does not serve the network"
            " without TLS. Set server.tls to auto, or listen on 127.0.0.1",
            key="server.tls",
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # from now on callers wait in the queue instead of being refused
    except OSError as error:
        listener.close()
        raise _bind_error(config, error) from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, *, tls: bool = False, local: bool = True) -> str:
    """The address that reaches the listener: from this machine (``local``), or as others may reach it, where a listener
    on every address is named by the one that this machine sends from."""
    host, port = listener.getsockname()[:2]
    if is_wildcard(host):
        own = "::1" if listener.family == socket.AF_INET6 else "127.0.0.1"
        host = own if local else next(iter(machine_addresses()), own)
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


@asynccontextmanager
async def serving(app: Quart, listener: socket.socket, home: Home) -> AsyncIterator[str]:
    """Serve the app on the listener around a block, with TLS where it is needed; its value is the address as others
    reach it. The one for this machine is written for the command line to find, with the authority to trust. Requests
    under way get a few seconds to end. An agent serves its own machine alone, in clear: it has no authority."""
    stop = asyncio.Event()
    state: ServerState = app.extensions[EXTENSION]
    config = state.core.config.server
    quiet_ends(asyncio.get_running_loop())
    tls = None
    if state.identity.control_plane and wanted(config, str(listener.getsockname()[0])):
        tls = await asyncio.to_thread(Tls, home, config, state.identity.node_id, state.core.node_id)

    async def serve() -> None:
        # Each attempt closes the socket it was given.
        given = [listener.dup()]
        sockets = Sockets(given if tls else [], [] if tls else given, [])
        served = listener_config(tls.context if tls else None)
        await worker_serve(wrap_app(app, 0, "asgi"), served, sockets=sockets, shutdown_trigger=stop.wait)

    tasks = [asyncio.create_task(supervised("api server", serve, state.core.failing), name="api server")]
    if tls is not None:
        renewing = supervised("renewal of the certificate", tls.keep_fresh, state.core.failing)
        tasks.append(asyncio.create_task(renewing, name="certificate"))
    write_private(home.endpoint_file, json.dumps(_endpoint(listener, tls)).encode())
    try:
        yield url_of(listener, tls=tls is not None, local=False)
    finally:
        home.endpoint_file.unlink(missing_ok=True)
        stop.set()
        state.live.end()
        await state.links.close()
        for task in tasks[1:]:
            task.cancel()
        done, _ = await asyncio.wait(tasks[:1], timeout=PATIENCE_SECONDS)
        if not done:
            state.streams.end()
        await tasks[0]
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        listener.close()


def _endpoint(listener: socket.socket, tls: Tls | None) -> dict[str, str]:
    """Where the command line of this machine finds the API, the authority to trust, and the address for others."""
    endpoint = {"url": url_of(listener, tls=tls is not None)}
    if tls is not None:
        endpoint["ca"] = tls.authority.pem
    if not is_loopback(str(listener.getsockname()[0])):
        endpoint["others"] = url_of(listener, tls=tls is not None, local=False)
    return endpoint


def listener_config(context: ssl.SSLContext | None) -> ListenerConfig:
    """How every listener of ours is served."""
    config = ListenerConfig(context)
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.graceful_timeout = GRACEFUL_SECONDS
    config.keep_alive_timeout = 60
    config.keep_alive_max_requests = 1_000_000
    config.h11_max_incomplete_size = 64 * 1024
    config.backlog = BACKLOG
    config.websocket_max_message_size = MESSAGE_LIMIT
    return config


def _bind_error(config: ServerConfig, error: OSError) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return Unavailable(f"port {config.port} on {config.host} is taken by another program; {_HOW_TO_CHANGE}")
    if error.errno == errno.EACCES:
        return Unavailable(f"port {config.port} needs rights that this user has not; {_HOW_TO_CHANGE}")
    return ConfigError(f"cannot listen on {config.host} port {config.port}: {error.strerror}", key="server.host")
