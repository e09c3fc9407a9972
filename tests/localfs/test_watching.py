"""Protects the watcher's emergency exits: a queue that overflows, and a system that allows no more watches."""

from __future__ import annotations

import errno
import os
import queue
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.localfs.bed import is_listing, watching
from watchdog.events import FileSystemEvent

from mosaicfs_core.hooks import Create, Directory, Problem
from mosaicfs_core.testing import Harness
from mosaicfs_plugins.localfs.observer import Observation


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/sub").mkdir(parents=True)
    return tmp_path / "root"


@pytest.mark.logs("^change queue overflowed")
async def test_an_overflow_looks_through_the_root_and_watches_on(mosaicfs_host: Harness, root: Path) -> None:
    async with watching(mosaicfs_host, root) as (watcher, heard):
        watcher.overflowed(str(root))
        await heard.until(lambda found: isinstance(found, Directory) and found.export_path == f"{root}/sub")
        (root / "sub/after").write_text("x")
        await heard.until(lambda found: isinstance(found, Create) and found.export_path == f"{root}/sub/after")


async def test_it_listens_no_more_and_then_says_that_nothing_waits_although_nobody_hears_it(
    mosaicfs_host: Harness, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host, which it is told to, may be a process that is gone."""
    ended: list[tuple[str, Any]] = []

    async def refused(waiting: int) -> None:
        ended.append(("told", waiting))
        raise ConnectionError

    async with watching(mosaicfs_host, root) as (watcher, _):
        assert watcher._observation is not None
        stop = watcher._observation.stop
        monkeypatch.setattr(watcher._observation, "stop", lambda: ended.append(("stopped", stop())))
        monkeypatch.setattr(watcher._backlog, "tell", refused)
    assert ended == [("stopped", None), ("told", 0)]


async def test_directories_beyond_the_limit_are_reported_and_polled(
    mosaicfs_host: Harness, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from watchdog.observers.inotify_c import InotifyFD

    real = InotifyFD._get_or_create_watch

    def limited(self: InotifyFD, path: bytes, *rest: Any) -> Any:
        if path.endswith(b"/sub"):
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return real(self, path, *rest)

    monkeypatch.setattr(InotifyFD, "_get_or_create_watch", limited)
    async with watching(mosaicfs_host, root, unwatched_poll_s=1) as (_, heard):
        problem = await heard.until(lambda found: isinstance(found, Problem) and found.kind == "watch")
        assert isinstance(problem, Problem)
        assert problem.export_path == f"{root}/sub"
        assert "limit" in problem.message
        (root / "sub/unheard").write_text("x")
        listing = await heard.until(lambda found: isinstance(found, Directory) and bool(found.files))
        assert isinstance(listing, Directory)
        assert [entry.name for entry in listing.files] == ["unheard"]
        (root / "heard").write_text("x")
        await heard.until(lambda found: isinstance(found, Create) and found.export_path == f"{root}/heard")


async def test_others_are_followed_while_many_directories_are_polled(
    mosaicfs_host: Harness, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are tried to be watched all at once, and looked through in parts, between which other changes are told."""
    from watchdog.observers.inotify_c import InotifyFD

    from mosaicfs_plugins.localfs import inotify

    real, renewals = InotifyFD._get_or_create_watch, []
    renew = inotify.Group.renew

    def limited(self: InotifyFD, path: bytes, *rest: Any) -> Any:
        if b"/unwatched" in path:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return real(self, path, *rest)

    def counted(self: inotify.Group, starts: Any) -> None:
        renewals.append(len(starts))
        renew(self, starts)

    monkeypatch.setattr(InotifyFD, "_get_or_create_watch", limited)
    monkeypatch.setattr(inotify.Group, "renew", counted)
    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.CHUNK", 1)
    names = [f"unwatched{number:03}" for number in range(200)]
    for name in names:
        (root / name).mkdir()
    async with watching(mosaicfs_host, root, unwatched_poll_s=1) as (_, heard):
        await heard.until(is_listing(f"{root}/{names[0]}"))
        assert renewals == [len(names)]
        (root / "followed").write_text("x")
        await heard.until(is_listing(f"{root}/{names[-1]}"))
        told = [operation.export_path for operation in heard.operations if isinstance(operation, Create | Directory)]
        assert told.index(f"{root}/followed") < told.index(f"{root}/{names[-1]}")


async def test_without_inotify_instances_everything_is_polled(
    mosaicfs_host: Harness, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.Observation", none_left)
    async with watching(mosaicfs_host, root, unwatched_poll_s=1) as (_, heard):
        await heard.until(lambda found: isinstance(found, Problem) and found.export_path == str(root))
        (root / "sub/new").write_text("x")
        await heard.until(lambda found: isinstance(found, Directory) and bool(found.files))


async def test_a_root_that_is_missed_is_looked_for_more_often(
    mosaicfs_host: Harness, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaicfs_plugins.localfs.watch.CHECK_S", 60.0)
    away = root.rename(root.with_name("away"))
    async with watching(mosaicfs_host, root) as (_, heard):
        await heard.until(lambda found: isinstance(found, Problem) and found.kind == "inaccessible")
        away.rename(root)
        await heard.until(lambda found: isinstance(found, Problem) and found.resolved)


async def test_ignored_directories_take_no_watches(mosaicfs_host: Harness, root: Path) -> None:
    (root / ".mosaicfsignore").write_text("node_modules/\n")
    (root / "node_modules/deep").mkdir(parents=True)
    async with watching(mosaicfs_host, root) as (watcher, _):
        assert set(watcher.directories(str(root), str(root))) == {str(root), os.path.join(root, "sub")}


def watches() -> int:
    """The inotify watches of this process."""
    found = 0
    for file in Path("/proc/self/fdinfo").iterdir():
        with suppress(OSError):  # that of the listing itself
            found += file.read_text().count("inotify wd:")
    return found


async def test_a_directory_that_is_ignored_no_more_is_followed(mosaicfs_host: Harness, root: Path) -> None:
    (root / ".mosaicfsignore").write_text("sub/\n")
    (root / "sub/deep").mkdir()
    async with watching(mosaicfs_host, root) as (_, heard):
        (root / ".mosaicfsignore").unlink()
        await heard.until(is_listing(f"{root}/sub/deep"))
        (root / "sub/deep/file").write_text("x")
        await heard.until(lambda found: isinstance(found, Create) and found.export_path == f"{root}/sub/deep/file")


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
async def test_a_directory_that_is_ignored_from_now_on_gives_its_watches_back(
    mosaicfs_host: Harness, root: Path
) -> None:
    (root / "sub/deep").mkdir()
    async with watching(mosaicfs_host, root) as (_, heard):
        before = watches()
        (root / ".mosaicfsignore").write_text("sub/\n")
        await heard.until(is_listing(str(root)))
        assert watches() == before - 2
        (root / "file").write_text("x")
        await heard.until(lambda found: isinstance(found, Create) and found.export_path == f"{root}/file")


class Racing:
    """A listener in whose tree a directory appears between the watch of its parent and the look into it."""

    def __init__(self) -> None:
        self.heard_paths: queue.SimpleQueue[str] = queue.SimpleQueue()

    def directories(self, root: str, start: str) -> Iterator[str]:
        yield start
        if os.path.basename(start) == "copied":
            os.mkdir(os.path.join(start, "late"))
            yield os.path.join(start, "late")

    def heard(self, event: FileSystemEvent) -> None:
        self.heard_paths.put(os.fsdecode(event.src_path))

    def overflowed(self, root: str) -> None:
        raise AssertionError(f"overflow in {root}")

    def unmounted(self, root: str, directory: str) -> None:
        raise AssertionError(f"unmounted: {directory}")

    def unwatched(self, directory: str, reason: str) -> None:
        raise AssertionError(f"{directory} is not watched: {reason}")


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_a_directory_that_appears_while_its_parent_is_looked_into_is_watched_once(root: Path) -> None:
    """It is found twice, by the look and by its own event; the second must neither warn nor end the reading thread."""
    listener = Racing()
    observation = Observation(listener)
    try:
        observation.watch(os.fspath(root))
        (root / "copied").mkdir()
        while listener.heard_paths.get(timeout=10) != f"{root}/copied/late":
            pass
        (root / "copied/late/file").write_text("x")
        while listener.heard_paths.get(timeout=10) != f"{root}/copied/late/file":
            pass
    finally:
        observation.stop()
