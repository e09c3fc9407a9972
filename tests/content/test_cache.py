"""The content cache over real HTTP: whatever owner and disk do, a byte served is a byte of the right version."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.content.bed import MIB, Bed, content

from mosaicfs_core.content.cache import BLOCK, WHOLE_LIMIT
from mosaicfs_core.content.cache import index as cache_index
from mosaicfs_core.errors import NotFound, Stale, Unavailable

pytestmark = pytest.mark.logs("^a transfer failed|damaged|begins anew|^Error handling request")

BIG = WHOLE_LIMIT + 7 * MIB + 123


# Whole files.


async def test_a_small_file_comes_whole_once(bed: Bed) -> None:
    data = content(3 * MIB + 17)
    file = bed.put("a", data)
    assert bed.owner.requests == []
    assert await bed.read(file, 10, 100) == data[10:110]
    assert await bed.read(file) == data
    assert bed.owner.gets() == [""]
    (path,) = bed.data_files()
    assert path.read_bytes() == data
    assert list((bed.place / "tmp").iterdir()) == []
    await bed.restart()
    assert await bed.read(file) == data
    assert bed.owner.gets() == [""]


async def test_opening_asks_nobody(bed: Bed) -> None:
    file = bed.put("a", b"x")
    with await bed.open(file) as source:
        assert source.size == 1
    assert bed.owner.requests == []
    assert bed.data_files() == []


async def test_an_empty_file(bed: Bed) -> None:
    file = bed.put("empty", b"")
    assert await bed.read(file) == b""
    with await bed.open(file) as source:
        await source.ensure(0, 0)
        assert source.sha256 is not None
    await bed.restart()
    assert await bed.read(file) == b""


async def test_a_hundred_readers_of_an_uncached_file_share_one_fetch(bed: Bed) -> None:
    data = content(2 * MIB)
    file = bed.put("a", data)
    found = await asyncio.gather(*(bed.read(file) for _ in range(100)))
    assert set(found) == {data}
    assert bed.owner.gets() == [""]
    assert bed.owner.sent == len(data)


async def test_the_digest_is_asked_for_when_no_header_tells_it(bed: Bed) -> None:
    bed.owner.digests = False
    file = bed.put("a", b"bytes")
    assert await bed.read(file) == b"bytes"
    assert ("DIGEST", "") in bed.owner.requests


async def test_through_a_relay_that_knows_no_digest_it_comes_by_blocks(bed: Bed) -> None:
    bed.routes = [replace(bed.routes[0], relay=True)]
    bed.owner.digests = False
    data = content(20 * MIB + 1)
    file = bed.put("a", data)
    assert await bed.read(file) == data
    assert bed.cache.usage.fetched == len(data), "it comes once"
    assert await bed.read(file) == data
    assert bed.owner.gets() == ["", *bed.owner.gets()[1:]]
    assert bed.data_files()[0].read_bytes() == data
    await bed.restart()
    bed.owner.requests.clear()
    assert await bed.read(file) == data
    assert bed.owner.gets() == []


async def test_a_damaged_file_is_discarded_and_fetched_again(bed: Bed) -> None:
    data = content(2 * MIB)
    file = bed.put("a", data)
    attempts = 0

    def damage(_: web.Request, body: bytes) -> bytes:
        nonlocal attempts
        attempts += 1
        return body[:-1] + bytes([body[-1] ^ 1]) if attempts == 1 else body

    bed.owner.disturb = damage
    assert await bed.read(file) == data
    assert attempts == 2


async def test_a_file_that_never_arrives_whole_is_refused(bed: Bed) -> None:
    file = bed.put("a", content(MIB))
    bed.owner.disturb = lambda _, body: bytes(len(body))
    with pytest.raises(Unavailable, match="whole"):
        await bed.read(file)
    bed.owner.disturb, bed.owner.cut = None, 1000
    with pytest.raises(Unavailable):
        await bed.read(file)
    await bed.settled()
    assert bed.data_files() == []
    assert list((bed.place / "tmp").iterdir()) == []


# Files in blocks.


async def test_a_big_file_comes_by_blocks(bed: Bed) -> None:
    data = content(BIG)
    file = bed.put("big", data)
    with await bed.open(file) as source:
        assert await source.read(20 * MIB + 5, 10) == data[20 * MIB + 5 : 20 * MIB + 15]
        assert await source.read(BIG - 3, 100) == data[-3:]
        assert await source.read(BIG, 10) == b""
        assert source.present == ((20 * MIB, 21 * MIB), (BIG // BLOCK * BLOCK, BIG))
        assert source.descriptor is not None
        assert os.pread(source.descriptor, 10, 20 * MIB) == data[20 * MIB : 20 * MIB + 10]
    assert bed.owner.sent == BLOCK + BIG % BLOCK
    await bed.restart()
    assert await bed.read(file, 20 * MIB, MIB) == data[20 * MIB : 21 * MIB]
    assert bed.owner.sent == BLOCK + BIG % BLOCK
    assert await bed.read(file) == data


async def test_a_sequential_reader_is_read_ahead_for_in_few_requests(bed: Bed) -> None:
    data = content(BIG)
    file = bed.put("big", data)
    assert await bed.read(file) == data
    assert bed.owner.sent == BIG
    assert len(bed.owner.gets()) < BIG // BLOCK / 2


async def test_a_hundred_readers_of_one_uncached_range_share_one_fetch(bed: Bed) -> None:
    data = content(BIG)
    file = bed.put("big", data)
    with await bed.open(file) as source:
        found = await asyncio.gather(*(source.read(10 * MIB + 100 * n, 100) for n in range(100)))
    assert b"".join(found) == data[10 * MIB : 10 * MIB + 10_000]
    assert bed.owner.gets() == [f"bytes={10 * MIB}-{11 * MIB - 1}"]


async def test_missing_blocks_with_small_gaps_come_in_one_request(bed: Bed) -> None:
    data = content(BIG)
    file = bed.put("big", data)
    with await bed.open(file) as source:
        await source.read(11 * MIB, 1)
    bed.owner.requests.clear()
    with await bed.open(file) as source:
        assert await source.read(10 * MIB, 3 * MIB) == data[10 * MIB : 13 * MIB]
    assert bed.owner.gets() == [f"bytes={10 * MIB}-{13 * MIB - 1}"]


async def test_damaged_and_broken_off_blocks_come_again(bed: Bed) -> None:
    data = content(BIG)
    file = bed.put("big", data)
    troubles = ["damage", "cut", "", ""]

    def disturb(_: web.Request, body: bytes) -> bytes:
        trouble = troubles.pop(0)
        bed.owner.cut = 1000 if trouble == "cut" else None
        return b"\0" + body[1:] if trouble == "damage" else body

    bed.owner.disturb = disturb
    with await bed.open(file) as source:
        assert await source.read(5 * MIB, 100) == data[5 * MIB : 5 * MIB + 100]
    assert len(bed.owner.gets()) == 3


async def test_a_file_is_filled_for_later(bed: Bed) -> None:
    small, big, empty = bed.put("a", content(MIB)), bed.put("big", content(BIG)), bed.put("e", b"")
    for file in (small, big, empty):
        await bed.cache.fill(file)
    await bed.owner.stop()
    assert await bed.read(big) == content(BIG)
    assert await bed.read(small) == content(MIB)
    with pytest.raises(Unavailable):
        await bed.cache.fill(bed.put("other", b"x"))


# Versions.


@pytest.mark.parametrize("size", [MIB, BIG])
async def test_a_changed_document_makes_the_entry_invalid(bed: Bed, size: int) -> None:
    old, new = content(size, 1), content(size, 2)
    file = bed.put("a", old)
    assert await bed.read(file, 0, 1000) == old[:1000]
    changed = bed.put("a", new, mtime=2_000_000)
    with await bed.open(file) as source:
        assert await source.read(0, 1000) == old[:1000]
        assert await bed.read(changed, 0, 1000) == new[:1000]
        assert await source.read(0, 1000) == old[:1000], "who has the old version open keeps it"
    await bed.settled()
    assert len(bed.data_files()) == 1


async def test_readers_that_meet_a_change_together_get_the_new_version(bed: Bed) -> None:
    old, new = content(MIB, 1), content(MIB, 2)
    file = bed.put("a", old)
    for restart in (False, True):
        assert await bed.read(file) == old
        if restart:
            await bed.restart()
        changed = bed.put("a", new, mtime=2_000_000)
        found = await asyncio.gather(*(bed.read(changed) for _ in range(20)))
        assert set(found) == {new}
        file = bed.put("a", old, mtime=3_000_000)


async def test_a_file_changed_while_it_is_read_is_never_mixed(bed: Bed) -> None:
    old, new = content(BIG, 1), content(BIG, 2)
    file = bed.put("big", old)
    with await bed.open(file) as source:
        assert await source.read(0, MIB) == old[:MIB]
        bed.put("big", new)  # and no document tells of it
        with pytest.raises(Stale):
            await source.read(30 * MIB, MIB)
        assert await source.read(0, MIB) == old[:MIB]
        with pytest.raises(Stale):
            await source.read(31 * MIB, MIB)
        assert await bed.read(file, 0, 2 * MIB) == new[: 2 * MIB]


async def test_what_the_owner_has_is_served_when_its_document_has_not_come_yet(bed: Bed) -> None:
    file = bed.put("a", b"first")
    bed.put("a", b"the second, longer")
    assert await bed.read(file) == b"the second, longer"
    assert bed.data_files() == []


async def test_gone_at_the_owner(bed: Bed) -> None:
    file = bed.put("a", b"x")
    bed.owner.files.clear()
    with pytest.raises(NotFound):
        await bed.read(file)


# Routes.


async def test_no_way_to_the_owner(bed: Bed) -> None:
    bed.routes = []
    with pytest.raises(Unavailable, match="no way to node-owner"):
        await bed.read(bed.put("a", b"x"))


@pytest.mark.parametrize("size", [MIB, BIG])
async def test_an_owner_that_says_nothing_is_given_up_soon(make_bed: Any, size: int) -> None:
    bed = await make_bed()
    bed.patience_s = 0.2
    await bed.restart()
    file = bed.put("a", content(size))
    silent = asyncio.Event()

    async def wait(_: web.Request, body: bytes) -> bytes:
        await silent.wait()
        return body

    bed.owner.disturb = wait
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable, match="does not answer"):
            await bed.read(file)
    silent.set()


async def test_an_owner_that_vanishes_between_blocks(bed: Bed) -> None:
    data = content(BIG)
    file = bed.put("big", data)
    with await bed.open(file) as source:
        assert await source.read(0, MIB) == data[:MIB]
        await bed.owner.stop()
        with pytest.raises(Unavailable):
            await source.read(40 * MIB, 1)
        assert await source.read(0, MIB) == data[:MIB]


# The disk.


@pytest.mark.parametrize("size", [2 * MIB, BIG])
async def test_a_flipped_bit_on_disk_is_found_and_mended(bed: Bed, size: int) -> None:
    data = content(size)
    file = bed.put("a", data)
    with await bed.open(file) as source:
        assert await source.read(0, 2 * MIB) == data[: 2 * MIB]
        flip(bed.data_files()[0], MIB + 5)
        assert await source.read(MIB, MIB) == data[MIB : 2 * MIB], "while it is open"
    flip(bed.data_files()[0], MIB + 5)
    assert await bed.read(file, MIB, MIB) == data[MIB : 2 * MIB], "when it is opened again"
    await bed.cache.close()
    flip(bed.data_files()[0], 5)
    await bed.open_cache()
    assert await bed.read(file, 0, 2 * MIB) == data[: 2 * MIB], "after a restart"


@pytest.mark.parametrize("size", [2 * MIB, BIG])
async def test_a_data_file_cut_off_or_deleted(bed: Bed, size: int) -> None:
    data = content(size)
    file = bed.put("a", data)
    with await bed.open(file) as source:
        assert await source.read(0, 2 * MIB) == data[: 2 * MIB]
        os.truncate(bed.data_files()[0], 100)
        assert await source.read(0, 2 * MIB) == data[: 2 * MIB]
        bed.data_files()[0].unlink()
        assert await source.read(0, 2 * MIB) == data[: 2 * MIB]
        assert await bed.read(file, 0, MIB) == data[:MIB]
    await bed.settled()
    bed.data_files()[0].unlink()
    assert await bed.read(file, 0, MIB) == data[:MIB]
    assert len(bed.data_files()) == 1


@pytest.mark.parametrize("how", ["deleted", "emptied", "scribbled", "replaced"])
async def test_an_index_that_is_lost_under_a_running_cache(bed: Bed, how: str) -> None:
    files = [(bed.put(f"f{n}", data), data) for n in range(20) if (data := content(100_000, n))]
    for file, data in files:
        assert await bed.read(file) == data
    index = bed.place / "index.db"
    with await bed.open(files[0][0]) as source:
        if how == "deleted":
            index.unlink()
        elif how == "replaced":
            index.rename(index.with_name("old"))
            index.write_bytes(b"no database")
        else:
            scribble(index, empty=how == "emptied")
            for path in bed.place.glob("index.db-*"):
                path.write_bytes(b"")
        for file, data in files:
            assert await bed.read(file) == data
        assert await source.read(0, 100_000) == files[0][1]
    await bed.restart()
    for file, data in files:
        assert await bed.read(file) == data


async def test_start_up_removes_what_belongs_to_nobody(bed: Bed) -> None:
    data = content(MIB)
    file, other = bed.put("a", data), bed.put("b", content(MIB, 2))
    await bed.read(file)
    await bed.read(other)
    await bed.cache.close()
    kept, lost = bed.data_files()
    lost.unlink()
    (kept.parent / f"{kept.stem}.999").write_bytes(b"orphan")
    (bed.place / "tmp" / "half").write_bytes(b"half")
    await bed.open_cache()
    assert bed.data_files() == [kept]
    assert list((bed.place / "tmp").iterdir()) == []
    assert (bed.cache.usage.entries, bed.cache.usage.cached_bytes) == (1, MIB)


async def test_an_index_from_the_future_begins_anew(bed: Bed) -> None:
    await bed.read(bed.put("a", b"x"))
    await bed.cache.close()
    with sqlite3.connect(bed.place / "index.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    await bed.open_cache()
    assert bed.cache.usage.entries == 0
    assert bed.data_files() == []


@pytest.mark.logs("^the cache's index cannot be opened now: database is locked")
async def test_a_locked_index_costs_nothing_that_is_there(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process has it, files are read all the same; then all that was there is there, pins included."""
    monkeypatch.setattr(cache_index, "PATIENCE_S", 0.05)
    monkeypatch.setattr(cache_index, "RETRY_S", 0.05)
    data = content(5 * MIB)
    file, other = bed.put("a", data), bed.put("b", content(MIB, 2))
    await bed.read(file)
    await bed.cache.pin(file, "pins")
    await bed.cache.close()
    before = bed.data_files()
    other_process = sqlite3.connect(bed.place / "index.db", isolation_level=None)
    other_process.execute("BEGIN")
    other_process.execute("SELECT COUNT(*) FROM entries").fetchone()
    await bed.open_cache()
    assert await bed.read(other) == content(MIB, 2)
    assert await bed.read(file, 0, 100) == data[:100]
    assert bed.cache.usage.cached_bytes >= len(data), "what is there takes up room"
    with pytest.raises(Unavailable):
        await bed.cache.pinned("pins")
    with pytest.raises(Unavailable):
        await bed.cache.pin(other, "pins")
    assert set(before) <= set(bed.data_files())
    other_process.close()
    await asyncio.sleep(0.06)
    assert [held.whole for held in await bed.cache.held([file, other])] == [True, False]
    assert [place.export_path for place in await bed.cache.pinned("pins")] == ["/files/a"]
    await bed.settled()
    assert (bed.data_files(), bed.cache.usage.cached_bytes) == (before, len(data))
    bed.owner.requests.clear()
    assert await bed.read(file) == data
    assert bed.owner.requests == []


