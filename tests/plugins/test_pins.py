"""Pins over a real store, a real cache and a transfer server on loopback: there on the plane, and nothing lost."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.content.bed import MIB, OWNER, Owner, content

from mosaicfs_core import documents as d
from mosaicfs_core.config import CacheConfig
from mosaicfs_core.content import Route
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.hooks import FilePlace, FileRecord
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.testing.harness import Harness
from mosaicfs_plugins.pins import keeping, plan

PATIENCE_S = 20
PHOTOS = {"name": "photos", "directory": "/holiday"}


class Laptop:
    """The node that pins: its harness, its content, an agent over both; the owner is another node's transfer server."""

    def __init__(self, harness: Harness, owner: Owner) -> None:
        self.harness = harness
        self.owner = owner
        self.store = harness.store

    async def configure(self, *pins: dict[str, Any]) -> None:
        await self.harness.instance("pins", {"pins": list(pins)})

    async def put(self, path: str, data: bytes, *, mtime: int = 1_000_000) -> FileRecord:
        """Give the owner a file at a path, or another version of it, and this node its document."""
        identifier = d.file_document_id(OWNER, d.first_file_uuid(OWNER, path))
        file_id = d.short_file_id(identifier)
        self.owner.files[file_id] = data
        self.owner.versions[file_id] = self.owner.versions.get(file_id, 0) + 1
        document = {
            "_id": identifier,
            "type": "file",
            "inode": d.derived_inode(identifier),
            "name": d.name_of(path),
            "source": {"node_id": OWNER, "export_path": path, "export_parent": d.parent_of(path)},
            "size": len(data),
            "mtime": d.format_time(mtime),
            "status": "active",
        }
        await self.store.update(identifier, lambda _: document)
        row = self.store.reader.file_by_id(file_id)
        assert row is not None
        return row.record()

    async def directory(self, path: str, source: str) -> None:
        identifier = d.directory_document_id(path)
        document = {
            "_id": identifier,
            "type": "virtual_directory",
            "inode": d.derived_inode(identifier),
            "virtual_path": path,
            "name": d.name_of(path),
            "parent_path": d.parent_of(path),
            "created_at": d.format_time(0),
            "mounts": [{"mount_id": "m", "source": {"node_id": OWNER, "export_path": source}}],
        }
        await self.store.update(identifier, lambda _: document)

    async def read(self, file: FileRecord) -> bytes:
        """As REST and the mount do it."""
        with await self.harness.core.content.open(file) as source:
            return b"".join([part async for part in source.stream()])

    def told(self, name: str = "photos") -> dict[str, Any]:
        """What the node's status says of a pin."""
        for pin in self.report().get("pins", ()):
            if pin["name"] == name:
                return dict(pin)
        return {"state": "unknown"}

    def report(self) -> dict[str, Any]:
        return dict(self.harness.core.agent.status()["subsystems"]["instances"]["reports"].get("pins", {}))

    def pinned(self) -> list[FilePlace]:
        return self.harness.cache.pins.of("pins")

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - what the agent tells, it tells when asked
                await asyncio.sleep(0.01)

    async def complete(self, files: int, name: str = "photos") -> dict[str, Any]:
        await self.until(lambda: self.told(name)["state"] == "complete" and self.told(name)["files_wanted"] == files)
        return self.told(name)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "REPORT_EVERY_S", 0.01)
    monkeypatch.setattr(plan, "NODE_PAUSES_S", (0.05, 0.2))
    monkeypatch.setattr(plan, "FILE_PAUSES_S", (0.05, 0.2))
    monkeypatch.setattr(plan, "ROOM_PAUSE_S", 0.05)


@asynccontextmanager
async def _laptop(home: Path, owner: Owner, **limits: int) -> AsyncIterator[Laptop]:
    requests = PlainRequests(owner.url)
    limited = CacheConfig(**{"max_bytes": 1 << 40, "min_free_bytes": 0, **limits})
    ways = [Route("owner", requests)]
    try:
        async with Harness.start(home, only={"pins"}, routes=lambda _: ways, cache=limited) as harness:
            if harness.store.reader.get(f"plugin::{harness.core.node_id}::pins") is None:
                await harness.instance("pins")
            async with harness.agent():
                yield Laptop(harness, owner)
    finally:
        await requests.close()


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    made = Owner()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def laptop(tmp_path: Path, owner: Owner) -> AsyncIterator[Laptop]:
    async with _laptop(tmp_path / "home", owner) as made:
        yield made


