"""Protects what is left when a machine or its control plane lost data: files keep their ids, nothing stale survives,
nothing that a machine owns is lost, and nobody is stuck."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.replication import Filter, Peer, Replicator, StorePeer, meet
from mosaicfs_core.store import Store
from mosaicfs_core.testing.peers import Flaky, PeerAround
from mosaicfs_core.testing.store import NODE, assignment, file_document, rule

pytestmark = pytest.mark.logs("the control plane was restored or made anew")
OpenStore = Callable[[str], Awaitable[Store]]
OTHER = "node-lap-bbbb"


def owns(document: Any) -> bool:
    return documents.may_write(document, NODE)


PUSH = Filter(f"owned by {NODE}", accepts=owns)
PULL = Filter("to nodes")
OWNED = Filter(f"of {NODE}", accepts=owns)


def server(store: Store) -> PeerAround:
    """A control plane's replica, as if it were elsewhere."""
    return PeerAround(StorePeer(store), near=False)


async def met(agent: Store, control_plane: Store | Peer) -> str:
    peer = server(control_plane) if isinstance(control_plane, Store) else control_plane
    return await meet(agent, peer, owns=owns, push=PUSH, pull=PULL, owned=OWNED)


async def exchange(agent: Store, control_plane: Store) -> None:
    """Both flows once."""
    await Replicator(StorePeer(agent), server(control_plane), direction="push", chosen=PUSH).run_once()
    await Replicator(server(control_plane), StorePeer(agent), direction="pull", chosen=PULL).run_once()


async def state(store: Store) -> dict[str, Any]:
    """Live documents by id."""
    changes = store.reader.changes(0, 10_000, include_docs=True)
    return {change.id: change.doc for change in changes if not change.deleted}


async def edit(store: Store, identifier: str, **fields: Any) -> None:
    assert await store.update(identifier, lambda present: {**(present or {}), **fields}) is not None


async def restore(store: Store, backup: Path) -> Store:
    await store.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{store.path}{suffix}").unlink(missing_ok=True)
    shutil.copy(backup, store.path)
    return await Store.open(store.path)


async def populated(agent: Store, control_plane: Store) -> None:
    """A file of this machine, one of another, and what the control plane owns, known to both."""
    assert await met(agent, control_plane) == "first"
    await agent.put(file_document("/mine"))
    await control_plane.bulk([file_document("/theirs", node_id=OTHER), rule("/x/", "red", uuid=UUIDS[0])])
    await exchange(agent, control_plane)
    assert await met(agent, control_plane) == "same"
    assert await state(agent) == await state(control_plane)


UUIDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(4)]


async def live_a_day(agent: Store, control_plane: Store) -> None:
    """Everything changes: edits, new documents, deletions, on both sides."""
    await edit(agent, file_document("/mine")["_id"], size=7)
    await agent.put(file_document("/mine too"))
    await edit(control_plane, file_document("/theirs", node_id=OTHER)["_id"], size=8)
    await edit(control_plane, documents.label_rule_id(UUIDS[0]), labels=["blue"])
    await control_plane.bulk([rule("/y/", "new", uuid=UUIDS[1]), assignment("/theirs", "new", node_id=OTHER)])
    await exchange(agent, control_plane)
    assert await state(agent) == await state(control_plane)


