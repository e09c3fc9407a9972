"""The agents that are connected now, and what can be asked of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from mosaicfs_core.errors import Conflict, MosaicError, NotAllowed, Unavailable
from mosaicfs_core.link import Peer, converse
from mosaicfs_core.security.presence import TWICE, UNTOLD, Process
from mosaicfs_core.supervision import end_tasks

logger = logging.getLogger(__name__)

IDLE_S: Final = 60.0
"""An agent asks something every 20 s; one that is silent for so long is gone."""
MAX_LINKS: Final = 1000
ALIVE_S: Final = 5.0
"""How long a process may take to show that it is there, when another one comes with the same node's key."""
WHAT_TO_DO: Final = (
    "Stop one of them. If this one is to stay, run mosaicfs agent init URL here once the other is stopped; for a copy"
    " to be a machine of its own, start it with an empty home and a key of its own"
)

NodeMethod: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""What an agent may ask of the control plane: takes its node id, which its signature proved, and the params."""


class Links:
    """One link for each node: a newer one takes the place of an older one, which a machine that slept has forgotten.
    Not so where the older one's process is another and still answers: a home was copied, and two machines are one node.
    Who holds the link is the node then, in what it replicates too; but a home that lies where it was enrolled goes
    before one that does not.

    ``methods`` may be added to as long as no link is there. ``arrived`` are called with the node's id when it has
    connected. ``why_refused`` says why a node may not be linked, or nothing.
    """

    def __init__(self, why_refused: Callable[[str], str], *, idle_s: float = IDLE_S) -> None:
        self._why_refused = why_refused
        self.methods: dict[str, NodeMethod] = {}
        self.arrived: list[Callable[[str], Awaitable[None]]] = []
        self._idle_s = idle_s
        self._peers: dict[str, Peer] = {}
        self._processes: dict[Peer, tuple[Process, str]] = {}
        self._doubles: dict[str, str] = {}
        self._closed = False

    def connected(self, node_id: str) -> bool:
        """Whether the node can be asked now."""
        return node_id in self._peers

    def double_of(self, node_id: str) -> str | None:
        """The address of another machine that was refused as it runs with a copy of the connected node's home."""
        return self._doubles.get(node_id) if node_id in self._peers else None

    @property
    def nodes(self) -> Mapping[str, Peer]:
        """The connected nodes."""
        return self._peers

    async def call(self, node_id: str, method: str, params: Mapping[str, Any], timeout: float = 30.0) -> Any:
        """Ask a node. Raises its ``MosaicError``, or ``Unavailable`` when it is not connected or does not answer."""
        peer = self._peers.get(node_id)
        if peer is None:
            raise Unavailable(f"{node_id} is not connected", retry_after=30, node_id=node_id)
        return await peer.call(method, params, timeout)

    async def serve(
        self,
        node_id: str,
        send: Callable[[str], Awaitable[None]],
        receive: Callable[[], Awaitable[str | bytes | None]],
        *,
        process: Process = UNTOLD,
        address: str = "",
    ) -> str:
        """Be the control plane's end of a link until it ends; why it ended. ``process`` tells the node's processes
        apart, ``address`` is where this one is.

        Raises ``Unavailable`` when there are too many, ``NotAllowed`` for a node that was disabled since it proved
        itself, and ``Conflict`` when another process of it is there.
        """
        if await self._is_double(node_id, process, address):
            raise Conflict(TWICE, node_id=node_id)
        if self._closed or (node_id not in self._peers and len(self._peers) >= MAX_LINKS):
            raise Unavailable("no more agents can be connected", retry_after=30)
        # Nothing is awaited from here until the link stands where whoever cuts off disabled nodes finds it.
        if reason := self._why_refused(node_id):
            raise NotAllowed(reason)
        methods = {name: partial(method, node_id) for name, method in self.methods.items()}
        peer = Peer(send, methods, node_id)
        former = self._peers.get(node_id)
        self._peers[node_id] = peer
        self._processes[peer] = (process, address)
        if former is not None:
            await former.close("the node has connected anew")
        logger.info("%s connected", node_id, extra={"operation": "link"})
        welcome = asyncio.create_task(self._welcome(node_id), name=f"welcome {node_id}")
        try:
            reason = await converse(peer, receive, self._idle_s)
        finally:
            del self._processes[peer]
            if self._peers.get(node_id) is peer:
                del self._peers[node_id]
                self._doubles.pop(node_id, None)
            await end_tasks(welcome)
        logger.info("%s disconnected: %s", node_id, reason, extra={"operation": "link"})
        return reason

    async def refuse_double(self, node_id: str, process: Process, address: str) -> None:
        """Raise ``Conflict``, which says what to do, when the node is another process than the one that asks."""
        if await self._is_double(node_id, process, address):
            present = self._peers.get(node_id)
            there = "" if present is None else self._processes[present][1]
            raise Conflict(f"{TWICE}{f'; it is at {there}' if there else ''}. {WHAT_TO_DO}", node_id=node_id)

    async def _is_double(self, node_id: str, process: Process, address: str) -> bool:
        present = self._peers.get(node_id)
        if present is None:
            return False
        known, _ = self._processes[present]
        if not process.name or known.name in ("", process.name) or (known.moved and not process.moved):
            return False
        if not await _answers(present):
            return False
        if self._doubles.get(node_id) != address:
            self._doubles[node_id] = address
            logger.warning(
                "two machines run as %s: one is connected, another at %s has a copy of its home and is refused",
                node_id,
                address,
                extra={"operation": "link"},
            )
        return True

    async def _welcome(self, node_id: str) -> None:
        for arrived in self.arrived:
            try:
                await arrived(node_id)
            except Exception:  # what one cannot do must not keep the others from their work, nor end the link
                logger.exception("what follows a connection failed", extra={"operation": "link"})

    async def close(self) -> None:
        """End all links; nobody is connected any more."""
        self._closed = True
        for peer in list(self._peers.values()):
            await peer.close("the control plane is stopping")


async def _answers(peer: Peer) -> bool:
    """Whether the other end is still there."""
    try:
        await peer.call("ping", {}, ALIVE_S)
    except Unavailable:
        return False
    except MosaicError:  # that it knows no such method is an answer as well
        return True
    return True
