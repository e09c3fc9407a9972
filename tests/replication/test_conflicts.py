"""Protects conflicts: they end, at the owner, the same way everywhere, without losing what either side did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mosaicfs_core import documents
from mosaicfs_core.replication import ConflictResolver, Status
from mosaicfs_core.replication.conflicts import settling
from mosaicfs_core.security.revocations import next_revocation
from mosaicfs_core.server.auth.revocations import disabled
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import NODE, assignment, file_document

Push = Callable[[Store, Store], Awaitable[Status]]
LATER = documents.format_time(1_700_000_009_000_000)


def owned(store: Store) -> ConflictResolver:
    return ConflictResolver.for_writer(store, documents.CONTROL_PLANE, NODE)


async def both_edit(near: Store, far: Store, push: Push) -> str:
    """Two replicas label one file while apart."""
    document = assignment("/a", "old")
    await near.put(document)
    await push(near, far)
    for store, change in (
        (near, {"labels": ["old", "red"], "label_times": {**document["label_times"], "red": {"added": LATER}}}),
        (far, {"labels": [], "label_times": {"old": {**document["label_times"]["old"], "removed": LATER}}}),
    ):
        await store.update(document["_id"], lambda present, change=change: {**present, **change, "updated_at": LATER})
    await push(near, far)
    await push(far, near)
    return str(document["_id"])


async def test_two_replicas_that_settle_at_once_write_the_same(near: Store, far: Store, push: Push) -> None:
    identifier = await both_edit(near, far, push)
    assert len(await near.conflicts(identifier)) == 1
    resolvers = [owned(near), owned(far)]
    assert await asyncio.gather(*[one.settle_all() for one in resolvers]) == [1, 1]
    merged = await near.get(identifier)
    assert merged is not None
    assert merged["labels"] == ["red"]
    assert await far.get(identifier) == merged
    assert await near.open_revs(identifier) == await far.open_revs(identifier)
    seqs = [(await store.info()).update_seq for store in (near, far)]
    await push(near, far)
    await push(far, near)
    assert [(await store.info()).update_seq for store in (near, far)] == seqs
    assert [(await store.info()).conflicts for store in (near, far)] == [0, 0]
    tombstone = next(one for one in await near.open_revs(identifier) if one.get("_deleted"))
    assert documents.owner_of(tombstone) == documents.CONTROL_PLANE
    assert tombstone["node_id"] == NODE


async def test_replicas_that_saw_different_conflicts_converge(
    near: Store, far: Store, open_store: Callable[[str], Awaitable[Store]], push: Push
) -> None:
    third = await open_store("third")
    stores = [near, far, third]
    for number, store in enumerate(stores):
        times = {"added": documents.format_time(1_700_000_000_000_000 + number)}
        await store.put({**assignment("/a", f"label-{number}"), "label_times": {f"label-{number}": times}})
    await push(near, far)
    await push(third, near)
    await asyncio.gather(*[owned(store).settle_all() for store in stores])
    for _ in range(3):
        for source in stores:
            for target in stores:
                if source is not target:
                    await push(source, target)
        await asyncio.gather(*[owned(store).settle_all() for store in stores])
    identifier = assignment("/a")["_id"]
    found = [await store.get(identifier) for store in stores]
    assert found[0] is not None
    assert found[0]["labels"] == ["label-0", "label-1", "label-2"]
    assert found[1:] == [found[0], found[0]]
    assert [(await store.info()).conflicts for store in stores] == [0, 0, 0]


async def test_only_the_owner_settles(near: Store, far: Store, push: Push) -> None:
    identifier = await both_edit(near, far, push)
    resolver = ConflictResolver.for_writer(near, NODE)
    assert await resolver.settle_all() == 0
    assert (resolver.found, resolver.settled) == (1, 0)
    assert len(await near.conflicts(identifier)) == 1


async def test_conflicts_are_settled_as_they_arrive(near: Store, far: Store, push: Push) -> None:
    resolver = owned(near)
    running = asyncio.create_task(resolver.run())
    identifier = await both_edit(near, far, push)
    async with asyncio.timeout(20):
        while resolver.settled == 0:
            await near.wait(near.seq, 0.01)
    assert await near.conflicts(identifier) == []
    await near.close()
    await running


async def test_a_leaf_that_is_not_understood_is_kept(near: Store) -> None:
    document = file_document("/a")
    await near.bulk([_made(document, 1), _made({**document, "size": "large"}, 2)], new_edits=False)
    resolver = owned(near)
    assert await resolver.settle_all() == 0
    assert len(await near.open_revs(document["_id"])) == 2


@pytest.mark.parametrize("strange", [1, 9])
async def test_a_leaf_that_is_not_understood_hinders_no_other(near: Store, strange: int) -> None:
    document = file_document("/a")
    resolver = owned(near)
    running = asyncio.create_task(resolver.run())
    leaves = [_made({**document, "size": number}, number) for number in (2, 3)]
    await near.bulk([*leaves, _made({**document, "size": "large"}, strange)], new_edits=False)
    async with asyncio.timeout(20):
        while resolver.settled == 0:
            await near.wait(near.seq, 0.01)
    live = [leaf["size"] for leaf in await near.open_revs(document["_id"]) if not leaf.get("_deleted")]
    assert sorted(live, key=str) == [3, "large"]
    await near.close()
    await running


async def test_a_type_without_a_rule_keeps_the_winner_as_it_is(near: Store) -> None:
    document = file_document("/a")
    await near.bulk([_made({**document, "size": number}, number) for number in (1, 2, 3)], new_edits=False)
    assert await owned(near).settle_all() == 1
    assert await near.get(document["_id"]) == {**document, "size": 3, "_rev": f"1-{3:032x}"}
    assert (await near.info()).conflicts == 0


async def test_a_loser_edited_meanwhile_is_not_lost(near: Store) -> None:
    document = file_document("/a")
    await near.bulk([_made({**document, "size": number}, number) for number in (1, 2)], new_edits=False)
    leaves = await near.open_revs(document["_id"])
    edits = settling(leaves)
    await near.put({**document, "_rev": f"1-{1:032x}", "size": 9})
    results = await near.bulk(edits)
    assert any(result.error is not None for result in results)
    resolver = owned(near)
    assert await resolver.settle_all() == 1
    assert (await near.get(document["_id"]) or {})["size"] == 9


def _made(document: dict[str, Any], number: int) -> dict[str, Any]:
    return {**document, "_rev": f"1-{number:032x}", "_revisions": {"start": 1, "ids": [f"{number:032x}"]}}


async def test_what_one_control_plane_revoked_stays_revoked_whatever_the_other_wrote_meanwhile(
    near: Store, far: Store, push: Push
) -> None:
    """Two share a hub and are apart: the longer branch, and the higher version, are the other one's."""
    key, node = "MOSAICFS_0123456789abcdef", "node-laptop-7f3a"
    await near.put(
        {
            "_id": documents.credential_document_id(key),
            "type": "credential",
            "access_key_id": key,
            "secret_key_hash": "$argon2id$x",
            "name": "laptop",
            "kind": "agent",
            "node_id": node,
            "created_at": LATER,
        }
    )
    machine = {"_id": documents.node_document_id(node), "type": "node", "node_id": node, "friendly_name": "laptop"}
    await near.put({**machine, "status": "online", "control_version": 1})
    await push(near, far)
    for identifier in (documents.credential_document_id(key), documents.node_document_id(node)):
        await near.update(identifier, lambda now: disabled(now or {}, next_revocation(b"k" * 32, now or {})))
        for number in range(5):
            version = {"control_version": 10 + number} if identifier.startswith("node::") else {}
            change = {"name": f"n{number}", **version}
            await far.update(identifier, lambda now, change=change: {**(now or {}), **change})
    await push(near, far)
    await push(far, near)
    for store in (near, far):
        await owned(store).settle_all()
    for store in (near, far):
        credential = await store.get(documents.credential_document_id(key)) or {}
        assert (credential["enabled"], credential["revocation"]["number"]) == (False, 1)
        laptop = await store.get(machine["_id"]) or {}
        assert (laptop["status"], laptop["revocation"]["number"]) == ("disabled", 1)
