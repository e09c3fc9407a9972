"""Protects replication from documents that a target does not take: the rest goes on, and what may be taken later is
owed and offered again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.replication.replication_bed import eventually, leaves, revisions

from mosaicfs_core.errors import Unavailable, UserError
from mosaicfs_core.replication import Filter, Peer, Replicator, Status, StorePeer, owed
from mosaicfs_core.store import Store
from mosaicfs_core.testing.peers import PeerAround, Picky, Time
from mosaicfs_core.testing.store import file_document

Push = Callable[[Store | Peer, Store | Peer], Awaitable[Status]]


@pytest.mark.logs("was not replicated")
async def test_refused_documents_are_counted_and_the_rest_goes_on(near: Store, far: Store, push: Push) -> None:
    await near.bulk([file_document(f"/{number}") for number in range(20)])
    forbidden = {file_document("/3")["_id"], file_document("/17")["_id"]}
    status = await push(near, Picky(StorePeer(far), forbids=lambda one: one["_id"] in forbidden))
    assert (status.refused, status.pushed, status.last_error) == (2, 18, None)
    assert set(await leaves(near)) - set(await leaves(far)) == forbidden


@pytest.mark.logs("was not replicated")
async def test_a_document_that_spoils_its_batch_is_found_and_left_out(near: Store, far: Store, push: Push) -> None:
    await near.bulk([file_document(f"/{number}") for number in range(50)])
    bad = file_document("/31")["_id"]
    status = await push(near, Picky(StorePeer(far), chokes_on=lambda one: one["_id"] == bad))
    assert (status.refused, status.pushed) == (1, 49)
    assert set(await leaves(near)) - set(await leaves(far)) == {bad}


async def test_a_request_that_is_wrong_itself_is_not_blamed_on_the_documents(
    near: Store, far: Store, push: Push
) -> None:
    await near.bulk([file_document(f"/{number}") for number in range(50)])
    with pytest.raises(UserError, match="bad_request"):
        await push(near, Picky(StorePeer(far), chokes_on=lambda one: True))
    assert (await push(near, far)).pushed == 50


async def test_a_document_that_fails_for_a_while_is_offered_until_it_is_taken(
    near: Store, far: Store, push: Push, time: Time
) -> None:
    """However long that is: the rest goes on, a restart does not forget it, and nothing else is compared for it."""
    await near.bulk([file_document(f"/{number}") for number in range(5)])
    slow, never = file_document("/1")["_id"], file_document("/2")["_id"]
    target = Picky(StorePeer(far), stumbles={slow: 2, never: 7})
    status = await push(near, target)
    assert (status.refused, status.owed, status.pushed) == (0, 1, 4)
    assert status.last_error == "1 document not taken yet, and offered again: internal_error: eaten"
    assert set(await leaves(near)) - set(await leaves(far)) == {never}
    assert time.slept == [1.0, 2.0]
    await near.bulk([file_document(f"/later/{number}") for number in range(2_500)])
    await near.put({**file_document("/2", size=5), "_rev": (await leaves(near))[never][0]})
    assert (await push(near, target)).owed == 1
    assert len(await leaves(far)) == 2_504
    status = await push(near, target)
    assert (status.owed, status.last_error, target.stumbles[never]) == (0, None, 0)
    assert await revisions(far) == await revisions(near)
    source = PeerAround(StorePeer(near))
    assert (await push(source, far)).pushed == 0
    assert "leaves" not in source.asked, "what was taken is owed no more"


async def test_what_a_restored_side_owes_is_not_forgotten(near: Store, far: Store, tmp_path: Path, push: Push) -> None:
    """The far side took it after its backup; the near side knows that, and not that it is lost again."""
    never = file_document("/1")["_id"]
    await near.bulk([file_document(f"/{number}") for number in range(5)])
    await push(near, Picky(StorePeer(far), stumbles={never: 3}))
    await far.close()
    shutil.copy(far.path, tmp_path / "backup")
    far = await Store.open(far.path)
    assert (await push(near, far)).owed == 0
    await far.close()
    for name in ("", "-wal", "-shm"):
        Path(f"{far.path}{name}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup", far.path)
    far = await Store.open(far.path)
    assert (await push(near, far)).pushed == 1
    assert await leaves(far) == await leaves(near)
    await far.close()


async def test_what_is_owed_and_leaves_the_filter_is_owed_no_more(near: Store, far: Store) -> None:
    document = file_document("/1", size=1)
    rev = await near.put(document)
    small = Filter("small", accepts=lambda one: one.get("size") == 1)
    target = Picky(StorePeer(far), stumbles={document["_id"]: 9})
    assert (await Replicator(StorePeer(near), target, direction="push", chosen=small).run_once()).owed == 1
    await near.put({**document, "size": 2, "_rev": rev})
    assert (await Replicator(StorePeer(near), target, direction="push", chosen=small).run_once()).owed == 0
    assert await leaves(far) == {}


async def test_a_target_that_fails_at_everything_is_not_blamed_on_the_documents(
    near: Store, far: Store, push: Push
) -> None:
    await near.bulk([file_document(f"/{number}") for number in range(20)])
    broken = {file_document(f"/{number}")["_id"]: 3 for number in range(20)}
    with pytest.raises(Unavailable, match="eaten"):
        await push(near, Picky(StorePeer(far), stumbles=broken))
    status = await push(near, far)
    assert (status.refused, status.owed, status.pushed) == (0, 0, 20)
    assert await leaves(far) == await leaves(near)


async def test_only_so_many_may_be_owed(near: Store, far: Store, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owed, "MOST", 3)
    await near.bulk([file_document(f"/{number}") for number in range(9)])
    with pytest.raises(Unavailable, match="3 documents could not be written"):
        await push(near, Picky(StorePeer(far), stumbles={file_document(f"/{number}")["_id"]: 9 for number in range(4)}))
    assert (await push(near, far)).owed == 0
    assert await leaves(far) == await leaves(near)


async def test_documents_that_never_work_hold_up_no_others(near: Store, far: Store, time: Time) -> None:
    """More than are put down to the target at once, alone in their page: after some rounds all of them are owed."""
    stuck = [file_document(f"/{number}") for number in range(9)]
    await near.bulk(stuck)
    target = Picky(StorePeer(far), stumbles={one["_id"]: 10**6 for one in stuck})
    replicator = Replicator(StorePeer(near), target, direction="push", surroundings=time.surroundings)
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.owed == 9 and replicator.status.state == "live")
    assert replicator.status.last_error == "9 documents not taken yet, and offered again: internal_error: eaten"
    before = len(time.slept)
    await near.put(file_document("/later"))
    await eventually(lambda: replicator.status.pushed == 1 and len(time.slept) > before + 8)
    assert set(time.slept[-4:]) == {60.0}
    assert replicator.status.lag_s > 0
    target.stumbles.clear()
    await eventually(lambda: replicator.status == Status("live", pushed=10))
    assert await leaves(far) == await leaves(near)
    replicator.stop()
    await running
