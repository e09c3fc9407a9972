"""The content cache and bytes that somebody else changed in its data files, at rest and at any moment."""

from __future__ import annotations

import asyncio
import os
import threading
import zlib
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from tests.content.bed import MIB, Bed, content, flip

from mosaicfs_core.content.cache import WHOLE_LIMIT, fetching

pytestmark = pytest.mark.logs("^a transfer failed|damaged|begins anew|^Error handling request")

BIG = WHOLE_LIMIT + 7 * MIB + 123


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


async def test_a_bit_that_flips_while_other_blocks_come_is_found(bed: Bed) -> None:
    """Our own writing leaves a new time on the file, which must not hide that somebody else wrote before."""
    data = content(BIG)
    file = bed.put("a", data)
    with await bed.open(file) as source:
        assert await source.read(0, MIB) == data[:MIB]

        def flipped(_: web.Request, body: bytes) -> bytes:
            flip(bed.data_files()[0], 5)
            return body

        bed.owner.disturb = flipped
        assert await source.read(20 * MIB, MIB) == data[20 * MIB : 21 * MIB]
        bed.owner.disturb = None
        assert await source.read(0, MIB) == data[:MIB]


@pytest.mark.parametrize("size", [2 * MIB + 5, BIG])
async def test_whoever_reads_for_himself_is_told_checksums_and_doubts(bed: Bed, size: int) -> None:
    """As the mount does: of the blocks asked for that are there; known in the next process once they have been seen."""
    data = content(size)
    file = bed.put("a", data)
    sums = tuple((block, zlib.crc32(data[block * MIB : (block + 1) * MIB])) for block in (1, 2))
    for _ in range(2):
        with await bed.open(file) as source:
            assert source.sums(MIB, 2 * MIB) == ()
            await source.ensure(MIB + 5, 2 * MIB - 5)
            assert source.sums(MIB + 5, 2 * MIB - 5) == sums
            assert source.sums(size + MIB, 100) == ()
            assert source.doubted == 0
            flip(bed.data_files()[0], MIB)
            await source.ensure(MIB, 1)
            assert (first := source.doubted) > 0
            source.doubt()
            assert source.doubted > first
            assert source.present == ()
            assert await source.read(MIB, 10) == data[MIB : MIB + 10]
        await bed.restart()


async def test_a_bit_that_flips_while_a_small_file_comes_is_found(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of its blocks, where it is not to be seen yet, and before it gets its name."""
    data = content(4 * MIB)
    for number, moment in enumerate(("write_blocks", "move_into_place")):
        file, work = bed.put(f"f{number}", data), getattr(fetching, moment)

        def flipped(*arguments: Any, work: Any = work) -> Any:
            for path in (bed.place / "tmp").iterdir():
                flip(path, 5)
            return work(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(fetching, moment, flipped)
            assert await bed.read(file) == data
        assert await bed.read(file) == data


async def test_a_bit_that_flips_while_we_write_another_block_is_found(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is gone with that of our write: nothing is vouched for until it has been compared once more."""
    data = content(BIG)
    file = bed.put("a", data)
    with await bed.open(file) as source:
        await source.ensure(0, MIB)
        work, once = os.pwrite, iter([True])

        def flipped(*arguments: Any) -> Any:
            if next(once, False):
                with monkeypatch.context() as patched:
                    patched.setattr(os, "pwrite", work)
                    flip(bed.data_files()[0], 5)
            return work(*arguments)

        monkeypatch.setattr(os, "pwrite", flipped)
        await source.ensure(20 * MIB, MIB)
        assert next(once, None) is None
        assert source.stamp == 0
        assert await source.read(0, MIB) == data[:MIB]
        await source.ensure(20 * MIB, MIB)
        await source.ensure(0, MIB)
        assert source.stamp == bed.data_files()[0].stat().st_ctime_ns


async def test_a_bit_that_flips_while_blocks_are_compared_is_found(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the back of who compared it a moment ago."""
    data = content(BIG)
    file = bed.put("a", data)
    assert await bed.read(file, 0, 2 * MIB) == data[: 2 * MIB]
    await bed.restart()
    work, once = fetching.agreeing, iter([True])

    def flipped(*arguments: Any) -> Any:
        good = work(*arguments)
        if next(once, False):
            flip(bed.data_files()[0], 5)
        return good

    monkeypatch.setattr(fetching, "agreeing", flipped)
    assert await bed.read(file, 0, 2 * MIB) == data[: 2 * MIB]
    assert next(once, None) is None


async def test_two_answers_for_a_file_are_written_one_after_the_other(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each would take the other's writing for somebody else's, or somebody else's for the other's."""
    data = content(BIG)
    file = bed.put("a", data)
    work, together, met = fetching.write_blocks, threading.Barrier(2), []

    def written(*arguments: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            together.wait(0.3)
            met.append(True)
        return work(*arguments)

    monkeypatch.setattr(fetching, "write_blocks", written)
    with await bed.open(file) as source:
        parts = await asyncio.gather(source.read(0, MIB), source.read(30 * MIB, MIB))
    assert parts == [data[:MIB], data[30 * MIB : 31 * MIB]]
    assert not met