@pytest.mark.parametrize("unnoticed", [False, True])
async def test_a_control_plane_restored_from_yesterdays_file(
    near: Store, far: Store, tmp_path: Path, unnoticed: bool
) -> None:
    await populated(near, far)
    await far.close()
    shutil.copy(far.path, tmp_path / "yesterday")
    far = await Store.open(far.path)
    await live_a_day(near, far)
    far = await restore(far, tmp_path / "yesterday")
    # It has gone on since: an edit upon the older revision, and more changes than the agent ever saw.
    await edit(far, documents.label_rule_id(UUIDS[0]), labels=["green"])
    await far.bulk([rule(f"/{number}/", "many") for number in range(30)])
    if unnoticed:  # continuous replication was there first, and went on from what both remember
        await exchange(near, far)
        await far.put(rule("/and on/", "more"))
        await exchange(near, far)
    assert await met(near, far) == "restored"
    found = await state(near)
    assert found == await state(far)
    assert found[documents.label_rule_id(UUIDS[0])]["labels"] == ["green"]
    assert found[file_document("/mine")["_id"]]["size"] == 7
    assert file_document("/mine too")["_id"] in found
    assert found[file_document("/theirs", node_id=OTHER)["_id"]]["size"] == 1
    assert documents.label_rule_id(UUIDS[1]) not in found
    assert await met(near, far) == "same"
    # What came back under the same id and body is taken again, and edits go on as before.
    await far.put(rule("/y/", "new", uuid=UUIDS[1]))
    await edit(far, file_document("/theirs", node_id=OTHER)["_id"], size=9)
    await edit(near, file_document("/mine")["_id"], size=10)
    await exchange(near, far)
    assert await state(near) == await state(far)
    assert [(await store.info()).conflicts for store in (near, far)] == [0, 0]
    await far.close()


async def test_a_control_plane_restored_into_a_new_database(near: Store, far: Store, open_store: OpenStore) -> None:
    await populated(near, far)
    backup = [document for name in await state(far) for document in await far.open_revs(name)]
    await live_a_day(near, far)
    anew = await open_store("anew")
    await anew.bulk(backup, new_edits=False)
    assert await met(near, anew) == "restored"
    found = await state(near)
    assert found == await state(anew)
    assert found[documents.label_rule_id(UUIDS[0])]["labels"] == ["red"]
    assert found[file_document("/mine")["_id"]]["size"] == 7
    assert documents.label_rule_id(UUIDS[1]) not in found


async def test_a_control_plane_that_lost_everything(near: Store, far: Store, open_store: OpenStore) -> None:
    await populated(near, far)
    empty = await open_store("empty")
    assert await met(near, empty) == "restored"
    assert set(await state(near)) == set(await state(empty)) == {file_document("/mine")["_id"]}


async def test_recovery_can_be_cut_anywhere(near: Store, far: Store, open_store: OpenStore) -> None:
    await populated(near, far)
    await live_a_day(near, far)
    for at in range(1, 16):
        for late in (False, True):
            anew = await open_store(f"anew-{at}-{late}")
            await anew.put(rule("/z/", "z", uuid=UUIDS[2]))
            try:
                await met(near, Flaky(server(anew), at, late=late))
            except Unavailable:
                assert await met(near, anew) == "restored"
            await exchange(near, anew)
            assert await state(near) == await state(anew)
            assert await met(near, anew) == "same"


async def test_a_rebuilt_machine_finds_its_files(near: Store, far: Store, open_store: OpenStore) -> None:
    await populated(near, far)
    await live_a_day(near, far)
    rebuilt = await open_store("rebuilt")
    with pytest.raises(Unavailable):
        await met(rebuilt, Flaky(server(far), 4))
    assert await met(rebuilt, far) == "first"
    mine = rebuilt.reader.file_by_path(NODE, "/mine")
    assert mine is not None
    assert mine.document_id == file_document("/mine")["_id"]
    assert await rebuilt.get(mine.document_id) == await near.get(mine.document_id)
    assert rebuilt.reader.file_by_path(OTHER, "/theirs") is None  # that comes with the ordinary flow
    await edit(rebuilt, mine.document_id, size=11)
    await exchange(rebuilt, far)
    assert await state(rebuilt) == await state(far)
    assert (await far.info()).conflicts == 0


async def test_a_replica_that_was_used_alone_joins(near: Store, far: Store) -> None:
    await near.bulk([file_document("/mine"), rule("/alone/", "x", uuid=UUIDS[3])])
    await far.put(rule("/x/", "red", uuid=UUIDS[0]))
    assert await met(near, far) == "first"
    assert await state(near) == await state(far)
    assert set(await state(near)) == {file_document("/mine")["_id"], documents.label_rule_id(UUIDS[0])}


