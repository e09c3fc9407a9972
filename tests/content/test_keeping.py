"""Pinned files: fetched whole, never evicted, known after a restart, and never at the expense of who reads."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from tests.content.bed import MIB, OWNER, Bed, content

from mosaicfs_core.content.cache import WHOLE_LIMIT, fetching, startup
from mosaicfs_core.content.cache.layout import cache_key
from mosaicfs_core.content.keeping import Keeper
from mosaicfs_core.errors import NoRoom, Stale, Unavailable
from mosaicfs_core.hooks import FilePlace, FileRecord, Held

BIG = WHOLE_LIMIT + 5 * MIB


def place(file: FileRecord) -> FilePlace:
    return FilePlace(file.node_id, file.export_path)


def keeper(bed: Bed) -> Keeper:
    return Keeper("node-me", bed.cache)


async def test_a_pinned_file_is_whole_and_can_be_read_without_its_owner(bed: Bed) -> None:
    kept = keeper(bed)
    files = [bed.put("small", content(MIB + 5)), bed.put("big", content(BIG)), bed.put("empty", b"")]
    assert [held.whole for held in await kept.held(files)] == [False, False, False]
    for file in files:
        await kept.pin(file, "pins")
    assert await kept.held(files) == [Held(file.size, file.size, True) for file in files]
    await bed.owner.stop()
    await bed.restart()
    assert await keeper(bed).held(files) == [Held(file.size, file.size, True) for file in files]
    assert await bed.read(files[0]) == content(MIB + 5)
    assert await bed.read(files[1]) == content(BIG)
    await keeper(bed).pin(files[1], "pins")


async def test_files_of_this_node_are_here(bed: Bed) -> None:
    own = Keeper("node-owner", bed.cache)
    file = bed.put("a", b"x")
    await own.pin(file, "pins")
    assert await own.held([file]) == [Held(1, 1, True)]
    assert (await own.pinned("pins"), bed.owner.requests) == ([], [])


async def test_pins_survive_a_restart_and_go_with_their_last_holder(make_bed: Any) -> None:
    bed = await make_bed(capacity=2 * MIB)
    kept, other = bed.put("kept", content(MIB)), bed.put("other", content(MIB, 2))
    for holder in ("one", "two"):
        await keeper(bed).pin(kept, holder)
    await bed.restart()
    assert await keeper(bed).pinned("one") == await keeper(bed).pinned("two") == [place(kept)]
    await bed.read(other)
    await bed.read(bed.put("third", content(MIB, 3)))
    assert (await keeper(bed).held([kept]))[0].whole
    await keeper(bed).unpin(place(kept), "one")
    await keeper(bed).keep_only({"one"})
    assert len(bed.cache.pins) == 0
    await bed.restart()
    assert len(bed.cache.pins) == 0
    await bed.read(other)
    await bed.read(bed.put("fourth", content(MIB, 4)))
    assert not (await keeper(bed).held([kept]))[0].whole


async def test_what_does_not_fit_is_refused_before_a_byte_is_fetched_and_nothing_is_evicted(make_bed: Any) -> None:
    bed = await make_bed(capacity=4 * MIB)
    kept, read = bed.put("kept", content(2 * MIB)), bed.put("read", content(MIB, 2))
    large = bed.put("large", content(3 * MIB))
    await keeper(bed).pin(kept, "pins")
    await bed.read(read)
    bed.owner.requests.clear()
    with pytest.raises(NoRoom) as refused:
        await keeper(bed).pin(large, "pins")
    assert refused.value.missing == MIB
    assert bed.owner.requests == []
    assert [held.whole for held in await keeper(bed).held([kept, read])] == [True, True]
    await keeper(bed).unpin(place(kept), "pins")
    await keeper(bed).pin(large, "pins")
    assert [held.whole for held in await keeper(bed).held([kept, large])] == [False, True]


async def test_a_read_that_does_not_fit_does_not_empty_the_cache(make_bed: Any) -> None:
    bed = await make_bed(capacity=4 * MIB)
    small, large = bed.put("small", content(MIB)), bed.put("large", content(5 * MIB))
    await bed.read(small)
    assert await bed.read(large) == content(5 * MIB)
    assert (await keeper(bed).held([small]))[0].whole


async def test_the_disk_is_never_filled_below_its_minimum(make_bed: Any) -> None:
    bed = await make_bed(minimum_free=1 << 60)
    with pytest.raises(NoRoom):
        await keeper(bed).pin(bed.put("a", content(MIB)), "pins")
    assert bed.data_files() == []


async def test_another_version_is_another_file(bed: Bed) -> None:
    old = bed.put("a", content(MIB))
    await keeper(bed).pin(old, "pins")
    new = bed.put("a", content(2 * MIB), mtime=5)
    assert await keeper(bed).held([new]) == [Held(0, 2 * MIB, False)]
    await keeper(bed).pin(new, "pins")
    assert (await keeper(bed).held([new]))[0].whole
    bed.put("a", content(3 * MIB), mtime=6)
    later = msgspec.structs.replace(new, mtime=6)
    with pytest.raises(Stale):
        await keeper(bed).pin(later, "pins")


@pytest.mark.logs("begins anew")
async def test_pins_of_a_lost_index_are_written_again(bed: Bed) -> None:
    file = bed.put("a", content(MIB))
    await keeper(bed).pin(file, "pins")
    await bed.cache._mending.reset("as a test", bed.cache._index.generation)
    await bed.restart()
    assert await keeper(bed).pinned("pins") == [place(file)]


@pytest.mark.logs("begins anew")
async def test_what_was_deleted_is_not_held_and_comes_again(bed: Bed) -> None:
    """One data file, or the whole directory, under a running cache."""
    files = [bed.put("a", content(MIB)), bed.put("b", content(MIB, 2)), bed.put("empty", b"")]
    for file in files:
        await keeper(bed).pin(file, "pins")
    next(path for path in bed.data_files() if path.name.startswith(cache_key(OWNER, "/files/a"))).unlink()
    assert [held.whole for held in await keeper(bed).held(files)] == [False, True, True]
    await keeper(bed).pin(files[0], "pins")
    shutil.rmtree(bed.place)
    assert [held.whole for held in await keeper(bed).held(files)] == [False] * 3
    for file in files:
        await keeper(bed).pin(file, "pins")
    await bed.owner.stop()
    assert await bed.read(files[0]) == content(MIB)
    await bed.restart()
    assert [held.whole for held in await keeper(bed).held(files)] == [True] * 3
    assert len(await keeper(bed).pinned("pins")) == 3


@pytest.mark.logs("begins anew|index cannot be made")
@pytest.mark.parametrize("name", ["reset", "put_pins"])
async def test_a_cache_that_is_deleted_while_it_begins_anew(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As ``rm -f index.db*; rm -rf cache`` beside reads: the index goes first, and the directory under its follower."""
    file = bed.put("a", content(MIB))
    await keeper(bed).pin(file, "pins")
    work, times = getattr(bed.cache._index, name), 2

    async def deleted(*arguments: Any) -> None:
        nonlocal times
        await work(*arguments)
        if times:
            times -= 1
            shutil.rmtree(bed.place)

    monkeypatch.setattr(bed.cache._index, name, deleted)
    (bed.place / "index.db").unlink()
    await keeper(bed).pin(file, "pins")
    await keeper(bed).pin(file, "pins")
    assert (await keeper(bed).held([file]))[0].whole
    assert await keeper(bed).pinned("pins") == [place(file)]


