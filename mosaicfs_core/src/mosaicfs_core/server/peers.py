"""The listener for other machines: of an agent's API they get what is theirs, and nothing else is even there."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Sockets
from hypercorn.typing import ASGIFramework, Scope
from hypercorn.utils import wrap_app
from quart import Quart

from mosaicfs_core.server.serve import PATIENCE_SECONDS, listener_config
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.supervision import supervised

FOR_PEERS: Final = ("/api/agent/transfer/", "/api/agent/query")
EXACTLY: Final = frozenset({"/api/health"})
_NOT_FOUND: Final = b'{"error":{"code":"not_found","message":"there is nothing at this address"}}'


def is_for_peers(path: str) -> bool:
    """Whether other machines have business at an address."""
    return path in EXACTLY or path.startswith(FOR_PEERS)


def only_for_peers(app: Quart) -> ASGIFramework:
    """The application without everything that is for its own machine alone."""

    async def filtered(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _no_lifespan(receive, send)
        elif scope["type"] == "http" and is_for_peers(scope["path"]):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_NOT_FOUND)).encode())]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": _NOT_FOUND, "more_body": False})
        else:
            await send({"type": "websocket.close", "code": 1008})

    return filtered


async def _no_lifespan(receive: Any, send: Any) -> None:
    """The application's own listener starts and ends it; this one only lends it an ear."""
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


@asynccontextmanager
async def serving_peers(app: Quart, listener: socket.socket, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve other machines on ``listener`` around a block, with TLS; its value is the port. The application must be
    served for its own machine already."""
    stop = asyncio.Event()
    state: ServerState = app.extensions[EXTENSION]

    async def serve() -> None:
        sockets = Sockets([listener.dup()], [], [])
        served = wrap_app(only_for_peers(app), 0, "asgi")
        await worker_serve(served, listener_config(context), sockets=sockets, shutdown_trigger=stop.wait)

    server = asyncio.create_task(supervised("listener for peers", serve, state.core.failing), name="peers")
    try:
        yield int(listener.getsockname()[1])
    finally:
        stop.set()
        done, _ = await asyncio.wait({server}, timeout=PATIENCE_SECONDS)
        if not done:
            state.streams.end()
        await server
        listener.close()
