"""Protects replication between stores: everything arrives once, in whatever state it is and whatever breaks meanwhile,
and its status says how it stands."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import Unavailable, UserError
from mosaicfs_core.replication import (
    EVERYTHING,
    Filter,
    Peer,
    Refused,
    Replicator,
    Status,
    StorePeer,
    Surroundings,
    Wanted,
    owed,
)
from mosaicfs_core.replication.batching import HEAVY, weight_of
from mosaicfs_core.replication.peer import Document, Fetched
from mosaicfs_core.store import Reader, Store
from mosaicfs_core.testing.peers import Down, Flaky, PeerAround, Picky, Time
from mosaicfs_core.testing.store import NODE, annotation, assignment, file_document, rule

pytestmark = pytest.mark.logs("was not replicated|^replication failed unexpectedly")

Push = Callable[[Store | Peer, Store | Peer], Awaitable[Status]]
OpenStore = Callable[[str], Awaitable[Store]]


async def leaves(store: Store) -> dict[str, tuple[str, ...]]:
    """All leaves of every document, the winner first."""
    changes = await store.read(lambda reader: reader.changes(0, 1_000_000))
    return {change.id: change.revs for change in changes}


async def revisions(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Every leaf of every document with its body and history."""
    return {identifier: await store.open_revs(identifier) for identifier in await leaves(store)}


