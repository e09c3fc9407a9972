"""Protects what a watcher says while a crawl runs: listings of the crawl, which may be older, undo none of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mosaicfs_core.agent.indexer import Indexer
from mosaicfs_core.agent.planner import Source
from mosaicfs_core.agent.session import Session
from mosaicfs_core.hooks import Complete, CompleteDirectory, Create, Delete, Directory, Entry, FileOperation, Rename
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.testing.harness import Harness

OLD = Directory(export_path="/t", files=(Entry("f", 1, 10, 1, 5), Entry("g", 1, 10, 1, 6)), directories=("d",))
OLD_BELOW = Directory(export_path="/t/d", files=(Entry("x", 1, 10, 1, 7),), directories=())
CHANGED = Create(export_path="/t/f", size=2, mtime=20, device=1, number=5)
UNCHANGED = Create(export_path="/t/f", size=1, mtime=10, device=1, number=5)


class Both:
    """A crawl under way, and a watcher that says things meanwhile. ``files`` answers sizes by path."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.indexer = Indexer(harness.store)
        self.crawl = self.session()

    def session(self, *, live: bool = False) -> Session:
        node_id, places = self._harness.core.node_id, Places(("/t",), ())
        source = Source(node_id=node_id, instance="the disk", places=lambda: places)
        return Session(self.indexer, source, lambda problem: None, matching=True, live=live)

    async def watch(self, *operations: FileOperation) -> None:
        session = self.session(live=True)
        await session.feed(operations)
        await session.finish()
        session.close()

    async def end(self, *operations: FileOperation) -> dict[str, int]:
        await self.crawl.feed(operations)
        await self.crawl.finish()
        self.crawl.close()
        return self.files()

    def files(self) -> dict[str, int]:
        reader = self._harness.store.reader
        docs = [doc for batch in reader.scan_files() for doc in batch.docs]
        return {row.export_path: row.size for row in reader.file_rows(docs)}


@pytest.fixture
async def both(sources: Any) -> Both:
    await sources.say("the disk", OLD, OLD_BELOW)
    return Both(sources._harness)


async def test_a_deleted_file_stays_away(both: Both) -> None:
    await both.watch(Delete(export_path="/t/f"))
    assert await both.end(OLD, OLD_BELOW) == {"/t/g": 1, "/t/d/x": 1}


async def test_a_changed_file_keeps_its_size(both: Both) -> None:
    await both.watch(CHANGED)
    assert (await both.end(OLD, OLD_BELOW))["/t/f"] == 2


@pytest.mark.parametrize("said", [CHANGED, UNCHANGED])
async def test_a_file_that_was_away_for_a_moment_is_not_deleted(both: Both, said: Create) -> None:
    await both.crawl.feed([Directory(export_path="/t", files=(Entry("g", 1, 10, 1, 6),), directories=("d",))])
    await both.watch(said)
    assert set(await both.end(OLD_BELOW)) == {"/t/f", "/t/g", "/t/d/x"}


async def test_so_is_what_a_watcher_listed(both: Both) -> None:
    await both.crawl.feed([Directory(export_path="/t", files=(), directories=())])
    await both.watch(OLD, OLD_BELOW)
    assert set(await both.end()) == {"/t/f", "/t/g", "/t/d/x"}


async def test_a_deleted_directory_stays_away(both: Both) -> None:
    await both.watch(Delete(export_path="/t/d"))
    assert set(await both.end(OLD, OLD_BELOW)) == {"/t/f", "/t/g"}


async def test_a_renamed_directory_stays_where_it_is(both: Both) -> None:
    await both.watch(Rename(export_path="/t/e", previous_export_path="/t/d", directory=True))
    assert set(await both.end(OLD, OLD_BELOW)) == {"/t/f", "/t/g", "/t/e/x"}


async def test_a_very_large_directory_is_no_exception(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaicfs_core.agent.session.LARGE_DIRECTORY", 1)
    await both.watch(Delete(export_path="/t/f"), Create(export_path="/t/new", size=3, mtime=30))
    assert await both.end(OLD, OLD_BELOW) == {"/t/g": 1, "/t/d/x": 1, "/t/new": 3}


async def test_files_named_one_by_one_are_no_exception(both: Both) -> None:
    await both.watch(Delete(export_path="/t/d/x"), CHANGED, Create(export_path="/t/new", size=3, mtime=30))
    creates = [UNCHANGED, Create(export_path="/t/d/x", size=1, mtime=10), CompleteDirectory(export_path="/t/d")]
    assert await both.end(*creates, Complete(prefix="/t")) == {"/t/f": 2, "/t/new": 3}


@pytest.mark.parametrize("said", [Complete(prefix="/t/d"), CompleteDirectory(export_path="/t/d")])
async def test_what_a_watcher_completes_is_complete(both: Both, said: FileOperation) -> None:
    await both.watch(said)
    assert set(await both.end(OLD, OLD_BELOW)) == {"/t/f", "/t/g"}


async def test_what_nobody_spoke_of_is_taken_from_the_listings(both: Both) -> None:
    await both.watch(CHANGED)
    listing = Directory(export_path="/t", files=(Entry("f", 1, 10, 1, 5), Entry("new", 4, 40, 1, 9)), directories=())
    assert await both.end(listing) == {"/t/f": 2, "/t/new": 4}


async def test_a_listing_that_is_being_written_is_mended(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher finds a file gone that a listing, planned before and written afterwards, shows again."""
    await both.watch(Delete(export_path="/t/f"), Delete(export_path="/t/d"))
    both.crawl.close()
    both.crawl = both.session()
    may_write = asyncio.Event()
    write = both.indexer.write

    async def held(session: Session, *args: Any, **more: Any) -> None:
        if session is both.crawl:
            await may_write.wait()
        await write(session, *args, **more)

    monkeypatch.setattr(both.indexer, "write", held)
    await both.crawl.feed([OLD, OLD_BELOW])
    watching = asyncio.create_task(both.watch(Delete(export_path="/t/f"), Delete(export_path="/t/d")))
    await asyncio.sleep(0)
    may_write.set()
    await watching
    assert set(await both.end()) == {"/t/g"}


async def test_what_another_crawl_moved_is_not_deleted(both: Both) -> None:
    """It is gone where the one found it, because the other has given it its new path."""
    other = both.session()
    await both.crawl.feed([Directory(export_path="/t", files=(), directories=("d",))])
    await other.feed([Directory(export_path="/t/new", files=(Entry("f", 1, 10, 1, 5),), directories=())])
    await other.flush()
    other.close()
    assert set(await both.end()) == {"/t/new/f", "/t/d/x"}


async def test_a_slow_disk_brings_nothing_back(node: Any, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaicfs_plugins.localfs import crawl

    write(node.tree, {"kept.txt": "1", "gone.txt": "2"})
    await node.configure(watch=True)
    await node.start()
    looked, go_on = threading.Event(), threading.Event()
    chunks: Callable[..., Iterator[Any]] = crawl.chunks

    def slow(*args: Any) -> Iterator[Any]:
        for chunk in chunks(*args):
            looked.set()
            go_on.wait(20)
            yield chunk

    monkeypatch.setattr(crawl, "chunks", slow)
    crawled = asyncio.create_task(node.crawl())
    await asyncio.to_thread(looked.wait, 20)
    (node.tree / "gone.txt").unlink()
    (node.tree / "kept.txt").write_text("longer")
    await node.settled(node.agrees)
    go_on.set()
    await crawled
    assert node.agrees()
