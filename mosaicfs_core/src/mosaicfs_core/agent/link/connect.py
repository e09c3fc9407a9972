"""Opening the WebSocket to the control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp

from mosaicfs_core.agent.link.client import PATH, Connect, Socket, WebSocket
from mosaicfs_core.link import MESSAGE_LIMIT


class Opens(Protocol):
    """What opens WebSockets: ``SignedRequests``, or ``Several`` of them."""

    def websocket(self, path: str, *, max_message: int) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """As ``PlainRequests.websocket``."""


def connector(requests: Opens) -> Connect:
    """How to open the link, with what proves who we are and the certificate checks of ``requests``."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Socket]:
        async with requests.websocket(PATH, max_message=MESSAGE_LIMIT) as socket:
            yield WebSocket(socket)

    return connect
