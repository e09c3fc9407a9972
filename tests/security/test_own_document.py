"""A thief who has a node's key writes the node's own document: it stays the control plane's, and can be revoked."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mosaicfs_core.documents import CONTROL_PLANE, ids
from mosaicfs_core.home import Home
from mosaicfs_core.replication import ConflictResolver
from mosaicfs_core.store import Store

JSON = {"Content-Type": "application/json"}
CONTROL = {"friendly_name": "NAS", "role": "control-plane", "control_version": 0}
"""What the thief would like; without ``access_key_id`` no revocation would concern it."""


@pytest.fixture
async def resolver(control: Any) -> AsyncIterator[ConflictResolver]:
    """Settles conflicts as they come, as a control plane does."""
    made = ConflictResolver.for_writer(control.server.core.store, CONTROL_PLANE)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def digest(name: str) -> str:
    return hashlib.md5(name.encode()).hexdigest()


def forged(stored: dict[str, Any], generation: int, parents: list[str], **fields: Any) -> dict[str, Any]:
    body = {key: value for key, value in stored.items() if key[:1] != "_" and key != "access_key_id"}
    name = digest(f"{generation}{fields}")
    revisions = {"start": generation, "ids": [name, *parents]}
    return {
        **body,
        **CONTROL,
        **fields,
        "_id": stored["_id"],
        "_rev": f"{generation}-{name}",
        "_revisions": revisions,
    }


def replicated(*documents: dict[str, Any]) -> bytes:
    return json.dumps({"docs": documents, "new_edits": False}).encode()


def edited(document: dict[str, Any]) -> bytes:
    return json.dumps({"docs": [document]}).encode()


def attack(kind: str, stored: dict[str, Any]) -> bytes:
    generation, _, parent = stored["_rev"].partition("-")
    child = forged(stored, int(generation) + 1, [parent], agent_version=7)
    branch = forged(stored, 900, [], agent_version=7)
    itself = {"start": int(generation), "ids": [parent]}
    strange = forged(stored, 800, [], agent_version=8, storage=5)
    if kind == "edit":
        return edited({**{k: v for k, v in stored.items() if k != "access_key_id"}, **CONTROL, "agent_version": 7})
    return {
        "child": replicated(child),
        "branch": replicated(branch),
        "branch and an invalid leaf": replicated(branch, strange),
        "an invalid leaf that wins": replicated(child, {**strange, **forged(stored, 950, [], storage=5)}),
        "the stored revision itself": replicated({**child, "_rev": stored["_rev"], "_revisions": itself}),
        "the last revision there can be": replicated(child, forged(stored, 10**15 - 1, [])),
    }[kind]


async def current(store: Store, identifier: str) -> dict[str, Any]:
    document = await store.get(identifier)
    assert document is not None
    return document


@pytest.mark.parametrize("revoked_by", ["key", "node"])
@pytest.mark.parametrize(
    "kind",
    [
        "edit",
        "child",
        "branch",
        "branch and an invalid leaf",
        "an invalid leaf that wins",
        "the stored revision itself",
        "the last revision there can be",
    ],
)
async def test_a_node_stays_what_the_control_plane_says_and_is_revoked(
    control: Any, laptop: Home, resolver: ConflictResolver, kind: str, revoked_by: str
) -> None:
    known = await control.enrol(laptop)
    node, user = control.as_node(laptop, known), await control.as_user()
    store, identifier = control.server.core.store, ids.node_document_id(known.node_id)
    before = await current(store, identifier)
    body = attack(kind, before)
    assert (await control.status_of(node, "POST", "/db/mosaicfs/_bulk_docs", body=body, headers=JSON))[0] == 201
    async with asyncio.timeout(20):
        while await store.conflicts(identifier):
            await store.wait(store.seq, 0.01)
    after = await current(store, identifier)
    assert after["agent_version"] == 7  # what is the node's to say was taken
    assert {**after, "_rev": "", "agent_version": 0} == {**before, "_rev": ""}

    path = f"/api/credentials/{known.access_key_id}" if revoked_by == "key" else f"/api/nodes/{known.node_id}"
    assert (await control.status_of(user, "DELETE", path))[0] == 200
    assert (await control.status_of(node, "GET", "/api/agent/credentials"))[0] == 401
    assert (await control.status_of(node, "POST", "/db/mosaicfs/_bulk_docs", body=body, headers=JSON))[0] == 401


async def test_what_a_node_did_not_know_reaches_it(control: Any, laptop: Home, resolver: ConflictResolver) -> None:
    """Renamed while the machine was away and described itself: its replica has another body, not another revision."""
    known = await control.enrol(laptop)
    node, user = control.as_node(laptop, known), await control.as_user()
    store, identifier = control.server.core.store, ids.node_document_id(known.node_id)
    before = await current(store, identifier)
    given = {"body": b'{"friendly_name": "Renamed"}', "headers": JSON}
    assert (await control.status_of(user, "PATCH", f"/api/nodes/{known.node_id}", **given))[0] == 200
    generation, _, parent = before["_rev"].partition("-")
    name = digest("offline")
    mine = {
        **before,
        "platform": "linux-riscv64",
        "agent_version": 1,
        "_rev": f"{int(generation) + 1}-{name}",
        "_revisions": {"start": int(generation) + 1, "ids": [name, parent]},
    }
    answer = await control.status_of(node, "POST", "/db/mosaicfs/_bulk_docs", body=replicated(mine), headers=JSON)
    assert answer == (201, [])
    async with asyncio.timeout(20):
        while await store.conflicts(identifier):
            await store.wait(store.seq, 0.01)
    after = await current(store, identifier)
    assert (after["friendly_name"], after["platform"]) == ("Renamed", "linux-riscv64")
    assert after["_rev"] != mine["_rev"]  # so that the machine, which has that one, fetches what it became
    _, found = await control.status_of(node, "GET", f"/db/mosaicfs/{identifier}")
    assert found == after
