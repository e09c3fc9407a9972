"""Protects what arrives by replication: the fast way for new files leaves the same as the slow one, odd documents are
kept or refused by themselves and never hinder their batch, and a replica can forget what never was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosaicfs_core.errors import UserError
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import NODE, file_document, rule


def made(document: dict[str, Any], *digests: str, start: int | None = None) -> dict[str, Any]:
    """A revision made elsewhere; ``digests`` newest first."""
    start = len(digests) if start is None else start
    return {**document, "_rev": f"{start}-{digests[0]}", "_revisions": {"start": start, "ids": list(digests)}}


def digest(number: int) -> str:
    return f"{number:032x}"


PLAIN = file_document("/a/b.txt")
ODD: dict[str, dict[str, Any]] = {
    "usual": PLAIN,
    "with unknown fields": {**PLAIN, "later": {"x": [1, None]}, "mime_type": "text/plain"},
    "deleted softly": {**PLAIN, "status": "deleted", "deleted_at": PLAIN["mtime"]},
    "without status": {key: value for key, value in PLAIN.items() if key != "status"},
    "without mime type": {**PLAIN, "mime_type": None},
    "own inode": {**PLAIN, "inode": 4321},
    "size as a real number": {**PLAIN, "size": 1.0},
    "more source": {**PLAIN, "source": {**PLAIN["source"], "volume": 1}},
    "invalid": {**PLAIN, "size": -1},
    "another type": {**PLAIN, "type": "plugin"},
    "unknown type": {**PLAIN, "type": "future"},
    "no type": {key: value for key, value in PLAIN.items() if key != "type"},
    "huge number": {**PLAIN, "later": 10**30},
    "far year": {**PLAIN, "mtime": "9999-12-31T23:59:59.999999Z"},
    "no such day": {**PLAIN, "mtime": "2026-02-31T00:00:00.000000Z"},
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("length", [1, 3])
async def test_new_or_known_before_it_becomes_the_same(name: str, length: int, tmp_path: Path) -> None:
    document = msgspec.json.decode(msgspec.json.encode(ODD[name])) if name != "huge number" else ODD[name]
    sent = made(document, *[digest(number) for number in range(length, 0, -1)])
    good = made(file_document("/good"), digest(1))
    found = []
    for known in (False, True):
        async with await Store.open(tmp_path / f"{known}.db") as store:
            if known:  # a loser: the same id on a shorter branch of its own, forgotten again by deleting it
                await store.bulk([made({"_id": PLAIN["_id"], "type": "file"}, digest(0))], new_edits=False)
            results = await store.bulk([sent, good], new_edits=False)
            assert results[1].error is None
            assert await store.get(good["_id"]) is not None
            row = store.reader.row(PLAIN["_id"])
            refused = results[0].error is not None
            if refused:
                assert isinstance(results[0].error, UserError)
                found.append(None)
                continue
            assert row is not None
            leaf = await store.open_revs(PLAIN["_id"], [sent["_rev"]])
            assert leaf == [{**document, "_rev": sent["_rev"], "_revisions": sent["_revisions"]}]
            found.append((row[8] & 8, [text for _, _, text in store.reader.quarantined()]))
    assert found[0] == found[1]


@given(
    st.lists(
        st.tuples(st.sampled_from(["/a", "/b", "/c"]), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=6
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
async def test_in_any_batches_the_same(tmp_path_factory: pytest.TempPathFactory, given: list[Any]) -> None:
    sent = []
    for path, length, number in given:
        # A hash determines its history, as in life.
        digests = [digest(1_000 * number + generation) for generation in range(length, 0, -1)]
        sent.append(made(file_document(path, size=length * 10 + number), *digests))
    folder = tmp_path_factory.mktemp("stores")
    states = []
    for name, batches in (("one", [sent]), ("each", [[one] for one in sent])):
        async with await Store.open(folder / f"{name}.db") as store:
            for batch in batches:
                assert all(result.error is None for result in await store.bulk(batch, new_edits=False))
            states.append({one["_id"]: await store.open_revs(one["_id"]) for one in sent})
            assert [change.id for change in store.reader.changes(0, 99)] != []
    assert states[0] == states[1]


async def test_a_long_history_is_cut_to_the_limit(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "replica.db") as store:
        await store.set_revs_limit(3)
        sent = made(PLAIN, *[digest(number) for number in range(9, 0, -1)])
        await store.bulk([sent], new_edits=False)
        (leaf,) = await store.open_revs(PLAIN["_id"])
        assert leaf["_revisions"] == {"start": 9, "ids": [digest(9), digest(8), digest(7)]}


async def test_an_older_revision_can_replace_everything_known(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "replica.db") as store:
        document = {**PLAIN, "name": PLAIN["name"]}
        rev = await store.put(document)
        await store.put({**document, "_rev": rev, "size": 2})
        await store.bulk([made({**document, "size": 3}, digest(7), digest(6), rev[2:])], new_edits=False)
        await store.put(rule("/x/", "red", uuid="00000000-0000-4000-8000-000000000000"))
        assert len(await store.open_revs(document["_id"])) == 2
        (old,) = [made(document, rev[2:])]
        seq = store.reader.seq()
        results = await store.transaction(lambda tx: tx.replace([old]))
        assert [result.rev for result in results] == [rev]
        assert await store.open_revs(document["_id"]) == [old]
        assert await store.get(document["_id"]) == {**document, "_rev": rev}
        info = await store.info()
        assert (info.conflicts, info.update_seq) == (0, seq + 1)
        row = store.reader.file_by_path(NODE, "/a/b.txt")
        assert row is not None
        assert row.size == 1
        # It may also become a lone tombstone, and come back under a revision that was known once.
        gone = made({"_id": document["_id"], "type": "file", "_deleted": True}, digest(1))
        await store.transaction(lambda tx: tx.replace([gone]))
        assert await store.get(document["_id"]) is None
        assert store.reader.file_by_path(NODE, "/a/b.txt") is None
        await store.bulk([old], new_edits=False)
        assert await store.get(document["_id"]) == {**document, "_rev": rev}


async def test_several_leaves_replace_what_is_known(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "replica.db") as store:
        await store.put(PLAIN)
        leaves = [made({**PLAIN, "size": number}, digest(number)) for number in (5, 4)]
        await store.transaction(lambda tx: tx.replace(leaves))
        assert await store.open_revs(PLAIN["_id"]) == leaves
        assert (await store.info()).conflicts == 1
