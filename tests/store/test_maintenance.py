"""Protects compaction: the name index becomes one piece in bounded steps, and goes on finding the same."""

from __future__ import annotations

from pathlib import Path

from mosaicfs_core.hooks import FileQuery
from mosaicfs_core.store import Store, maintenance
from mosaicfs_core.testing.store import file_document


def segments(store: Store) -> int:
    return int(store.reader._connection.execute("SELECT count(DISTINCT segid) FROM names_idx").fetchone()[0])


def found(store: Store) -> list[str]:
    return sorted(file.name for file in store.reader.search(FileQuery(text="note", limit=500)).items)


async def test_the_name_index_is_merged_into_one(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "replica.db") as store:
        for number in range(6):
            await store.bulk([file_document(f"/d{number}/note-{number}-{part}") for part in range(40)])
        gone = await store.get(file_document("/d0/note-0-0")["_id"])
        assert gone is not None
        await store.put({**gone, "_deleted": True})
        before = found(store)
        assert len(before) == 239
        assert segments(store) > 1
        await store.compact()
        assert segments(store) == 1
        assert found(store) == before


async def test_merging_ends_when_there_is_nothing_left(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "replica.db") as store:
        await store.bulk([file_document(f"/note-{number}") for number in range(40)])
        await store.compact()
        assert not await store.transaction(lambda tx: maintenance._merge_names(tx, maintenance.MERGE_PAGES))