async def test_who_holds_the_index_for_a_moment_is_waited_for(bed: Bed) -> None:
    """As the mount does when it reads the cache while no agent runs."""
    file = bed.put("a", content(MIB))
    await bed.read(file)
    await bed.cache.close()
    reader = sqlite3.connect(bed.place / "index.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM entries").fetchone()
    opening = asyncio.create_task(bed.open_cache())
    await asyncio.sleep(0.2)
    reader.close()
    await opening
    assert (await bed.cache.held([file]))[0].whole


def scribble(path: Path, *, empty: bool) -> None:
    with open(path, "r+b") as file:
        if empty:
            file.truncate(0)
        file.write(os.urandom(40_000))


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


# Room.


async def test_the_least_recently_used_makes_room(make_bed: Any) -> None:
    bed = await make_bed(capacity=3 * MIB)
    files = [bed.put(f"f{n}", content(MIB, n)) for n in range(4)]
    for file in files[:3]:
        await bed.read(file)
    await bed.read(files[0])
    await bed.read(files[3])
    assert bed.cache.usage.cached_bytes == 3 * MIB
    bed.owner.requests.clear()
    for number in (0, 2, 3):
        assert await bed.read(files[number]) == content(MIB, number)
    assert bed.owner.gets() == []
    await bed.read(files[1])
    assert bed.owner.gets() == [""]


