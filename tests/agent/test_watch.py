"""Protects following changes as they happen: real events of a real file system, through to the replica."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_plugins.localfs.observer import Observation
from mosaicfs_plugins.localfs.pending import DEBOUNCE_S

Write = Callable[[Path, Mapping[str, str]], None]
PATIENCE_S = 15.0


@pytest.fixture
async def watched(node: Any, write: Write) -> Any:
    write(node.tree, {"a.txt": "1", "sub/b.txt": "2", "sub/deep/c.txt": "3"})
    await node.configure(watch=True)
    await node.start()
    assert node.agrees()
    return node


@pytest.fixture
def drowsy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchers of this test do nothing by themselves for as long as it is waited for anything."""
    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.CHECK_S", 4 * PATIENCE_S)


async def test_a_lone_new_file_is_indexed_once_it_has_settled(drowsy: None, watched: Any) -> None:
    """And not when the watcher looks around the next time: within two seconds, as it is promised."""
    assert DEBOUNCE_S < 1.0
    (watched.tree / "sub/new.txt").write_text("new")
    await watched.settled(lambda: "sub/new.txt" in watched.rows())
    assert watched.agrees()


async def test_changes_and_deletions_follow(watched: Any) -> None:
    before = watched.rows()
    (watched.tree / "a.txt").write_text("changed")
    (watched.tree / "sub/b.txt").unlink()
    await watched.settled(watched.agrees)
    assert watched.rows()["a.txt"].uuid == before["a.txt"].uuid


async def test_renames_of_files_and_directories_keep_documents(watched: Any) -> None:
    before = watched.rows()
    os.rename(watched.tree / "a.txt", watched.tree / "sub/renamed.txt")
    await watched.settled(watched.agrees)
    assert watched.rows()["sub/renamed.txt"].uuid == before["a.txt"].uuid
    os.rename(watched.tree / "sub", watched.tree / "other")
    await watched.settled(watched.agrees)
    after = watched.rows()
    assert after["other/deep/c.txt"].uuid == before["sub/deep/c.txt"].uuid
    assert after["other/renamed.txt"].inode == before["a.txt"].inode


async def test_a_file_renamed_onto_another_ends_where_that_one_goes_on(watched: Any) -> None:
    before = watched.rows()
    os.rename(watched.tree / "sub/b.txt", watched.tree / "a.txt")
    await watched.settled(watched.agrees)
    await watched.settled(lambda: watched.rows()["a.txt"].size == before["sub/b.txt"].size)
    assert watched.rows()["a.txt"].uuid == before["a.txt"].uuid
    ended = await watched.core.store.get(before["sub/b.txt"].document_id)
    assert (ended["status"], ended["source"]["export_path"]) == ("deleted", before["a.txt"].export_path)
    assert (ended["moved_from"], ended["renamed_onto"]) == (
        before["sub/b.txt"].export_path,
        before["a.txt"].document_id,
    )


async def test_files_renamed_onto_one_another_in_a_row_all_end_at_the_last(watched: Any, write: Write) -> None:
    write(watched.tree, {"last.txt": "and last"})
    await watched.settled(watched.agrees)
    before = watched.rows()
    os.rename(watched.tree / "sub/b.txt", watched.tree / "a.txt")
    os.rename(watched.tree / "a.txt", watched.tree / "last.txt")
    await watched.settled(watched.agrees)
    for name in ("sub/b.txt", "a.txt"):
        ended = await watched.core.store.get(before[name].document_id)
        assert ended["renamed_onto"] == before["last.txt"].document_id


async def test_files_that_exchange_their_places_keep_their_documents(watched: Any, write: Write) -> None:
    write(watched.tree, {"other.txt": "longer than the one of a.txt"})
    await watched.settled(watched.agrees)
    before = watched.rows()
    os.rename(watched.tree / "a.txt", watched.tree / "between")
    os.rename(watched.tree / "other.txt", watched.tree / "a.txt")
    os.rename(watched.tree / "between", watched.tree / "other.txt")
    await watched.settled(watched.agrees)
    after = watched.rows()
    assert (after["a.txt"].uuid, after["other.txt"].uuid) == (before["other.txt"].uuid, before["a.txt"].uuid)


async def test_an_atomic_save_keeps_the_document(watched: Any) -> None:
    before = watched.rows()["a.txt"]
    (watched.tree / ".a.txt.tmp").write_text("saved anew")
    os.replace(watched.tree / ".a.txt.tmp", watched.tree / "a.txt")
    await watched.settled(watched.agrees)
    assert watched.rows()["a.txt"].uuid == before.uuid


