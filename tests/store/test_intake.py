"""Protects the short way of new files into the replica: it must leave exactly what the way through the revision tree
leaves, hand over to it whenever the id is not new, and refuse the same documents."""

from __future__ import annotations

from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import Conflict, InvalidDocument, Unavailable
from mosaicfs_core.store import Store, intake
from mosaicfs_core.store.intake import NewFile, prepare
from mosaicfs_core.testing.store import file_document

VARIED = [
    file_document("/a/b/one.txt", mime_type="text/plain"),
    file_document("/top"),
    file_document("/a/gone", status="deleted"),
    file_document("/a/\U0010ffe9 STRASSE.PDF", size=20 << 20),
    file_document("/p/provided", provider="mail"),
    {**file_document("/a/own"), "inode": 123_456},
    {**file_document("/a/whole"), "size": 2.0},
]


def no_check(_: Any) -> None:
    """Takes every document."""


def through_the_tree(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, said so that the short way does not take it."""
    return {**document, "_deleted": False}


def everything(store: Store) -> list[list[tuple[Any, ...]]]:
    tables = ("documents", "directories", "counts", "inodes", "mimes", "nodes")
    found = [store.reader.rows(f"SELECT * FROM {table}") for table in tables]
    return [*found, store.reader.rows("SELECT rowid FROM names WHERE names MATCH 'str'")]


async def test_both_ways_leave_the_same(tmp_path: Path) -> None:
    assert all(isinstance(item, NewFile) for item in prepare(VARIED, no_check).items)
    around = [through_the_tree(document) for document in VARIED]
    assert not any(isinstance(item, NewFile) for item in prepare(around, no_check).items)
    left = []
    for name, documents in (("short", VARIED), ("tree", around)):
        store = await Store.open(tmp_path / name, validate=no_check)
        results = await store.bulk(documents)
        left.append((results, everything(store), await store.get_many([one["_id"] for one in VARIED])))
        await store.close()
    short, tree = left
    assert [sorted(map(repr, table)) for table in short[1][1:]] == [sorted(map(repr, table)) for table in tree[1][1:]]
    assert short[0] == tree[0]
    assert short[2] == tree[2]
    assert len(short[1][0]) == len(VARIED)


async def test_what_is_not_new_takes_the_other_way(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    first, again = file_document("/a"), file_document("/a", size=77)
    written, refused = await store.bulk([first, again])
    assert written.error is None
    assert isinstance(refused.error, Conflict)
    (refused,) = await store.bulk([again])
    assert isinstance(refused.error, Conflict)
    await store.put({"_id": first["_id"], "_rev": written.rev, "_deleted": True})
    (back,) = await store.bulk([again])
    assert back.rev is not None
    assert back.rev.startswith("3-")
    found = await store.get(first["_id"])
    assert found is not None
    assert found["size"] == 77
    await store.close()


async def test_bad_documents_hinder_no_others(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    bad = [{**file_document("/x"), "size": -1}, {**file_document("/y"), "mtime": "2026-02-31T00:00:00.000000Z"}]
    results = await store.bulk([*bad, file_document("/z"), {"_id": 5, "type": "file"}])
    assert [isinstance(result.error, InvalidDocument) for result in results[:3]] == [True, True, False]
    assert results[3].error is not None
    assert (await store.info()).documents == {"file": 1}
    await store.close()


async def test_a_large_batch_keeps_its_order(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    documents = [file_document(f"/d{number % 7}/{number}") for number in range(1_234)]
    results = await store.bulk(iter(documents))
    assert [result.id for result in results] == [document["_id"] for document in documents]
    assert [change.id async for change in store.changes()] == [document["_id"] for document in documents]
    await store.close()


async def test_a_closed_store_refuses_bulk_writes(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    await store.close()
    with pytest.raises(Unavailable):
        await store.bulk([file_document("/late")])


async def test_the_update_sequence_follows_the_order_of_the_batch(tmp_path: Path) -> None:
    """New files and documents that were there before are written in different ways."""
    async with await Store.open(tmp_path / "replica.db") as store:
        old, new, last = (file_document(f"/d/{name}") for name in ("old", "new", "last"))
        rev = await store.put(old)
        await store.bulk([{**old, "_rev": rev, "size": 7}, new])
        assert [change.id for change in store.reader.changes(1, 10)] == [old["_id"], new["_id"]]
        rev = (await store.get(old["_id"]) or {})["_rev"]
        await store.bulk([last, {**old, "_rev": rev, "size": 8}])
        assert [change.id for change in store.reader.changes(3, 10)] == [last["_id"], old["_id"]]


def received(document: dict[str, Any], generations: int) -> dict[str, Any]:
    """The document as it comes from another replica, with its history."""
    ids = [md5(f"{document['_id']} {number}".encode()).hexdigest() for number in range(generations, 0, -1)]
    return {**document, "_rev": f"{generations}-{ids[0]}", "_revisions": {"start": generations, "ids": ids}}


async def test_both_ways_leave_the_same_of_what_others_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [received(document, number + 1) for number, document in enumerate(VARIED)]
    assert all(isinstance(item, NewFile) for item in prepare(documents, no_check, new_edits=False).items)
    left = []
    for name in ("short", "tree"):
        if name == "tree":
            monkeypatch.setattr(intake, "_replicated_file", lambda *_: None)
        store = await Store.open(tmp_path / name, validate=no_check)
        results = await store.bulk(documents, new_edits=False)
        assert (await store.bulk(documents, new_edits=False)) == results
        leaves = [await store.open_revs(document["_id"]) for document in documents]
        left.append((results, everything(store), leaves))
        await store.close()
    short, tree = left
    assert [sorted(map(repr, table)) for table in short[1][1:]] == [sorted(map(repr, table)) for table in tree[1][1:]]
    assert (short[0], short[2]) == (tree[0], tree[2])
    assert [leaf["_revisions"] for (leaf,) in short[2]] == [document["_revisions"] for document in documents]


async def test_what_others_made_wrong_is_put_into_quarantine(tmp_path: Path) -> None:
    good, bad = received(file_document("/a/good"), 2), received({**file_document("/a/bad"), "size": -1}, 2)
    async with await Store.open(tmp_path / "replica.db") as store:
        assert [result.error for result in await store.bulk([good, bad], new_edits=False)] == [None, None]
        assert (await store.get(good["_id"])) is not None
        assert (await store.get(bad["_id"])) is None
        (leaf,) = await store.open_revs(bad["_id"])
        assert (leaf["_rev"], leaf["size"]) == (bad["_rev"], -1)


async def test_a_history_beyond_the_limit_is_cut_on_its_way_in(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "replica.db") as store:
        made = received(file_document("/a/often"), 1_500)
        await store.bulk([made], new_edits=False)
        (leaf,) = await store.open_revs(made["_id"])
        assert leaf["_revisions"] == {"start": 1_500, "ids": made["_revisions"]["ids"][:1_000]}


async def test_generations_beyond_all_reason_are_kept(tmp_path: Path) -> None:
    document, start = file_document("/a/old"), 10**14
    ids = [character * 32 for character in "cba"]
    made = {**document, "_rev": f"{start}-{ids[0]}", "_revisions": {"start": start, "ids": ids}}
    async with await Store.open(tmp_path / "replica.db") as store:
        (result,) = await store.bulk([made], new_edits=False)
        assert result.rev == made["_rev"]
        rev = await store.put({**document, "_rev": made["_rev"], "size": 1})
        (leaf,) = await store.open_revs(document["_id"])
        assert leaf["_revisions"] == {"start": start + 1, "ids": [rev.partition("-")[2], *ids]}