async def test_open_and_pinned_entries_stay_and_reading_goes_on_past_the_cache(make_bed: Any) -> None:
    bed = await make_bed(capacity=3 * MIB)
    files = [bed.put(f"f{n}", content(MIB, n)) for n in range(5)]
    await bed.cache.pin(files[0], "pins")
    await bed.read(files[0])
    with await bed.open(files[1]) as first, await bed.open(files[2]) as second:
        await first.read(0, 1)
        await second.read(0, 1)
        kept = bed.data_files()
        assert await bed.read(files[3]) == content(MIB, 3)
        with await bed.open(files[4]) as third:
            assert await third.read(5, 100) == content(MIB, 4)[5:105]
            assert third.descriptor is None
        assert bed.data_files() == kept
    await bed.read(files[3])
    assert kept[0].exists() or kept[1].exists()
    bed.owner.requests.clear()
    assert await bed.read(files[0]) == content(MIB, 0)
    assert bed.owner.gets() == []


async def test_a_film_larger_than_the_cache_plays(make_bed: Any) -> None:
    bed = await make_bed(capacity=10 * MIB)
    data = content(BIG)
    assert await bed.read(bed.put("film", data)) == data
    assert bed.cache.usage.cached_bytes <= 10 * MIB


async def test_free_space_is_kept(make_bed: Any) -> None:
    bed = await make_bed(minimum_free=1 << 60)
    data = content(MIB)
    assert await bed.read(bed.put("a", data)) == data
    assert bed.data_files() == []


# Documents.


async def test_entries_go_with_their_documents(bed: Bed) -> None:
    kept, changed, gone = (bed.put(name, name.encode() * 100) for name in ("kept", "changed", "gone"))
    for file in (kept, changed, gone):
        await bed.read(file)
    now = {kept.file_id: kept, changed.file_id: bed.put("changed", b"other", mtime=5)}
    assert await bed.cache.changed([kept.file_id, changed.file_id, gone.file_id, "x.y"], now.get) == 2
    assert await bed.cache.compare(now.get) == 0
    await bed.settled()
    assert len(bed.data_files()) == 1
    with await bed.open(kept) as source:
        await source.read(0, 1)
        assert await bed.cache.compare({}.get) == 1
        assert await source.read(0, 400) == b"kept" * 100
