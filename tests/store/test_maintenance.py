"""Protects compaction: the name index becomes one piece in bounded steps, and goes on finding the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mosaicfs_core.hooks import FileQuery
from mosaicfs_core.store import Reader, Store, maintenance, writer
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


async def test_a_large_log_is_cut_when_nothing_is_written_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(writer, "LOG_BYTES", 10_000)
    log = tmp_path / "replica.db-wal"
    async with await Store.open(tmp_path / "replica.db") as store:
        other = Reader.open(tmp_path / "replica.db")
        with other.snapshot():
            other.seq()
            await store.bulk([file_document(f"/note-{number}") for number in range(400)])
            await asyncio.sleep(0.3)  # what somebody reads stays, and nobody waits for it
            assert log.stat().st_size > 10_000
            await store.put(file_document("/another"))
        async with asyncio.timeout(10):
            while log.stat().st_size:  # noqa: ASYNC110 - a file, which tells nobody
                await asyncio.sleep(0.02)
        assert len(store.reader.search(FileQuery(text="note", limit=500)).items) == 400
        other.close()
