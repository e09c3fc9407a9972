"""Protects an agent's replication with its control plane: our replicator over the endpoint, with a node's rights. What
a node owns goes there, its flow comes here, and it recovers from what the control plane lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.replication import Filter, HttpPeer, Replicator, StorePeer, meet
from mosaicfs_core.replication.flows import owned_by, selector_of_node
from mosaicfs_core.replication.recovery import MET
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.store import Store


class Agent:
    """A node's replica and its peer, the endpoint."""

    def __init__(self, store: Store, peer: HttpPeer, node_id: str) -> None:
        self.store, self.peer = store, peer
        self.owns = owned_by(node_id)
        self.push = Filter(f"owned by {node_id}", accepts=self.owns)
        self.pull = Filter(f"to {node_id}", selector=selector_of_node(node_id))
        self.owned = Filter(f"of {node_id}", selector=selector_of_node(node_id), accepts=self.owns)

    async def meet(self) -> str:
        return await meet(self.store, self.peer, owns=self.owns, push=self.push, pull=self.pull, owned=self.owned)

    async def exchange(self) -> tuple[int, int]:
        """Both flows once; how many documents went and came."""
        near = StorePeer(self.store)
        pushed = await Replicator(near, self.peer, direction="push", chosen=self.push).run_once()
        pulled = await Replicator(self.peer, near, direction="pull", chosen=self.pull).run_once()
        assert (pushed.refused, pulled.refused) == (0, 0)
        return pushed.pushed, pulled.pulled

    def live(self) -> set[str]:
        return {change.id for change in self.store.reader.changes(0, 10_000) if not change.deleted}


@pytest.fixture
async def agent(couch: Any, samples: Any, tmp_path: Path) -> AsyncIterator[Agent]:
    store = await Store.open(tmp_path / "agent.db")
    peer = HttpPeer(PlainRequests(couch.url, couch.headers("node")), address=couch.url)
    yield Agent(store, peer, samples.node)
    await peer.close()
    await store.close()


async def test_each_flow_and_nothing_else(agent: Agent, couch: Any, samples: Any) -> None:
    documents = await couch.fill()
    assert await agent.meet() == "first"
    assert all(agent.owns({"_id": name}) for name in agent.live())
    await agent.exchange()
    own_only = {"plugin", "agent_status", "utilization_snapshot"}
    wanted = {one["_id"] for one in documents if one["type"] not in own_only or samples.node in one["_id"]}
    assert wanted <= agent.live()
    assert not {name for name in agent.live() - wanted if samples.other in name}
    mine, theirs = samples.file(900), samples.file(901, samples.other)
    await agent.store.bulk([mine, theirs])
    assert await agent.exchange() == (1, 0)
    assert await couch.store.get(mine["_id"]) is not None
    assert await couch.store.get(theirs["_id"]) is None
    assert await agent.exchange() == (0, 0)


@pytest.mark.logs("was not replicated")
async def test_what_is_refused_is_counted(agent: Agent, couch: Any, samples: Any) -> None:
    await agent.store.bulk([samples.file(1), samples.file(2, samples.other)])
    status = await Replicator(StorePeer(agent.store), agent.peer, direction="push").run_once()
    assert (status.pushed, status.refused) == (1, 1)
    assert await couch.store.get(samples.file(2, samples.other)["_id"]) is None


@pytest.mark.logs("was restored or made anew")
async def test_recovery_with_a_nodes_rights(agent: Agent, couch: Any, samples: Any) -> None:
    await couch.fill()
    await agent.meet()
    await agent.exchange()
    before = {name: await agent.store.open_revs(name) for name in agent.live()}
    # The agent remembers more than the control plane it meets now: documents, and a later revision.
    rule_id = next(name for name in before if name.startswith("label_rule"))
    await agent.store.update(rule_id, lambda present: {**(present or {}), "labels": ["from the future"]})
    lost = samples.file(77, samples.other)
    kept = samples.file(78)
    await agent.store.bulk([lost, kept])
    remembered = await agent.store.local_get(MET)
    assert remembered is not None
    await agent.store.local_put(MET, {"_rev": remembered["_rev"], "instance_id": "another"})
    assert await agent.meet() == "restored"
    assert {name: await agent.store.open_revs(name) for name in agent.live() - {kept["_id"]}} == before
    assert await couch.store.get(kept["_id"]) is not None
    assert await agent.meet() == "same"
    credential = next(name for name in before if name.startswith(ids.TYPE_PREFIXES["credential"]))
    await couch.store.update(credential, lambda present: {**(present or {}), "enabled": False})
    await agent.exchange()
    assert (await agent.store.get(credential) or {})["enabled"] is False
