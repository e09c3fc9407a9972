"""Connections that end while the other side still sends: no error of ours, and nothing that a person must know.

Hypercorn waits for the end of TLS and lets through what comes of it when data arrives after the last word, or the other
side is gone. asyncio would report each with a traceback.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

logger = logging.getLogger(__name__)

_OF_A_CONNECTION: Final = "Unhandled exception in client_connected_cb"


def quiet_ends(loop: asyncio.AbstractEventLoop) -> None:
    """From now on the loop reports connections that broke at their end to the log alone, and in one line."""
    former = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if context.get("message") == _OF_A_CONNECTION and isinstance(error, OSError):
            logger.debug("a connection ended untidily: %s", error, extra={"operation": "serve"})
        elif former is not None:
            former(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
