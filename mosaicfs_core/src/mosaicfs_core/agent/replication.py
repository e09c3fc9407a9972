"""The agent's replica and the control plane's: what this node owns goes there, what it may know comes here, all the
time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from mosaicfs_core.agent.forgotten import Forgotten
from mosaicfs_core.agent.offering import Offered
from mosaicfs_core.agent.revocations import bring_back
from mosaicfs_core.backoff import Backoff
from mosaicfs_core.documents.ids import TYPE_PREFIXES
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.replication import (
    ConflictResolver,
    Filter,
    HttpPeer,
    Replicator,
    Status,
    StorePeer,
    combined,
    meet,
)
from mosaicfs_core.replication.flows import owned_by, selector_of_node
from mosaicfs_core.replication.recovery import MET, Meeting
from mosaicfs_core.security.requests import Requests
from mosaicfs_core.store import Store
from mosaicfs_core.supervision import end_tasks, first_of

logger = logging.getLogger(__name__)

GRACE_S: Final = 5.0
"""How long what was read may take to be written and recorded when replication ends."""
_OWN_TYPES: Final = ("file", "agent_status", "utilization_snapshot", "node", "label_assignment", "plugin", "annotation")


class Replication:
    """Replication of an agent's replica with its control plane, which ``requests`` leads to. ``run`` goes on until
    cancelled."""

    def __init__(
        self, store: Store, node_id: str, requests: Requests, *, pause: Callable[[float], Awaitable[None]] | None = None
    ) -> None:
        self._store = store
        self._requests = requests
        self._peer = HttpPeer(requests)
        self._pause = pause or asyncio.sleep
        self._offered = Offered(store, node_id, requests)
        self._forgotten = Forgotten(store.path.parent)
        self._owns = owned_by(node_id)
        self._push = Filter(f"owned by {node_id}", accepts=self._owns)
        self._pull = Filter(f"to {node_id}", selector=selector_of_node(node_id))
        self._owned = Filter(f"of {node_id}", selector=_selector_of_owned(node_id))
        self._resolver = ConflictResolver.for_writer(store, node_id)
        self._replicators: tuple[Replicator, ...] = ()
        self._problem: str | None = None
        self._again = asyncio.Event()

    async def has_met(self) -> bool:
        """Whether this replica has replicated with its control plane before: only then may it write on its own, since
        ids of a machine that lost its replica are known there."""
        return await self._store.local_get(MET) is not None

    async def meet(self) -> None:
        """Fetch what this node owns, on the first time, and make up for what either side has lost since, revocations
        first, then what was set for it. Raises ``Unavailable`` when the control plane cannot be reached."""
        await bring_back(self._store, self._requests)
        found = await meet(
            self._store,
            self._peer,
            owns=self._owns,
            push=self._push,
            pull=self._pull,
            owned=self._owned,
            offer=self._offer,
            keep=self._forgotten.keep,
        )
        if found == "restored":
            logger.warning("the control plane has forgotten some of what it knew", extra={"operation": "replication"})

    async def _offer(self, meeting: Meeting) -> None:
        self._forgotten.begin()
        await self._offered.offer(meeting)

    def reconnected(self) -> None:
        """The control plane is there again: see whether it is what it was, and go on at once."""
        self._again.set()

    @property
    def status(self) -> Status:
        """How both directions stand."""
        if self._problem is not None:  # they do not go on before it is gone
            return Status(state="waiting", last_error=self._problem)
        if not self._replicators:
            return Status(state="idle")
        return combined(one.status for one in self._replicators)

    def subsystem(self) -> dict[str, Any]:
        """How it stands, as in the agent's status. What moves all the time is in ``figures``."""
        status = self.status
        troubled = status.state in ("waiting", "stopped") or status.refused or status.owed
        return {
            "status": "degraded" if troubled else "healthy",
            "detail": _detail(status),
            "recovered": "; ".join(filter(None, (self._offered.told, self._forgotten.told))),
            "state": status.state,
            "refused": status.refused,
            "owed": status.owed,
            "figures": {
                "pending": status.pending,
                "lag_s": round(status.lag_s, 1),
                "pushed": status.pushed,
                "pulled": status.pulled,
                "conflicts_settled": self._resolver.settled,
            },
        }

    async def run(self) -> None:
        """Replicate both ways, and settle conflicts of what is this node's."""
        await self._offered.load()
        settling = asyncio.create_task(self._resolver.run(), name="conflicts")
        backoff = Backoff()
        try:
            while True:
                self._again.clear()
                try:
                    await self.meet()
                except MosaicError as error:
                    self._problem = error.message
                    await self._wait(backoff.next())
                    continue
                self._problem = None
                backoff.reset()
                await self._replicate()
        finally:
            await end_tasks(settling)

    async def _replicate(self) -> None:
        """Until the control plane was gone and is there again."""
        near = StorePeer(self._store)
        push = Replicator(near, self._peer, direction="push", chosen=self._push)
        pull = Replicator(self._peer, near, direction="pull", chosen=self._pull)
        self._replicators = (push, pull)
        tasks = [asyncio.create_task(push.run(), name="push"), asyncio.create_task(pull.run(), name="pull")]
        try:
            await self._again.wait()
        finally:
            for one in self._replicators:
                one.stop()
            with suppress(asyncio.CancelledError):
                await asyncio.wait(tasks, timeout=GRACE_S)
            await end_tasks(*tasks)

    async def _wait(self, seconds: float) -> None:
        """A pause that ends early when the control plane has been heard of."""
        await first_of(self._pause(seconds), self._again.wait())


def _detail(status: Status) -> str:
    """Why it is not well, or nothing."""
    if status.state in ("waiting", "stopped") or status.owed:
        return status.last_error or ""
    if status.refused:
        return f"{status.refused:,} documents were refused by the side that they were for; its log says why"
    return ""


def _selector_of_owned(node_id: str) -> dict[str, Any]:
    """What a node owns or has fields of, by ids."""
    prefixes = "|".join(sorted([*(TYPE_PREFIXES[name] for name in _OWN_TYPES), "notification"]))
    return {
        "$or": [
            {"_id": {"$regex": f"^({prefixes})::{node_id}(::|$)"}},
            {"_id": {"$regex": f"^annotation::.*@{node_id}$"}},
        ]
    }
