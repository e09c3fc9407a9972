"""The content cache and its room: what goes when it is full, and what stays."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.content.bed import MIB, content

from mosaicfs_core.content.cache import WHOLE_LIMIT
from mosaicfs_core.errors import Unavailable

pytestmark = pytest.mark.logs("^a transfer failed|damaged|begins anew|^Error handling request")

BIG = WHOLE_LIMIT + 7 * MIB + 123


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


async def test_forty_readers_of_a_film_in_a_full_cache(make_bed: Any) -> None:
    """At forty places at once, which is more than is held for any of them, and the last ones leave early."""
    bed = await make_bed(capacity=0)
    data = content(BIG)
    places = [(number * 17 * MIB // 10) % (BIG - MIB) for number in range(40)]
    with await bed.open(bed.put("film", data)) as film:
        readers = [asyncio.create_task(film.read(place, MIB)) for place in places]
        leaving = [asyncio.create_task(film.read(place, MIB)) for place in places[:5]]
        await asyncio.sleep(0)
        for reader in leaving:
            reader.cancel()
        for place, part in zip(places, await asyncio.gather(*readers), strict=True):
            assert part == data[place : place + MIB]
        assert film._past is not None
        assert len(film._past._held) <= 8


async def test_readers_of_a_file_that_is_closed_are_told(make_bed: Any) -> None:
    bed = await make_bed(capacity=0)
    film = await bed.open(bed.put("film", content(BIG)))
    await film.read(0, 1)
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def hold(_: Any, body: bytes) -> bytes:
        arrived.set()
        await answer.wait()
        return body

    bed.owner.disturb = hold
    reader = asyncio.create_task(film.read(20 * MIB, MIB))
    await arrived.wait()
    film.close()
    with pytest.raises(Unavailable, match="closed"):
        await reader
    answer.set()


async def test_free_space_is_kept(make_bed: Any) -> None:
    bed = await make_bed(minimum_free=1 << 60)
    data = content(MIB)
    assert await bed.read(bed.put("a", data)) == data
    assert bed.data_files() == []
