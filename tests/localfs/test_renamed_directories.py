"""Protects watching while directories change places: each is followed where it is, and the reading thread lives on."""

from __future__ import annotations

import os
import queue
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.events import FileSystemEvent

from mosaicfs_plugins.localfs.observer import Observation

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify")


class Walking:
    """A listener that wants everything watched; ``until`` waits for a word about a path."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[str] = queue.SimpleQueue()

    def directories(self, root: str, start: str) -> Iterator[str]:
        for directory, _, _ in os.walk(start):
            yield directory

    def heard(self, event: FileSystemEvent) -> None:
        self._told.put(os.fsdecode(event.dest_path or event.src_path))

    def overflowed(self, root: str) -> None:
        raise AssertionError(f"overflow in {root}")

    def unmounted(self, root: str, directory: str) -> None:
        raise AssertionError(f"unmounted: {directory}")

    def unwatched(self, directory: str, reason: str) -> None:
        raise AssertionError(f"{directory} is not watched: {reason}")

    def until(self, path: Path) -> None:
        """Wait until something is told of the path."""
        while self._told.get(timeout=10) != os.fspath(path):
            pass


@pytest.fixture
def listener() -> Walking:
    return Walking()


@pytest.fixture
def root(tmp_path: Path, listener: Walking) -> Iterator[Path]:
    (tmp_path / "else").mkdir()
    for name in ("A/deep", "B/deep", "C/deep"):
        (tmp_path / "root" / name).mkdir(parents=True)
    observation = Observation(listener)
    try:
        observation.watch(os.fspath(tmp_path / "root"))
        yield tmp_path / "root"
        observation.check()
    finally:
        observation.stop()


def follows(listener: Walking, *directories: Path) -> None:
    """Whether changes in the directories are told under their present paths."""
    for directory in directories:
        (directory / "file").write_text("x")
        listener.until(directory / "file")


def test_a_directory_in_the_place_of_one_that_left_may_be_removed(root: Path, listener: Walking) -> None:
    away = root.parent / "else/B"
    os.rename(root / "B", away)
    listener.until(root / "B")
    os.rename(root / "A", root / "B")
    listener.until(root / "B")
    shutil.rmtree(root / "B")
    listener.until(root / "B")
    shutil.rmtree(away)
    follows(listener, root, root / "C", root / "C/deep")


def test_a_directory_in_the_place_of_one_that_left_may_go_on(root: Path, listener: Walking) -> None:
    away = root.parent / "else/A"
    os.rename(root / "A", away)
    listener.until(root / "A")
    os.rename(root / "B", root / "A")
    listener.until(root / "A")
    os.rename(root / "A", root / "D")
    listener.until(root / "D")
    shutil.rmtree(away)
    follows(listener, root, root / "D", root / "D/deep", root / "C/deep")


def test_two_directories_that_change_places_are_told_apart(root: Path, listener: Walking) -> None:
    os.rename(root / "A", root / "between")
    os.rename(root / "B", root / "A")
    os.rename(root / "between", root / "B")
    listener.until(root / "B")
    (root / "A/deep").rmdir()
    listener.until(root / "A/deep")
    follows(listener, root / "A", root / "B", root / "B/deep")


def test_what_left_is_not_told_of(root: Path, listener: Walking) -> None:
    away = root.parent / "else/A"
    os.rename(root / "A", away)
    listener.until(root / "A")
    (away / "file").write_text("x")
    (root / "last").write_text("x")
    while (told := listener._told.get(timeout=10)) != os.fspath(root / "last"):
        assert not told.endswith("/file")


def test_one_that_comes_back_is_followed(root: Path, listener: Walking) -> None:
    os.rename(root / "A", root.parent / "else/A")
    listener.until(root / "A")
    os.rename(root.parent / "else/A", root / "C/A")
    listener.until(root / "C/A")
    follows(listener, root / "C/A", root / "C/A/deep")


def test_a_dead_reading_thread_is_found(tmp_path: Path) -> None:
    observation = Observation(Walking())
    try:
        observation.watch(os.fspath(tmp_path))
        observation.check()
        reader = observation._observer._inotify_fd
        reader.stop()
        reader.join(10)
        with pytest.raises(OSError, match="has died"):
            observation.check()
    finally:
        observation.stop()
