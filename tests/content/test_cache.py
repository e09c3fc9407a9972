"""The content cache over real HTTP: whatever owner and disk do, a byte served is a byte of the right version."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from tests.content.bed import MIB, Bed, content

from mosaicfs_core.content.cache import BLOCK, WHOLE_LIMIT
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
