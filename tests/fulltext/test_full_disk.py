"""Protects an index on a disk that is really full: it is not taken for damaged, and goes on once there is room."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import FileRecord, HealthReport, Unavailable
from mosaicfs_fulltext import marks, registry
from mosaicfs_fulltext.entries import Entry, entry_of, pack
from mosaicfs_fulltext.index.embedded import EmbeddedIndex
from mosaicfs_fulltext.index.engine import open_index
from mosaicfs_fulltext.report import in_trouble

MEGA = 1024 * 1024
SIZE = 24 * MEGA


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if subprocess.run(line, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing may be let go of by chance."""
    gc.disable()
    yield
    gc.enable()


@contextmanager
def full(disk: Path, free: int = 0) -> Iterator[None]:
    """The disk full but for so many bytes."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
        file.truncate(max(0, file.tell() - free))
    try:
        yield
    finally:
        filler.unlink()


def entry(number: int, text: str) -> Entry:
    name = f"f{number}"
    file = FileRecord(file_id=name, node_id="n", export_path=f"/{name}", name=name, size=1, mtime=1, inode=1)
    return entry_of(file, "text", language="en", packed=pack(text))


def noise(number: int) -> str:
    """Words that do not compress."""
    chance = random.Random(number)
    return "common " + " ".join(f"{chance.getrandbits(60):x}" for _ in range(20_000))


async def test_an_index_goes_on_after_its_disk_was_full(small_disk: Path, no_collector: None) -> None:
    index = await EmbeddedIndex.open(small_disk)
    await index.apply(entry(1, "common before"), "common before")
    await index.flush()
    errors = []  # kept, with all that they hold
    with full(small_disk, 2 * MEGA):
        for number in range(2, 40):
            try:
                await index.apply(entry(number, noise(number)))
                await index.flush()
            except Unavailable as error:
                errors.append(error)
                break
        assert errors, "so much has no room"
        assert index.trouble is not None
        await index.close()
        for _ in range(2):
            try:
                again = await EmbeddedIndex.open(small_disk)
            except Unavailable as error:
                errors.append(error)
            else:
                await again.close()
    assert not any("another process" in str(error) for error in errors)
    index = await EmbeddedIndex.open(small_disk)
    await index.apply(entry(50, "common after"), "common after")
    await index.flush()
    assert {"f1", "f50"} <= {one.file_id for one in await index.search("common", 100, 5)}
    await index.close()


@pytest.mark.parametrize("free", [0, 4096, 8192, 12288, 16384, 65536, 262144])
async def test_an_index_that_could_not_be_begun_for_want_of_room_is_begun_later(
    small_disk: Path, no_collector: None, free: int
) -> None:
    errors = []
    with full(small_disk, free):
        for _ in range(2):
            try:
                index = await EmbeddedIndex.open(small_disk / "state")
            except Unavailable as error:
                errors.append(error.message)
            else:
                await index.close()
    assert not any("another process" in error for error in errors)
    index = await EmbeddedIndex.open(small_disk / "state")
    await index.apply(entry(1, "there"), "there")
    await index.flush()
    assert [one.file_id for one in await index.search("there", 5, 5)] == ["f1"]
    await index.close()


def test_a_writer_that_failed_lets_go_though_its_error_is_kept(small_disk: Path, no_collector: None) -> None:
    engine = open_index(small_disk / "index")
    errors = []
    with full(small_disk):
        for number in range(200):
            try:
                engine.apply(entry(number, noise(number)))
            except Unavailable as error:
                errors.append(error)
                break
        with pytest.raises(Unavailable) as caught:
            engine.commit()
        errors.append(caught.value)
        engine.close()
    open_index(small_disk / "index").close()


@pytest.mark.logs("the index cannot be used|cannot be written|cannot be opened|is read later|a call of")
async def test_the_plugin_says_that_its_disk_is_full_and_goes_on_by_itself(
    start: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_LOOK_S", 0.02)
    monkeypatch.setattr(registry, "_NOT_AGAIN_S", 0.0)
    async with start(switched_on=False) as instance:
        state = instance.context.state_dir
        disk = small_disk / "state"
        disk.mkdir()
        state.rmdir()
        state.symlink_to(disk)
        async with instance.running():
            await instance.add("before.txt", "shared before")
            await instance.settled()
            with full(small_disk, 2 * MEGA):
                with pytest.raises(PluginError):
                    await _add_much(instance)
                await _until_told(instance, "degraded")
                report = await instance.health()
                assert report.status == "degraded"
                assert [notice.key for notice in report.notices] == ["index_unavailable"]
                assert marks.refill_reason(state) is None, "a full disk is no damage"
            await instance.add("after.txt", "shared after")
            await instance.settled()
            assert set(await instance.names("shared")) == {"before.txt", "after.txt"}
            await _until_told(instance, "healthy")
            assert (await instance.health()).status == "healthy"
        assert not os.path.exists(disk / "refill.new")


async def _add_much(instance: Any) -> None:
    """More than there is room for."""
    for number in range(2, 40):
        await instance.add(f"{number}.txt", noise(number))
        await instance.settled()


async def test_trouble_of_which_only_a_part_could_be_told_is_taken_back_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told()
    monkeypatch.setattr(registry, "_LOOK_S", 0)
    monkeypatch.setattr(registry, "_trouble", told.trouble)
    monkeypatch.setattr(registry, "health", told.health)
    watching = asyncio.create_task(registry._watch(SimpleNamespace(context=told)))  # type: ignore[arg-type]  # its part
    try:
        for problem, status in ((None, "healthy"), ("the disk is full", "degraded"), (None, "healthy")):
            told.problem = problem
            async with asyncio.timeout(10):
                while await told.statuses.get() != status:
                    pass
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


class Told:
    """The context of an instance on whose disk there is no room for a notification."""

    logger = logging.getLogger("told")

    def __init__(self) -> None:
        self.problem: str | None = None
        self.statuses: asyncio.Queue[str] = asyncio.Queue()

    async def trouble(self, _place: Any) -> str | None:
        return self.problem

    async def health(self, _context: Any) -> HealthReport:
        return HealthReport(status="healthy") if self.problem is None else in_trouble(self.problem)

    async def report(self, status: str, _detail: str) -> None:
        self.statuses.put_nowait(status)

    async def raise_notification(self, _notice: Any) -> None:
        raise Unavailable("the disk is full")


async def _until_told(instance: Any, status: str) -> None:
    """Until the notification of it stands, or is over."""
    async with asyncio.timeout(30):
        while True:
            seq = instance.harness.store.seq
            found = instance.harness.store.reader.documents_of("notification")
            here = [one for one in found if "index_unavailable" in one["condition_key"] and one["status"] != "resolved"]
            if bool(here) == (status == "degraded"):
                return
            await instance.harness.store.wait(seq, 0.2)
