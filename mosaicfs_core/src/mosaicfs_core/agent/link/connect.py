"""Opening the WebSocket to the control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mosaicfs_core.agent.link.client import PATH, Connect, Socket, WebSocket
from mosaicfs_core.errors import NotSignedIn
from mosaicfs_core.link import MESSAGE_LIMIT
from mosaicfs_core.security.requests import PlainRequests


def connector(requests: PlainRequests) -> Connect:
    """How to open the link, with what proves who we are and the certificate checks of ``requests``."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Socket]:
        opening = requests.websocket(PATH, max_message=MESSAGE_LIMIT)
        try:
            socket = await opening.__aenter__()
        except NotSignedIn as error:  # a refused handshake tells no reason
            raise NotSignedIn(
                "the control plane does not take this machine's key: the node or its access key was disabled, or the"
                " clocks are more than 5 minutes apart"
            ) from error
        try:
            yield WebSocket(socket)
        finally:
            await opening.__aexit__(None, None, None)

    return connect
