"""Protects replication between stores, once: everything arrives once, in whatever state it is and whatever is cut,
restored or made anew meanwhile, in batches of bounded size."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from tests.replication.replication_bed import leaves, of_every_kind, revisions

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.replication import EVERYTHING, Filter, Peer, Refused, Replicator, Status, StorePeer, Wanted
from mosaicfs_core.replication.batching import HEAVY, weight_of
from mosaicfs_core.replication.peer import Document, Fetched
from mosaicfs_core.store import Reader, Store
from mosaicfs_core.testing.peers import Flaky, PeerAround
from mosaicfs_core.testing.store import NODE, annotation, file_document

Push = Callable[[Store | Peer, Store | Peer], Awaitable[Status]]
OpenStore = Callable[[str], Awaitable[Store]]


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
