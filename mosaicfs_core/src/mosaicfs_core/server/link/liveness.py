"""Which nodes are there: by their links and heartbeats, kept in memory; documents change only when the answer does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
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

    ``own`` is this control plane. Where several share a hub, a node is heard of by the one that it is connected to, and
    that one's word holds: the others, who hear nothing, say nothing. A node whose control plane was disabled itself is
    everybody's to judge.

    Checks are counted, not seconds: a control plane that slept itself judges nobody by the hours it missed. ``pause``
    waits between them and ``clock`` is seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        connected: Callable[[str], bool],
        own: str,
        here: str | None = None,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._connected = connected
        self._own = own
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
        if document is not None:
            await self._present(document)

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
            if node.get("role") == CONTROL_ROLE or status == "disabled":
                continue
            if node_id == self._here:
                await self._present(node)
                continue
            if enabled and (self._connected(node_id) or node_id in heard):
                self._misses.pop(node_id, None)
                await self._present(node)
            elif status != "offline" and self._judges(node):
                self._misses[node_id] += 1
                if self._misses[node_id] >= MISSES:
                    self._misses.pop(node_id)
                    await self._write(node_id, status, "offline")

    async def _present(self, node: Mapping[str, Any]) -> None:
        """Write that the node is there, and that it is here that it is heard of; nothing where that is written."""
        status = node.get("status", "offline")
        if status == "offline" or node.get("heard_by") != self._own:
            await self._write(node["node_id"], status, "online" if status == "offline" else status)

    async def _write(self, node_id: str, before: str, now: str) -> None:
        def apply(document: dict[str, Any] | None) -> dict[str, Any] | None:
            if document is None or document.get("status", "offline") != before:
                return None  # somebody disabled it meanwhile
            count = document.get("control_version", 0) + 1
            return {**document, "status": now, "heard_by": self._own, "control_version": count}

        await self._store.update(ids.node_document_id(node_id), apply)
        if now != before:
            logger.info("%s is %s", node_id, now, extra={"operation": "liveness"})

    def _judges(self, node: Mapping[str, Any]) -> bool:
        """Whether it is this control plane that would hear of the node."""
        by = node.get("heard_by")
        return by in (None, self._own) or enabled_node(self._store.reader.get, by) is None


def _nodes(reader: Reader) -> list[tuple[dict[str, Any], bool]]:
    """Every node, and whether it may speak."""
    found = reader.documents_of("node", limit=MAX_NODES)
    return [(node, enabled_node(reader.get, node["node_id"]) is not None) for node in found]
