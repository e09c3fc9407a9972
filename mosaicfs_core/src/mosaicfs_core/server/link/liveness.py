"""Which nodes are there: by their links and heartbeats, kept in memory; documents change only when the answer does.

A node is heard of at one control plane, which notes that in the node's document (``heard_by``). Of several that share a
hub only that one judges the node: the others hear nothing of it in any case. A node that nobody has noted, or whose
control plane is no more (its own node is disabled or gone) or has been silent on the hub for minutes, is judged by the
one that holds the lease, and so is a silent control plane itself. Whoever comes back says so himself. Without a hub
there is one control plane, which judges all, whoever heard of them before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from mosaicfs_core.documents.standing import enabled_node
from mosaicfs_core.server.identity import CONTROL_ROLE
from mosaicfs_core.store import Reader, Store

logger = logging.getLogger(__name__)

CHECK_S: Final = 30.0
MISSES: Final = 3
"""Checks in a row at which nothing had been heard since the one before: then a node is offline."""
MAX_NODES: Final = 10_000


class Liveness:
    """Judges the nodes that are this control plane's to judge. ``plane`` is its node id, ``alone`` tells whether there
    is no other, ``leads`` whether it holds the lease, and ``silent`` whether another control plane has left the hub
    without a word. Never judged are disabled ones, and ``here``, the one of this very process. One whose access key was
    disabled is away, whatever is heard of it.

    Checks are counted, not seconds: a control plane that slept itself judges nobody by the hours it missed. ``pause``
    waits between them and ``clock`` is seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        connected: Callable[[str], bool],
        here: str | None = None,
        *,
        plane: str,
        alone: Callable[[], bool],
        leads: Callable[[], bool],
        silent: Callable[[str], bool],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._connected = connected
        self._here = here
        self._plane = plane
        self._alone = alone
        self._leads = leads
        self._silent = silent
        self._pause = pause
        self._clock = clock
        self._heard: set[str] = set()
        self._misses: Counter[str] = Counter()
        self._last: dict[str, float] = {}

    def last_heard(self, node_id: str) -> float | None:
        """When the node was last heard of in this process's life, seconds since 1970."""
        return self._clock() if self._connected(node_id) else self._last.get(node_id)

    async def heard(self, node_id: str) -> None:
        """The node has shown that it is there: it is online from now on, and this control plane's to judge."""
        self._heard.add(node_id)
        self._last[node_id] = self._clock()
        document = enabled_node(self._store.reader.get, node_id)
        if document is not None:
            await self._is_there(document)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self._pause(CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Look who has been heard of since the last check."""
        heard, self._heard = self._heard, set()
        nodes = await self._store.read(_nodes)
        of_planes = [node for node, enabled in nodes if enabled and node.get("role") == CONTROL_ROLE]
        planes = {node["node_id"] for node in of_planes if not self._silent(node["node_id"])}
        for node in of_planes:
            await self._check_plane(node, planes)
        for node, enabled in nodes:
            node_id, status = node["node_id"], node.get("status", "offline")
            if node.get("role") == CONTROL_ROLE or status == "disabled":
                continue
            if enabled and (self._connected(node_id) or node_id == self._here):
                self._misses.pop(node_id, None)
                await self._is_there(node)
            elif enabled and node_id in heard:
                self._misses.pop(node_id, None)  # what there is to note was noted then: it may have moved on since
            elif status != "offline" and self._judges(node, planes):
                self._misses[node_id] += 1
                if self._misses[node_id] >= MISSES:
                    self._misses.pop(node_id)
                    await self._write(node, {"status": "offline"})
            else:
                self._misses.pop(node_id, None)

    async def _check_plane(self, node: Mapping[str, Any], planes: Collection[str]) -> None:
        """Say of another control plane that it is away, and of this one that it is there."""
        node_id, status = node["node_id"], node.get("status", "offline")
        if node_id == self._plane and status == "offline":
            await self._write(node, {"status": "online"})
        elif node_id not in planes and status != "offline" and self._leads():
            await self._write(node, {"status": "offline"})

    def _judges(self, node: Mapping[str, Any], planes: Collection[str]) -> bool:
        """Whether it is for this control plane to say that a node is away. ``planes`` are the control planes that are
        there."""
        heard_by: str | None = node.get("heard_by")
        return heard_by == self._plane or self._alone() or (heard_by not in planes and self._leads())

    async def _is_there(self, node: Mapping[str, Any]) -> None:
        """Note of a node that was heard of what its document does not say yet; where, only if others need to know."""
        status, noted = node.get("status", "offline"), node.get("heard_by") == self._plane or self._alone()
        if status == "offline" or not noted:
            await self._write(node, {"status": "online" if status == "offline" else status, "heard_by": self._plane})

    async def _write(self, node: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        before = node.get("status", "offline")

        def apply(document: dict[str, Any] | None) -> dict[str, Any] | None:
            if document is None or document.get("status", "offline") != before:
                return None  # somebody disabled it meanwhile
            return {**document, **facts, "control_version": document.get("control_version", 0) + 1}

        await self._store.update(node["_id"], apply)
        if facts["status"] != before:
            logger.info("%s is %s", node["node_id"], facts["status"], extra={"operation": "liveness"})


def _nodes(reader: Reader) -> list[tuple[dict[str, Any], bool]]:
    """Every node, and whether it may speak."""
    found = reader.documents_of("node", limit=MAX_NODES)
    return [(node, enabled_node(reader.get, node["node_id"]) is not None) for node in found]
