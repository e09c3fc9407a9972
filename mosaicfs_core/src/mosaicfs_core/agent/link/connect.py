"""Opening the WebSocket to the control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mosaicfs_core.agent.link.client import PATH, Connect, Socket, WebSocket
from mosaicfs_core.link import MESSAGE_LIMIT
from mosaicfs_core.security.requests import PlainRequests


def connector(requests: PlainRequests, process: str = "") -> Connect:
    """How to open the link, with what proves who we are and the certificate checks of ``requests``. ``process`` is the
    same in every attempt of this process, and no other's."""
    path = f"{PATH}?process={process}" if process else PATH

    @asynccontextmanager
    async def connect() -> AsyncIterator[Socket]:
        async with requests.websocket(path, max_message=MESSAGE_LIMIT) as socket:
            yield WebSocket(socket)

    return connect
