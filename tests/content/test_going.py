"""What goes from a full cache: what was used longest ago and nobody wants to stay, found without a look at the rest."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from tests.content.bed import OWNER, Bed

from mosaicfs_core.content.cache import index as cache_index
from mosaicfs_core.content.cache import schema
from mosaicfs_core.content.cache.index import Index
from mosaicfs_core.content.cache.layout import BLOCK, INDEX, Row, cache_key
from mosaicfs_core.content.cache.pins import PinRow
from mosaicfs_core.hooks import FileRecord

FORMER = """CREATE TABLE entries (
    id           INTEGER PRIMARY KEY,   -- names the data file, together with cache_key
    cache_key    TEXT NOT NULL UNIQUE,  -- sha256 of "node_id::export_path", hexadecimal
    node_id      TEXT NOT NULL,
    export_path  TEXT NOT NULL,
    file_id      TEXT NOT NULL,
    file_size    INTEGER NOT NULL,
    mtime        INTEGER NOT NULL,
    etag         TEXT NOT NULL,
    sha256       BLOB,
    block_size   INTEGER NOT NULL,
    block_map    BLOB NOT NULL,
    cached_bytes INTEGER NOT NULL,
    last_access  INTEGER NOT NULL,
    source       TEXT NOT NULL          -- remote, or plugin:NAME
);"""


def row(number: int, size: int = 10) -> Row:
    """An entry that was used before all with greater numbers."""
    path = f"/{number}"
    key = cache_key(OWNER, path)
    return Row(number, key, OWNER, path, f"{OWNER}.{number}", size, 0, '"e"', None, BLOCK, b"", size, number, "remote")


def pin(entry: Row, holder: str = "pins") -> PinRow:
    return PinRow(holder, entry.cache_key, entry.node_id, entry.export_path)


async def ids(index: Index, lacking: int, *staying: int) -> list[int]:
    return [entry.id for entry in await index.to_go(lacking, staying)]


async def test_the_oldest_that_may_go_and_no_more_than_are_needed(tmp_path: Path) -> None:
    index = Index(tmp_path)
    await index.open()
    await index.put_pins([pin(row(1)), pin(row(3)), pin(row(3), "others")])
    for number in (5, 4, 3, 2, 1):
        await index.insert(row(number), {})
    assert await index.unpinned_bytes() == 30
    assert await ids(index, 1) == [2]
    assert await ids(index, 11) == [2, 4]
    assert await ids(index, 11, 2) == [4, 5]
    assert await ids(index, 31) == []
    await index.touch(2, 99)
    assert await ids(index, 1) == [4]
    await index.put_pins([pin(row(4))])
    assert await ids(index, 1) == [5]
    await index.delete_pin("pins", row(1).cache_key)
    await index.delete_pin("pins", row(3).cache_key)
    assert await ids(index, 1) == [1]
    await index.delete_pins("others")
    assert await ids(index, 20) == [1, 3]
    await index.close()


async def test_of_pinned_entries_nothing_is_read(tmp_path: Path) -> None:
    index = Index(tmp_path)
    await index.open()
    seen: list[str] = []
    await index.run(lambda db: db.set_trace_callback(seen.append))
    await index.to_go(1, ())
    (asked,) = [sql for sql in seen if "pinned" in sql]
    plan = await index.run(lambda db: db.execute(f"EXPLAIN QUERY PLAN {asked}").fetchall())
    assert [step[-1] for step in plan] == ["SEARCH entries USING COVERING INDEX entries_to_go (pinned=?)"]
    await index.close()


async def test_the_index_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    index = Index(tmp_path)
    await index.open()
    await index.put_pins([pin(row(1))])
    await index.run(lambda db: db.executemany(cache_index._INSERT, [row(1), row(2)]))
    await index.close()
    with sqlite3.connect(tmp_path / INDEX) as db:
        columns = ", ".join(Row._fields)
        db.executescript(f"""ALTER TABLE entries RENAME TO later; DROP INDEX entries_to_go; {FORMER}
            INSERT INTO entries ({columns}) SELECT {columns} FROM later; DROP TABLE later;
            CREATE INDEX entries_by_access ON entries (last_access); PRAGMA user_version = 1""")
    db.close()
    again = Index(tmp_path)
    rows, pins = await again.open()
    assert ([entry.id for entry in rows], pins) == ([1, 2], [pin(row(1))])
    assert await ids(again, 1) == [2]
    assert await again.run(lambda db: db.execute("PRAGMA user_version").fetchone()) == (schema.VERSION,)
    await again.close()


async def test_who_compares_many_entries_lets_others_do_their_work(bed: Bed) -> None:
    rows = [row(number, 0) for number in range(1, 1001)]
    await bed.cache._index.run(lambda db: db.executemany(cache_index._INSERT, rows))
    turns, most, asked = 0, 0, 0

    def now(file_id: str) -> FileRecord:
        nonlocal turns, most, asked
        asked = 1 if turns else asked + 1
        turns, most = 0, max(most, asked)
        number = file_id.rpartition(".")[2]
        return FileRecord(
            file_id=file_id, node_id=OWNER, export_path=f"/{number}", name=number, size=0, mtime=0, inode=1000
        )

    comparing = asyncio.create_task(bed.cache.compare(now))
    while not comparing.done():
        turns += 1
        await asyncio.sleep(0)
    assert comparing.result() == 0
    assert most <= 100