async def test_whole_trees_that_come_and_go_follow(watched: Any, write: Write, tmp_path: Path) -> None:
    write(tmp_path, {f"outside/{number % 5}/{number}": str(number) for number in range(50)})
    shutil.copytree(tmp_path / "outside", watched.tree / "copied")
    await watched.settled(watched.agrees)
    os.rename(tmp_path / "outside", watched.tree / "moved-in")
    await watched.settled(watched.agrees)
    os.rename(watched.tree / "copied", tmp_path / "moved-out")
    shutil.rmtree(watched.tree / "moved-in")
    await watched.settled(watched.agrees)
    write(watched.tree, {"after/all/f": "still watching"})
    await watched.settled(watched.agrees)


async def test_ignored_and_linked_things_stay_out(watched: Any, write: Write) -> None:
    write(watched.tree, {".mosaicfsignore": "*.tmp\nnode_modules/\n"})
    await watched.settled(lambda: ".mosaicfsignore" in watched.rows())
    write(watched.tree, {"x.tmp": "", "node_modules/y": "", "sub/seen": ""})
    (watched.tree / "link").symlink_to("a.txt")
    await watched.settled(lambda: "sub/seen" in watched.rows())
    assert not {"x.tmp", "node_modules/y", "link"} & set(watched.rows())


@pytest.fixture
def vigilant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchers of this test look at their roots and their threads all the time."""
    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.CHECK_S", 0.1)
    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.MISSED_CHECK_S", 0.1)


async def test_a_root_that_vanishes_deletes_nothing_and_is_followed_again(
    vigilant: None, watched: Any, tmp_path: Path
) -> None:
    before = watched.rows()
    os.rename(watched.tree, tmp_path / "away")
    await watched.settled(lambda: bool(watched.agent.status()["subsystems"]["crawler"]["inaccessible"]))
    assert watched.rows() == before
    (tmp_path / "away/meanwhile.txt").write_text("x")
    os.rename(tmp_path / "away", watched.tree)
    await watched.settled(lambda: "meanwhile.txt" in watched.rows())
    assert watched.rows()["a.txt"].uuid == before["a.txt"].uuid
    (watched.tree / "again.txt").write_text("x")
    await watched.settled(watched.agrees)


async def test_two_roots_move_between_them(node: Any, write: Write, tmp_path: Path) -> None:
    write(node.tree, {"one/f": "content", "two/g": ""})
    await node.configure(paths=[f"{node.tree}/one", f"{node.tree}/two"], watch=True)
    await node.start()
    before = node.rows()["one/f"].uuid
    os.rename(node.tree / "one/f", node.tree / "two/f")
    await node.settled(lambda: set(node.rows()) == {"two/f", "two/g"})
    assert node.rows()["two/f"].uuid == before


@pytest.fixture
async def mortal(vigilant: None, node: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Ends the thread that reads the events of ``node``, which watches, and whose watcher soon notices that."""
    from watchdog.observers.inotify_c import InotifyFD

    monkeypatch.setattr("mosaicfs_core.agent.runner.FIRST_PAUSE_S", 0.01)
    await node.configure(watch=True)
    await node.start()
    (reading,) = [thread for thread in threading.enumerate() if isinstance(thread, InotifyFD)]

    def end() -> None:
        reading.stop()
        reading.join()

    return end


@pytest.mark.logs("a thread that follows changes has died")
@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
async def test_a_dead_reading_thread_is_replaced(node: Any, mortal: Callable[[], None]) -> None:
    mortal()
    (node.tree / "unheard").write_text("x")
    await node.settled(node.agrees)
    (node.tree / "heard").write_text("x")
    await node.settled(node.agrees)
    assert node.agent.status()["subsystems"]["watcher"]["status"] == "healthy"


@pytest.mark.logs("a thread that follows changes has died")
@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
async def test_nothing_falls_between_the_next_watcher_and_the_crawl_after_it(
    node: Any, mortal: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes before that watcher watches is the crawl's to find, however long watching takes to begin."""
    crawled = threading.Event()
    watch, crawl_ended = Observation.watch, node.agent._board.crawl_ended

    def late(observation: Observation, root: str) -> None:
        crawled.wait(0.2)
        (node.tree / "between").write_text("x")
        watch(observation, root)

    def ended(*arguments: Any, **more: Any) -> None:
        crawl_ended(*arguments, **more)
        crawled.set()

    monkeypatch.setattr(Observation, "watch", late)
    monkeypatch.setattr(node.agent._board, "crawl_ended", ended)
    mortal()
    await asyncio.to_thread(crawled.wait, PATIENCE_S)
    assert set(node.rows()) == {"between"}