async def eventually(condition: Callable[[], Any]) -> None:
    """Until the condition holds; what it waits for happens in this process."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event for what any condition looks at
            await asyncio.sleep(0.002)


def branch(document: dict[str, Any], *ids: str, **fields: Any) -> dict[str, Any]:
    """A revision made elsewhere; ``ids`` newest first."""
    return {**document, **fields, "_rev": f"{len(ids)}-{ids[0]}", "_revisions": {"start": len(ids), "ids": list(ids)}}


def digest(number: int) -> str:
    return f"{number:032x}"


async def of_every_kind(store: Store) -> None:
    """Files, an edited one, a deleted one, one in conflict, one in quarantine, other types, long histories."""
    await store.bulk([file_document(f"/many/{number}.txt", size=number) for number in range(40)])
    edited = file_document("/edited")
    rev = await store.put(edited)
    for size in range(2, 30):
        rev = await store.put({**edited, "_rev": rev, "size": size})
    gone = file_document("/gone")
    rev = await store.put(gone)
    await store.put({"_id": gone["_id"], "_rev": rev, "_deleted": True, "type": "file", "source": gone["source"]})
    disputed = file_document("/disputed")
    made = [branch(disputed, digest(number), digest(1), size=number) for number in (5, 6, 7)]
    made.append(branch({**disputed, "_deleted": True}, digest(9), digest(8), digest(1)))
    await store.bulk(made, new_edits=False)
    await store.bulk([branch(file_document("/broken", size="big"), digest(1))], new_edits=False)
    await store.bulk([branch({"_id": "future::1", "type": "future", "x": 1}, digest(3), digest(2))], new_edits=False)
    await store.bulk([assignment("/many/1.txt", "red"), rule("/many/", "blue")])


async def test_everything_arrives_as_it_is(near: Store, far: Store, push: Push) -> None:
    await of_every_kind(near)
    status = await push(near, far)
    assert await revisions(far) == await revisions(near)
    assert far.reader.quarantined() != []
    assert (status.state, status.pending, status.lag_s, status.last_error) == ("idle", 0, 0.0, None)
    assert status.pushed == sum(len(revs) for revs in (await leaves(near)).values())
    assert (await push(far, near)).pushed == 0


async def test_a_second_time_goes_on_where_the_first_ended(near: Store, far: Store, push: Push) -> None:
    await of_every_kind(near)
    await push(near, far)
    source, target = PeerAround(StorePeer(near)), PeerAround(StorePeer(far))
    assert (await push(source, target)).pushed == 0
    assert "revs_diff" not in target.asked
    await near.put(file_document("/new"))
    assert (await push(source, target)).pushed == 1
    assert target.asked.count("revs_diff") == 1


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("side", ["source", "target"])
async def test_cut_at_any_request_the_next_time_completes_it(
    near: Store, open_store: OpenStore, push: Push, side: str, late: bool
) -> None:
    await of_every_kind(near)
    expected = await revisions(near)
    for at in range(1, 12):
        far = await open_store(f"far-{at}")
        source: Peer = StorePeer(near)
        target: Peer = StorePeer(far)
        if side == "source":
            source = Flaky(source, at, late=late)
        else:
            target = Flaky(target, at, late=late)
        try:
            await push(source, target)
        except Unavailable:
            await push(near, far)
        assert await revisions(far) == expected
        assert (await push(near, far)).pushed == 0


async def test_a_target_made_anew_gets_everything(near: Store, far: Store, open_store: OpenStore, push: Push) -> None:
    await of_every_kind(near)
    await push(near, far)
    anew = await open_store("anew")
    await push(near, anew)
    assert await revisions(anew) == await revisions(near)


@pytest.mark.parametrize("restored", ["near", "far"])
async def test_a_side_restored_from_a_copy_of_its_file_converges(
    near: Store, far: Store, tmp_path: Path, push: Push, restored: str
) -> None:
    await of_every_kind(near)
    await push(near, far)
    store = near if restored == "near" else far
    await store.close()
    shutil.copy(store.path, tmp_path / "backup")
    store = await Store.open(store.path)
    near, far = (store, far) if restored == "near" else (near, store)
    for number in range(30):
        await near.put(file_document(f"/later/{number}"))
        await push(near, far)
    await store.close()
    for name in ("", "-wal", "-shm"):
        Path(f"{store.path}{name}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup", store.path)
    store = await Store.open(store.path)
    near, far = (store, far) if restored == "near" else (near, store)
    replicator = Replicator(PeerAround(StorePeer(far), near=False), StorePeer(near), direction="pull")
    assert await replicator.has_forgotten() is False  # it never pulled
    await near.put(file_document("/after"))
    await push(near, far)
    await push(far, near)
    assert await revisions(near) == await revisions(far)
    assert near.reader.file_by_path(NODE, "/later/29") is not None
    await store.close()


async def test_only_what_the_filter_takes(near: Store, open_store: OpenStore) -> None:
    await of_every_kind(near)
    by_function = Filter("labels", accepts=lambda document: document.get("type") == "label_assignment")
    by_selector = Filter(selector={"type": {"$in": ["label_assignment", "label_rule"]}})
    by_both = Filter("both", selector=by_selector.selector, accepts=by_function.accepts)
    for number, (chosen, types) in enumerate(
        [
            (by_function, {"label_assignment"}),
            (by_selector, {"label_assignment", "label_rule"}),
            (by_both, {"label_assignment"}),
        ]
    ):
        # Once evaluated in the source's feed, and once over what a foreign source has sent.
        for foreign in (False, True):
            far = await open_store(f"far-{number}-{foreign}")
            source = PeerAround(StorePeer(near), near=not foreign)
            await Replicator(source, StorePeer(far), direction="push", chosen=chosen).run_once()
            assert {change.type for change in far.reader.changes(0, 100)} == types
            again = PeerAround(StorePeer(near), near=not foreign)
            await Replicator(again, StorePeer(far), direction="push", chosen=chosen).run_once()
            assert again.asked.count("changes") == 1
            assert "bulk_get" not in again.asked


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


# Continuous


async def test_live_changes_follow_at_once(near: Store, far: Store) -> None:
    await near.bulk([file_document(f"/{number}") for number in range(5)])
    replicator = Replicator(StorePeer(near), StorePeer(far), direction="pull")
    assert replicator.status.state == "idle"
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    assert (replicator.status.pulled, replicator.status.pending, replicator.status.lag_s) == (5, 0, 0.0)
    await near.put(file_document("/later"))
    await eventually(lambda: far.reader.file_by_path(NODE, "/later") is not None)
    await eventually(lambda: replicator.status == Status("live", pulled=6))
    replicator.stop()
    await running
    assert replicator.status.state == "stopped"
    target = PeerAround(StorePeer(far))
    await Replicator(StorePeer(near), target, direction="pull").run_once()
    assert "revs_diff" not in target.asked  # stopping recorded how far it was
    assert far.reader.seq() == 6


async def test_positions_are_recorded_when_the_source_is_silent(near: Store, far: Store) -> None:
    source, target = PeerAround(StorePeer(near)), StorePeer(far)
    replicator = Replicator(source, target, direction="push", heartbeat=0.02)
    running = asyncio.create_task(replicator.run())
    await near.put(file_document("/a"))
    await eventually(lambda: source.asked.count("save") == 1)
    await asyncio.sleep(0.1)
    assert source.asked.count("save") == 1  # nothing happened since
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_peer_that_is_away_is_tried_again_ever_more_seldom(near: Store, far: Store, time: Time) -> None:
    target = Down(StorePeer(far))
    target.up = False
    replicator = Replicator(StorePeer(near), target, direction="push", surroundings=time.surroundings)
    await near.bulk([file_document(f"/{number}") for number in range(3)])
    statuses: list[Status] = []

    def asleep() -> None:
        statuses.append(replicator.status)
        target.up = len(statuses) >= 10

    time.on_sleep = asleep
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    assert time.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert {(one.state, one.pending, one.last_error) for one in statuses} == {("waiting", 3, "Nobody is there.")}
    assert statuses[-1].lag_s == pytest.approx(sum(time.slept))
    assert (replicator.status.last_error, replicator.status.pushed) == (None, 3)
    target.up = False
    await near.put(file_document("/again"))
    await eventually(lambda: len(time.slept) == 11)
    assert time.slept[10] == 0.5  # it had worked in between
    replicator.stop()
    await running


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


async def test_a_feed_that_the_other_side_ends_is_no_live_one(near: Store, far: Store, time: Time) -> None:
    """A server that is shut down ends its feed in an orderly way: nothing follows until it is asked again."""

    class Ending(PeerAround):
        ends = asyncio.Event()

        async def live(self, since: Any, limit: int, chosen: Any, heartbeat: float) -> Any:
            yield None
            await self.ends.wait()

    source = Ending(StorePeer(near))
    woken = asyncio.Event()

    async def sleep(seconds: float) -> None:
        time.slept.append(seconds)
        await woken.wait()

    surroundings = Surroundings(monotonic=lambda: time.now, sleep=sleep, random=lambda: 1.0)
    replicator = Replicator(source, StorePeer(far), direction="pull", surroundings=surroundings)
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    source.ends.set()
    await eventually(lambda: replicator.status.state == "waiting")
    assert replicator.status.last_error == "the other side ended its feed of changes"
    source.ends.clear()
    replicator.wake()
    await eventually(lambda: replicator.status == Status("live"))
    for _ in range(4):  # it stands for hours each time: that it ends is no reason to come back ever more seldom
        time.now += 10_000.0
        source.ends.set()
        await eventually(lambda: replicator.status.state == "waiting")
        source.ends.clear()
        replicator.wake()
        await eventually(lambda: replicator.status.state == "live")
    assert time.slept == [0.5] * 5
    replicator.stop()
    await running


async def test_it_can_be_woken(near: Store, far: Store) -> None:
    target = Down(StorePeer(far))
    target.up = False
    replicator = Replicator(StorePeer(near), target, direction="push")
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "waiting")
    target.up = True
    replicator.wake()
    await eventually(lambda: replicator.status.state == "live")
    replicator.stop()
    await running


@pytest.mark.logs("replication failed unexpectedly")
async def test_an_unforeseen_error_is_told_and_survived(
    near: Store, far: Store, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(PeerAround):
        async def info(self) -> Any:
            return None

        async def identity(self) -> str:
            if not time.slept:
                raise ZeroDivisionError("surprise")
            return await super().identity()

    replicator = Replicator(Broken(StorePeer(near)), StorePeer(far), direction="push", surroundings=time.surroundings)
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    assert "surprise" in caplog.text
    replicator.stop()
    await running


@pytest.mark.parametrize("closed", ["source", "target"])
async def test_a_store_that_closes_is_a_peer_that_went_away(
    near: Store, far: Store, caplog: pytest.LogCaptureFixture, closed: str
) -> None:
    replicator = Replicator(StorePeer(near), StorePeer(far), direction="push")
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    await (near if closed == "source" else far).close()
    if closed == "target":
        await near.put(file_document("/a"))
    await eventually(lambda: replicator.status.state == "waiting")
    replicator.stop()
    await running
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_many_documents_travel_in_bounded_batches(near: Store, far: Store, push: Push) -> None:
    for start in range(0, 6_000, 1_000):
        await near.bulk([file_document(f"/d/{number}") for number in range(start, start + 1_000)])
    target = PeerAround(StorePeer(far))
    assert (await push(near, target)).pushed == 6_000
    assert await far.read(Reader.seq) == 6_000
    assert await leaves(far) == await leaves(near)


async def test_heavy_documents_are_never_many_at_once(near: Store, far: Store, push: Push) -> None:
    """Not in a page of changes, not in what is read, not in what is written; whatever light ones came before."""
    await near.bulk([file_document(f"/light/{number}") for number in range(600)])
    heavy = {"text": "x" * 200_000}
    for start in range(0, 120, 20):
        await near.bulk([annotation(f"/{number}", "ocr", heavy) for number in range(start, start + 20)])
    at_once: list[int] = []

    class Weighed(PeerAround):
        async def bulk_get(self, wanted: Sequence[Wanted]) -> Fetched:
            found = await super().bulk_get(wanted)
            at_once.append(weight_of(found.documents))
            return found

        async def bulk_docs(self, documents: Sequence[Document]) -> list[Refused]:
            at_once.append(weight_of(documents))
            return await super().bulk_docs(documents)

    page = await StorePeer(near).changes(600, 2_000, EVERYTHING)
    assert (len(page.rows) < 60, page.ended) == (True, False)
    await push(Weighed(StorePeer(near)), Weighed(StorePeer(far)))
    assert await leaves(far) == await leaves(near)
    assert max(at_once) < HEAVY + 16 * 201_000