async def test_a_directory_is_there_when_its_owner_is_gone(laptop: Laptop) -> None:
    files = [await laptop.put(f"/pictures/{name}", content(MIB, number)) for number, name in enumerate(("a", "b/c"))]
    other = await laptop.put("/elsewhere/x", b"not pinned")
    await laptop.directory("/holiday", "/pictures")
    await laptop.configure(PHOTOS)
    told = await laptop.complete(2)
    assert (told["files_present"], told["bytes_present"], told["bytes_wanted"]) == (2, 2 * MIB, 2 * MIB)
    assert laptop.report()["status"] == "healthy"
    await laptop.owner.stop()
    assert [await laptop.read(file) for file in files] == [content(MIB, 0), content(MIB, 1)]
    with pytest.raises(Unavailable):
        await laptop.read(other)


async def test_it_follows_what_changes_comes_and_goes(laptop: Laptop) -> None:
    first = await laptop.put("/pictures/a", b"one")
    await laptop.directory("/holiday", "/pictures")
    await laptop.configure(PHOTOS)
    await laptop.complete(1)
    laptop.owner.requests.clear()
    await laptop.put("/pictures/b", b"two")
    await laptop.complete(2)
    assert len(laptop.owner.gets()) == 1, "what is here is not fetched again"
    changed = await laptop.put("/pictures/a", b"another one", mtime=2_000_000)
    await laptop.until(lambda: laptop.told()["bytes_present"] == len(b"another one" + b"two"))
    await laptop.store.update(
        d.full_file_id(first.file_id),
        lambda document: {**(document or {}), "status": "deleted", "deleted_at": d.format_time(3)},
    )
    await laptop.complete(1)
    assert laptop.pinned() == [FilePlace(OWNER, "/pictures/b")]
    await laptop.put("/pictures/a", b"another one", mtime=2_000_000)
    await laptop.complete(2)
    await laptop.owner.stop()
    assert await laptop.read(changed) == b"another one"


async def test_a_pin_by_steps_and_what_is_let_go(laptop: Laptop) -> None:
    for name in ("a.pdf", "b.txt"):
        await laptop.put(f"/docs/{name}", name.encode())
    papers = {"name": "papers", "steps": [{"op": "glob", "pattern": "**/*.pdf"}]}
    notes = {"name": "notes", "steps": [{"op": "glob", "pattern": "**/*.txt"}]}
    await laptop.configure(papers, notes)
    await laptop.complete(1, "papers")
    await laptop.complete(1, "notes")
    await laptop.configure(notes)
    await laptop.until(lambda: laptop.pinned() == [FilePlace(OWNER, "/docs/b.txt")])
    await laptop.complete(1, "notes")
    assert laptop.told("papers") == {"state": "unknown"}
    await laptop.configure()
    await laptop.until(lambda: laptop.pinned() == [])
    identifier = f"plugin::{laptop.harness.core.node_id}::pins"
    await laptop.configure(papers)
    await laptop.complete(1, "papers")
    await laptop.store.update(identifier, lambda document: {**(document or {}), "_deleted": True})
    await laptop.until(lambda: laptop.pinned() == [])


async def test_a_restart_goes_on_where_it_stopped(tmp_path: Path, owner: Owner) -> None:
    arrived = asyncio.Event()

    async def hold(request: Any, body: bytes) -> bytes:
        if len(body) == 2 * MIB:
            arrived.set()
            await asyncio.Event().wait()
        return body

    async with _laptop(tmp_path / "home", owner) as laptop:
        await laptop.put("/pictures/quick", content(MIB, 1))
        slow = await laptop.put("/pictures/slow", content(2 * MIB, 2))
        await laptop.directory("/holiday", "/pictures")
        owner.disturb = hold
        await laptop.configure(PHOTOS)
        await laptop.until(lambda: laptop.told().get("files_present") == 1)
        await asyncio.wait_for(arrived.wait(), PATIENCE_S)
    owner.disturb = None
    owner.requests.clear()
    async with _laptop(tmp_path / "home", owner) as laptop:
        assert set(laptop.pinned()) == {FilePlace(OWNER, f"/pictures/{name}") for name in ("quick", "slow")}
        await laptop.complete(2)
        assert owner.gets() == [""], "what was here was not fetched again"
        assert await laptop.read(slow) == content(2 * MIB, 2)


async def test_too_small_a_cache_is_said_clearly_and_no_pin_gives_way(tmp_path: Path, owner: Owner) -> None:
    async with _laptop(tmp_path / "home", owner, max_bytes=3 * MIB) as laptop:
        await laptop.put("/small/a", content(MIB, 1))
        await laptop.put("/small/b", content(MIB, 2))
        await laptop.put("/large/c", content(2 * MIB, 3))
        small = {"name": "small", "steps": [{"op": "glob", "pattern": "/small/*"}]}
        large = {"name": "large", "steps": [{"op": "glob", "pattern": "/large/*"}]}
        await laptop.configure(small, large)
        await laptop.complete(2, "small")
        await laptop.until(lambda: laptop.told("large")["state"] == "no_room")
        told = laptop.told("large")
        assert (told["files_without_room"], told["bytes_without_room"]) == (1, 2 * MIB)
        assert "1048576 bytes too few" in told["failures"][0]["reason"]
        report = laptop.report()
        assert (report["status"], report["detail"]) == (
            "degraded",
            f"large: 0 of 1 files are here, 1 do not fit ({2 * MIB} bytes)",
        )
        assert laptop.told("small")["state"] == "complete"
        laptop.harness.cache.room.capacity = 10 * MIB
        await laptop.complete(1, "large")
        assert laptop.report()["status"] == "healthy"


