"""Network mounts and cloud-sync folders: the same version, never outside, and never a hang."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.content import ByteSource, Content, LocalSource, MountedTier, fragile
from mosaicfs_core.content.bounded import MOST_LEFT, BoundedCalls
from mosaicfs_core.errors import NotAllowed, Unavailable
from mosaicfs_core.hooks import FileRecord


def mount_entry(local: Path, base: str = "/srv/files", kind: str = "nfs", priority: int = 0) -> dict[str, Any]:
    return {
        "mount_id": "m",
        "remote_node_id": "node-nas",
        "remote_base_export_path": base,
        "local_mount_path": str(local),
        "mount_type": kind,
        "priority": priority,
    }


def record(path: Path, **changes: Any) -> FileRecord:
    facts = path.stat()
    fields = {"size": facts.st_size, "mtime": facts.st_mtime_ns // 1000, "export_path": f"/srv/files/{path.name}"}
    return FileRecord(file_id="node-nas.x", node_id="node-nas", name=path.name, inode=1000, **{**fields, **changes})


def tier(*entries: dict[str, Any], synced: bool = False, patience_s: float = 5.0) -> MountedTier:
    return MountedTier(lambda owner: entries if owner == "node-nas" else (), synced=synced, patience_s=patience_s)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file on the mount."""
    (tmp_path / "nas").mkdir()
    path = tmp_path / "nas" / "film"
    path.write_bytes(bytes(range(256)) * 100)
    return path


async def test_a_file_below_the_mounted_folder(file: Path) -> None:
    mounts = tier(mount_entry(file.parent))
    with await mounts.open(record(file)) as source:
        assert (source.tier, source.descriptor, source.present) == ("network mount", None, ())
        assert await source.read(250, 20) == file.read_bytes()[250:270]
        assert b"".join([part async for part in source.stream(chunk=1000)]) == file.read_bytes()
    assert not mounts.serves(record(file, export_path="/srv/files-other/film"))
    assert not mounts.serves(record(file).__class__(**{**as_dict(record(file)), "node_id": "node-other"}))
    assert not tier(mount_entry(file.parent), synced=True).serves(record(file))


def as_dict(file: FileRecord) -> dict[str, Any]:
    return {name: getattr(file, name) for name in file.__struct_fields__}


async def test_the_whole_node_can_be_mounted(file: Path) -> None:
    with await tier(mount_entry(file.parent, "/")).open(record(file, export_path="/film")) as source:
        assert source.size == 25_600


async def test_another_version_is_left_to_the_next_tier(file: Path) -> None:
    for change in ({"size": 1}, {"mtime": 5}):
        with pytest.raises(Unavailable, match="another version"):
            await tier(mount_entry(file.parent)).open(record(file, **change))
    slack = record(file).mtime // 1_000_000 * 1_000_000  # a file system that keeps seconds
    (await tier(mount_entry(file.parent)).open(record(file, mtime=slack))).close()


async def test_links_that_lead_out_of_the_mount_are_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "film").write_bytes(file.read_bytes())
    (file.parent / "way").symlink_to(tmp_path / "secret")
    wanted = record(tmp_path / "secret" / "film", export_path="/srv/files/way/film")
    with pytest.raises(NotAllowed):
        await tier(mount_entry(file.parent)).open(wanted)


async def test_the_mount_of_the_highest_priority_that_has_it(file: Path, tmp_path: Path) -> None:
    entries = [mount_entry(file.parent), mount_entry(tmp_path / "not-mounted", priority=5)]
    (await tier(*entries).open(record(file))).close()