def test_what_goes_while_the_disk_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, listed = tmp_path / "cache", os.listdir

    def gone(path: Any) -> list[str]:
        names = listed(path)
        shutil.rmtree(place)
        return names

    for work in (
        lambda: startup.reconcile(place, []),
        lambda: startup.remove_all(place, ()),
        lambda: startup.occupied(place),
    ):
        work()
        for shard in ("aa", "bb"):
            (place / shard).mkdir(parents=True)
            (place / shard / "key.1").write_bytes(b"x")
        with monkeypatch.context() as patched:
            patched.setattr(os, "listdir", gone)
            work()


async def test_two_at_a_time_and_an_unreachable_owner_is_told(bed: Bed) -> None:
    files = [bed.put(f"f{number}", content(MIB, number)) for number in range(5)]
    inside, most = 0, 0
    go_on = asyncio.Event()

    async def hold(_: web.Request, body: bytes) -> bytes:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 2:
            go_on.set()
        await go_on.wait()
        inside -= 1
        return body

    bed.owner.disturb = hold
    kept = keeper(bed)
    await asyncio.gather(*(kept.pin(file, "pins") for file in files))
    assert most == 2
    await bed.owner.stop()
    with pytest.raises(Unavailable):
        await kept.pin(bed.put("late", b"x"), "pins")


async def test_it_gives_way_to_who_reads(bed: Bed) -> None:
    """While somebody reads, a file that nobody waits for does not go on; when it is read itself, it does at once."""
    pinned, read = bed.put("pinned", content(4 * MIB, 1)), bed.put("read", content(MIB, 2))
    reading, release = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request, body: bytes) -> bytes:
        if request.path.endswith("read"):
            reading.set()
            await release.wait()
        return body

    bed.owner.disturb = hold
    reader = asyncio.create_task(bed.read(read))
    await reading.wait()
    filling = asyncio.create_task(keeper(bed).pin(pinned, "pins"))
    await asyncio.wait({filling}, timeout=0.2)
    assert bed.owner.gets() == [""]
    assert await bed.read(pinned) == content(4 * MIB, 1)
    await filling
    release.set()
    assert await reader == content(MIB, 2)


async def test_it_goes_on_in_the_end_even_if_somebody_reads_for_ever(bed: Bed, monkeypatch: Any) -> None:
    monkeypatch.setattr(fetching, "_RUN_PATIENCE_S", 0.05)
    monkeypatch.setattr(fetching, "_BLOCK_PATIENCE_S", 0.01)
    pinned, read = bed.put("pinned", content(4 * MIB, 1)), bed.put("read", content(MIB, 2))
    reading, release = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request, body: bytes) -> bytes:
        if request.path.endswith("read"):
            reading.set()
            await release.wait()
        return body

    bed.owner.disturb = hold
    reader = asyncio.create_task(bed.read(read))
    await reading.wait()
    await keeper(bed).pin(pinned, "pins")
    assert not reader.done()
    release.set()
    await reader
