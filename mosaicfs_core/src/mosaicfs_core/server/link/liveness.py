"""Which nodes are there: by their links and heartbeats, kept in memory; documents change only when the answer does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.standing import enabled_node
from mosaicfs_core.server.identity import CONTROL_ROLE
from mosaicfs_core.store import Reader, Store

logger = logging.getLogger(__name__)

CHECK_S: Final = 30.0
MISSES: Final = 3
"""Checks in a row at which nothing had been heard since the one before: then a node is offline."""
MAX_NODES: Final = 10_000


class Liveness:
    """Judges every node but control planes, disabled ones, and ``here``, the one of this very process. One whose access
    key was disabled is away, whatever is heard of it.

    Checks are counted, not seconds: a control plane that slept itself judges nobody by the hours it missed. ``pause``
    waits between them and ``clock`` is seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        connected: Callable[[str], bool],
        here: str | None = None,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._connected = connected
        self._here = here
        self._pause = pause
        self._clock = clock
        self._heard: set[str] = set()
        self._misses: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def last_heard(self, node_id: str) -> float | None:
        """When the node was last heard of in this process's life, seconds since 1970."""
        return self._clock() if self._connected(node_id) else self._last.get(node_id)

    async def heard(self, node_id: str) -> None:
        """The node has shown that it is there: it is online from now on."""
        self._heard.add(node_id)
        self._last[node_id] = self._clock()
        document = enabled_node(self._store.reader.get, node_id)
        if document is not None and document.get("status") == "offline":
            await self._write(node_id, "offline", "online")

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self._pause(CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Look who has been heard of since the last check."""
        heard, self._heard = self._heard, set()
        for node, enabled in await self._store.read(_nodes):
            node_id, status = node["node_id"], node.get("status", "offline")
            if node_id == self._here or node.get("role") == CONTROL_ROLE or status == "disabled":
                continue
            if enabled and (self._connected(node_id) or node_id in heard):
                self._misses.pop(node_id, None)
                if status == "offline":
                    await self._write(node_id, status, "online")
            elif status != "offline":
                self._misses[node_id] += 1
                if self._misses[node_id] >= MISSES:
                    self._misses.pop(node_id)
                    await self._write(node_id, status, "offline")

    async def _write(self, node_id: str, before: str, now: str) -> None:
        def apply(document: dict[str, Any] | None) -> dict[str, Any] | None:
            if document is None or document.get("status", "offline") != before:
                return None  # somebody disabled it meanwhile
            return {**document, "status": now, "control_version": document.get("control_version", 0) + 1}

        await self._store.update(ids.node_document_id(node_id), apply)
        logger.info("%s is %s", node_id, now, extra={"operation": "liveness"})


def _nodes(reader: Reader) -> list[tuple[dict[str, Any], bool]]:
    """Every node, and whether it may speak."""
    found = reader.documents_of("node", limit=MAX_NODES)
    return [(node, enabled_node(reader.get, node["node_id"]) is not None) for node in found]