async def test_placeholders_of_a_sync_program_are_skipped(tmp_path: Path) -> None:
    evicted = tmp_path / "film"
    evicted.touch()
    os.truncate(evicted, 1 << 20)
    entry = mount_entry(tmp_path, kind="gdrive_local")
    with pytest.raises(Unavailable, match="placeholder"):
        await tier(entry, synced=True).open(record(evicted))
    evicted.write_bytes(b"here again")
    with await tier(entry, synced=True).open(record(evicted)) as source:
        assert (source.tier, await source.read(0, 100)) == ("cloud sync", b"here again")


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Call it and every open and read on a mount hangs, as with a server that is gone, until the test is over."""
    over, hangs = threading.Event(), threading.Event()
    really_open, really_read = fragile._open, fragile._read_and_close

    def open_(*given: Any) -> Any:
        if hangs.is_set():
            over.wait(20)
        return really_open(*given)

    def read(*given: Any) -> Any:
        if hangs.is_set():
            over.wait(20)
        return really_read(*given)

    monkeypatch.setattr(fragile, "_open", open_)
    monkeypatch.setattr(fragile, "_read_and_close", read)
    yield hangs.set
    over.set()


class Elsewhere:
    """The tier after the mount."""

    name, cost = "elsewhere", 90

    def __init__(self, path: Path) -> None:
        self.path = path

    def serves(self, file: FileRecord) -> bool:
        return True

    async def open(self, file: FileRecord) -> ByteSource:
        return LocalSource(os.open(self.path, os.O_RDONLY), self.name)


async def test_a_stale_mount_fails_soon_and_at_once_afterwards(file: Path, hang: Callable[[], None]) -> None:
    content = Content([tier(mount_entry(file.parent), patience_s=0.1), Elsewhere(file)])
    hang()
    async with asyncio.timeout(2):
        for _ in range(20):
            with await content.open(record(file)) as source:
                assert source.tier == "elsewhere"
    assert sum(thread.name == "bounded" for thread in threading.enumerate()) == 1


async def test_a_mount_that_goes_stale_while_it_is_read(file: Path, hang: Callable[[], None]) -> None:
    content = Content([tier(mount_entry(file.parent), patience_s=0.1), Elsewhere(file)])
    with await content.open(record(file)) as source:
        assert await source.read(0, 10) == bytes(range(10))
        hang()
        async with asyncio.timeout(2):
            found = await asyncio.gather(*(source.read(offset, 10) for offset in range(50)))
        assert found == [bytes((offset + n) % 256 for n in range(10)) for offset in range(50)]


async def test_readers_that_leave_a_stale_mount_leave_no_threads_without_bound(
    file: Path, hang: Callable[[], None]
) -> None:
    content = Content([tier(mount_entry(file.parent), patience_s=0.3), Elsewhere(file)])
    hang()
    for _ in range(30):
        opening = asyncio.create_task(content.open(record(file)))
        await asyncio.wait({opening}, timeout=0.001)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
    assert sum(thread.name == "bounded" for thread in threading.enumerate()) <= MOST_LEFT
    await asyncio.sleep(0.35)
    async with asyncio.timeout(0.2):
        with await content.open(record(file)) as source:
            assert source.tier == "elsewhere"


async def test_a_reader_that_leaves_refuses_nobody_a_mount_that_answers() -> None:
    calls, go = BoundedCalls(5.0), threading.Event()
    left = asyncio.create_task(calls.run(lambda: go.wait(10)))
    await asyncio.sleep(0.01)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    assert (calls.hangs, await calls.run(lambda: "bytes")) == (False, "bytes")
    go.set()


async def test_another_version_elsewhere_is_not_mixed_in(file: Path, tmp_path: Path, hang: Callable[[], None]) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(25_600))
    os.utime(other, (1, 1))
    content = Content([tier(mount_entry(file.parent), patience_s=0.1), Elsewhere(other)])
    with await content.open(record(file)) as source:
        hang()
        with pytest.raises(Unavailable, match="has changed"):
            await source.read(0, 10)


async def test_what_is_opened_too_late_is_closed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, opened = threading.Event(), threading.Event()
    really, closed = fragile._open, threading.Event()

    def slow(*given: Any) -> Any:
        go.wait(10)
        found = really(*given)
        opened.set()
        return found

    def dispose(given: Any) -> None:
        os.close(given[0])
        closed.set()

    monkeypatch.setattr(fragile, "_open", slow)
    monkeypatch.setattr(fragile, "_dispose", dispose)
    with pytest.raises(Unavailable, match="did not answer"):
        await tier(mount_entry(file.parent), patience_s=0.05).open(record(file))
    go.set()
    assert await asyncio.to_thread(closed.wait, 5)
