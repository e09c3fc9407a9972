"""The content cache and its disk: files and an index that are cut off, deleted, locked, or somebody else's."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.content.bed import MIB, Bed, content, flip_bits

from mosaicfs_core.content.cache import WHOLE_LIMIT
from mosaicfs_core.content.cache import index as cache_index
from mosaicfs_core.content.cache.layout import in_directory
from mosaicfs_core.errors import Unavailable

pytestmark = pytest.mark.logs("^a transfer failed|damaged|begins anew|^Error handling request")

BIG = WHOLE_LIMIT + 7 * MIB + 123


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


@pytest.mark.logs("index")
@pytest.mark.parametrize("running", [True, False])
async def test_flipped_bits_in_the_index_change_no_byte_that_is_read(make_bed: Any, running: bool) -> None:
    """Wherever they are: most of such an index is one that SQLite finds nothing wrong with."""
    chance = random.Random(4)
    bed = await make_bed()
    files = [(bed.put(f"f{n}", data), data) for n in range(6) if (data := content(100_000 + n, n))]
    film, frames = bed.put("film", content(BIG)), content(BIG)
    for _ in range(25):
        for file, data in files:
            assert await bed.read(file) == data
        assert await bed.read(film, 5 * MIB, MIB) == frames[5 * MIB : 6 * MIB]
        if not running:
            await bed.cache.close()
        flip_bits(bed.place, chance)
        if not running:
            await bed.open_cache()
        for file, data in files:
            assert await bed.read(file) == data
        assert await bed.read(film, 4 * MIB, 3 * MIB) == frames[4 * MIB : 7 * MIB]
        await bed.restart()


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


@pytest.mark.logs(
    "^the cache's index cannot be opened now|^what lies in the cache cannot be removed|a data file of the cach"
)
@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("open", sqlite3.DatabaseError("file is not a database")),
        ("open", cache_index.IndexLost("its pages do not agree")),
        ("agree_with", FileNotFoundError(errno.ENOENT, "No such file or directory")),
        ("remove_all", PermissionError(errno.EACCES, "Permission denied")),
    ],
)
async def test_whatever_fails_when_the_index_is_mended_no_read_does(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    """Of an index that is opened late, or begun anew: what is read is right, and some time later it is kept again."""
    monkeypatch.setattr(cache_index, "RETRY_S", 0.0)
    await bed.restart()
    data = content(2 * MIB)
    file = bed.put("a", data)
    await bed.read(file)
    await bed.cache.pin(file, "pins")
    owner_of_the_step = bed.cache._index if step == "open" else bed.cache
    work, failures = getattr(owner_of_the_step, step), [error, error]

    async def fail(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await work(*arguments)

    monkeypatch.setattr(owner_of_the_step, step, fail)
    if step == "remove_all":
        (bed.place / "index.db").unlink()
    else:
        await bed.cache._index.give_up()
    assert await bed.read(file) == data
    await bed.read(file)
    failures.clear()
    assert await bed.read(file) == data
    bed.owner.requests.clear()
    assert await bed.read(file) == data
    assert bed.owner.requests == []
    assert bed.cache.usage.cached_bytes == len(data)
    assert [place.export_path for place in await bed.cache.pinned("pins")] == ["/files/a"]


def test_a_directory_that_is_deleted_while_it_is_found_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, make, times = tmp_path / "cache", os.mkdir, 3

    def deleted(path: Any, *arguments: Any) -> None:
        nonlocal times
        try:
            make(path, *arguments)
        except FileExistsError:
            if times:
                times -= 1
                shutil.rmtree(place)
            raise

    monkeypatch.setattr(os, "mkdir", deleted)
    for name in ("first", "second", "third", "fourth"):
        in_directory(place / "ab", (place / "ab" / name).touch)
    assert (place / "ab" / "fourth").exists()
    assert times == 0


def scribble(path: Path, *, empty: bool) -> None:
    with open(path, "r+b") as file:
        if empty:
            file.truncate(0)
        file.write(os.urandom(40_000))
