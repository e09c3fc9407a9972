"""Lines on their way to a non-blocking socket: each arrives whole and in order, however full the socket is."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final

_log = logging.getLogger(__name__)
_LIMIT: Final = 1 << 20
"""Bytes that wait at most: with more the other side does not read any more."""


class Outbox:
    """What one connection has yet to send. For the event loop's thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._waiting = bytearray()
        self._watched = False
        self._ended = False

    def put(self, line: bytes) -> None:
        """Send a line with its end, now or once there is room. A connection that takes nothing is shut down: whoever
        reads from it finds out."""
        if self._ended:
            return
        self._waiting += line
        if len(self._waiting) > _LIMIT:
            self._give_up("it does not read")
        elif not self._watched:
            self._send()

    def close(self) -> None:
        """Forget what was not sent. Call it before the connection is closed."""
        self._waiting.clear()
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_writer(self._connection)

    def _send(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: self._connection.send(self._waiting)]
        except BlockingIOError:
            if not self._watched:
                self._watched = True
                asyncio.get_running_loop().add_writer(self._connection, self._send)
        except OSError as error:
            self._give_up(str(error))
        else:
            self.close()

    def _give_up(self, reason: str) -> None:
        self._ended = True
        _log.warning("The agent does not take requests: %s", reason)
        self.close()
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is not connected any more
            return