async def test_what_was_set_and_made_alone_is_offered_and_kept(near: Store, far: Store) -> None:
    made, kept, offered = rule("/alone/", "x", uuid=UUIDS[3]), [], []
    await near.bulk([file_document("/mine"), made])

    async def offer(meeting: str) -> None:
        offered.append((meeting, await state(near)))

    async def keep(given: Any) -> None:
        kept.extend(one["_id"] for one in given)

    known = await state(near)
    await far.put(rule("/x/", "red", uuid=UUIDS[0]))
    for expected in ("first", "same"):
        found = await meet(near, server(far), owns=owns, push=PUSH, pull=PULL, owned=OWNED, offer=offer, keep=keep)
        assert found == expected
    assert offered == [("first", known)]
    assert kept == [documents.label_rule_id(UUIDS[3])]


async def test_what_was_lost_after_the_last_position_is_noticed(near: Store, far: Store, tmp_path: Path) -> None:
    """Positions are recorded every few seconds; what came since, and was lost, is in no log."""
    await populated(near, far)
    await far.close()
    shutil.copy(far.path, tmp_path / "yesterday")
    far = await Store.open(far.path)
    await edit(far, documents.label_rule_id(UUIDS[0]), labels=["blue"])
    await near.bulk(await far.open_revs(documents.label_rule_id(UUIDS[0])), new_edits=False)
    far = await restore(far, tmp_path / "yesterday")
    assert await met(near, far) == "restored"
    assert await state(near) == await state(far)
    assert await met(near, far) == "same"
    await far.close()


async def test_a_revision_that_a_long_history_has_cut_off_is_no_loss(near: Store, far: Store) -> None:
    """A machine sleeps while a document is changed more often than revisions are kept."""
    await populated(near, far)
    name = documents.label_rule_id(UUIDS[0])
    limit = far.reader.meta("revs_limit")

    def change(tx: Any) -> None:
        rev = far.reader.get(name)["_rev"]  # type: ignore[index]
        for number in range(limit + 5):
            (result,) = tx.bulk([{**rule("/x/", f"{number}", uuid=UUIDS[0]), "_rev": rev}])
            rev = result.rev

    await far.transaction(change)
    assert await met(near, far) == "same"
    await exchange(near, far)
    assert await state(near) == await state(far)


async def test_what_is_given_up_is_offered_before(near: Store, far: Store, open_store: OpenStore) -> None:
    await populated(near, far)
    empty, seen, kept = await open_store("empty"), [], []

    async def offer(meeting: str) -> None:
        assert meeting == "restored"
        seen.append(await state(near))

    async def keep(given: Any) -> None:
        kept.extend(given)
        assert await state(near) == known

    known = await state(near)
    for _ in range(2):
        await meet(near, server(empty), owns=owns, push=PUSH, pull=PULL, owned=OWNED, offer=offer, keep=keep)
    assert seen == [known]
    left = await state(near)
    assert {one["_id"]: one for one in kept} == {name: one for name, one in known.items() if name not in left}
    assert documents.label_rule_id(UUIDS[0]) not in left


async def test_a_leaf_that_is_not_its_own_is_not_sent(near: Store, far: Store) -> None:
    """Of a node's document the control plane deletes what lost; one that was set back does not know that any more."""
    name = documents.node_document_id(NODE)
    body = {"type": "node", "node_id": NODE, "node_kind": "physical", "friendly_name": "Laptop", "status": "online"}
    body |= {"agent_version": 1, "control_version": 1}
    lost = {"_id": name, "_rev": "1-bb", "_deleted": True, "type": "node", "node_id": NODE}
    await near.bulk([{**body, "_id": name, "_rev": "2-aa"}, lost], new_edits=False)
    assert len(await near.open_revs(name)) == 2
    await Replicator(StorePeer(near), server(far), direction="push", chosen=PUSH).run_once()
    assert [one["_rev"] for one in await far.open_revs(name)] == ["2-aa"]