async def test_an_owner_out_of_reach_is_asked_again(laptop: Laptop) -> None:
    port = int(laptop.owner.url.rpartition(":")[2])
    await laptop.owner.stop()
    await laptop.put("/pictures/a", b"late")
    await laptop.directory("/holiday", "/pictures")
    await laptop.configure(PHOTOS)
    await laptop.until(lambda: laptop.told()["state"] == "waiting")
    assert "does not answer" in laptop.told()["failures"][0]["reason"]
    assert laptop.report()["status"] == "healthy", "a machine that is off is no fault of this one"
    await laptop.owner.start(port)
    await laptop.complete(1)


async def test_a_file_that_its_owner_does_not_have_is_named(laptop: Laptop) -> None:
    gone = await laptop.put("/pictures/gone", b"x")
    await laptop.put("/pictures/there", b"y")
    del laptop.owner.files[gone.file_id]
    await laptop.directory("/holiday", "/pictures")
    await laptop.configure(PHOTOS)
    await laptop.until(lambda: laptop.told()["state"] == "failed" and laptop.told()["files_present"] == 1)
    (failure,) = laptop.told()["failures"]
    assert failure["export_path"] == "/pictures/gone"
    assert laptop.report()["status"] == "degraded"


async def test_what_the_cache_loses_comes_back(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.05)
    await laptop.put("/pictures/a", b"bytes")
    await laptop.directory("/holiday", "/pictures")
    await laptop.configure(PHOTOS)
    await laptop.complete(1)
    laptop.owner.requests.clear()
    await laptop.harness.cache.compare(lambda _: None)
    await laptop.until(lambda: laptop.owner.gets())
    await laptop.complete(1)


@pytest.mark.logs("begins anew")
async def test_a_cache_that_is_deleted_comes_back_by_itself(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads anything meanwhile; of the many pinned files a few are looked at at a time."""
    monkeypatch.setattr(keeping, "LOOK_EVERY_S", 0.3)
    monkeypatch.setattr(keeping, "LOOKED_AT", 3)
    files = [await laptop.put(f"/pictures/{number:02}", content(1000, number)) for number in range(20)]
    await laptop.directory("/holiday", "/pictures")
    await laptop.configure(PHOTOS)
    await laptop.complete(20)
    shutil.rmtree(laptop.harness.core.home.cache_dir)
    laptop.owner.requests.clear()
    await laptop.until(lambda: laptop.told()["files_present"] < 20)
    await laptop.complete(20)
    assert len(laptop.owner.gets()) == 20
    await laptop.owner.stop()
    assert [await laptop.read(file) for file in files] == [content(1000, number) for number in range(20)]


@pytest.mark.logs("^/pictures/a could not be fetched")
async def test_a_failure_that_nobody_foresaw_is_tried_again(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    pin, failures = laptop.harness.cache.pin, [FileNotFoundError(2, "gone"), RuntimeError("odd")]

    async def failing(file: FileRecord, holder: str) -> None:
        if failures:
            raise failures.pop()
        await pin(file, holder)

    monkeypatch.setattr(laptop.harness.cache, "pin", failing)
    await laptop.put("/pictures/a", b"a")
    await laptop.directory("/holiday", "/pictures")
    await laptop.configure(PHOTOS)
    told = await laptop.complete(1)
    assert (failures, told["files_present"], told["files_fetching"]) == ([], 1, 0)


async def test_a_directory_that_shows_nothing_is_warned_of(laptop: Laptop) -> None:
    await laptop.configure(PHOTOS)
    assert "Nothing is shown at /holiday" in (await laptop.complete(0))["warnings"][0]
    await laptop.put("/pictures/a", b"x")
    await laptop.directory("/holiday", "/pictures")
    assert (await laptop.complete(1))["warnings"] == []


async def test_a_pin_that_cannot_be_understood_holds_up_no_other(laptop: Laptop) -> None:
    await laptop.put("/docs/a.pdf", b"x")
    odd = {"name": "odd", "steps": [{"op": "glob"}, {"op": "glob", "pattern": "**/*.pdf"}]}
    await laptop.configure({"name": "wrong", "directory": "/a/../b"}, odd)
    assert "pattern" in (await laptop.complete(1, "odd"))["warnings"][0]
    assert laptop.told("wrong")["state"] == "failed"
    assert laptop.report()["detail"].startswith("wrong: directory: ")
