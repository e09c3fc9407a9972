"""Protects the mount as a user meets it: the tree through the kernel, byte for byte, following every change."""

from __future__ import annotations

import errno
import filecmp
import os
import random
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents as d

pytestmark = pytest.mark.fuse


@pytest.fixture
def mounted(world: Any, point: Path) -> Path:
    """The mount's root, over an empty watched folder shown at ``/all``."""
    return Path(world.mount(point).directory)


def test_browse_and_read(world: Any, point: Path) -> None:
    for name in ("a.txt", "deep/b.bin", "deep/er/c.md", "empty"):
        world.write(name, random.Random(name).randbytes(0 if name == "empty" else 300_000))
    root = world.mount(point).directory / "all"
    seen = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert seen == {"a.txt", "deep/b.bin", "deep/er/c.md", "empty"}
    for name in seen:
        assert filecmp.cmp(root / name, world.files / name, shallow=False)
        facts, true = (root / name).stat(), (world.files / name).stat()
        assert (facts.st_size, facts.st_mtime_ns // 1000) == (true.st_size, true.st_mtime_ns // 1000)


def test_inodes_are_those_of_the_documents(world: Any, point: Path) -> None:
    document = world.document(world.write("a.txt", b"a"))
    root = world.mount(point).directory
    assert root.stat().st_ino == 1
    assert (root / "all" / "a.txt").stat().st_ino == document["inode"]


def test_a_directory_lists_itself_and_the_one_above_it(world: Any, point: Path) -> None:
    world.write("deep/a.txt", b"a")
    root = world.mount(point).directory

    def listed(directory: Path) -> list[tuple[int, str]]:
        done = subprocess.run(["ls", "-1aiU", directory], capture_output=True, text=True, check=True)
        pairs = [line.split() for line in done.stdout.splitlines()]
        return [(int(number), name) for number, name in pairs]

    deep = root / "all" / "deep"
    up, own = deep.parent.stat().st_ino, deep.stat().st_ino
    assert listed(deep) == [(own, "."), (up, ".."), ((deep / "a.txt").stat().st_ino, "a.txt")]
    assert listed(root)[0] == (1, ".")
    assert [name for _, name in listed(root)] == [".", "..", "all"]


def test_absent_names(mounted: Path) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            (mounted / "all" / "nothing").stat()
    with pytest.raises(FileNotFoundError):
        os.listdir(mounted / "nowhere")
    with pytest.raises(OSError, match="too long"):
        (mounted / "all" / ("x" * 256)).stat()


def test_every_write_is_refused_as_read_only(world: Any, point: Path) -> None:
    world.write("a.txt", b"a")
    root = world.mount(point).directory / "all"
    attempts = (
        lambda: (root / "a.txt").write_bytes(b"b"),
        lambda: (root / "new").touch(),
        lambda: (root / "a.txt").unlink(),
        lambda: (root / "a.txt").rename(root / "b.txt"),
        lambda: (root / "folder").mkdir(),
        lambda: (root / "a.txt").chmod(0o777),
        lambda: (root / "link").symlink_to("a.txt"),
        lambda: os.truncate(root / "a.txt", 0),
        lambda: os.utime(root / "a.txt"),
    )
    for attempt in attempts:
        with pytest.raises(OSError, match="Read-only") as failure:
            attempt()
        assert failure.value.errno == errno.EROFS
    assert (world.files / "a.txt").read_bytes() == b"a"


def test_odd_names(world: Any, point: Path) -> None:
    names = [
        b"\xff\xfe broken \x80.txt",
        b"new\nline 'quote' \"double\"",
        "ünïcode ☃ 😀".encode(),
        b"-rf *",
        b"x" * 255,
        b" blank ",
        "\U0010ff41".encode(),
    ]
    for name in names:
        world.write(name, name)
    root = os.fsencode(world.mount(point).directory / "all")
    assert sorted(os.listdir(root)) == sorted(names)
    for name in names:
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == name


def test_a_large_directory(world: Any, point: Path) -> None:
    folder = world.files / "many"
    folder.mkdir()
    for number in range(10_000):
        (folder / f"{number:05d}").touch()
    world.index(*folder.iterdir())
    root = world.mount(point).directory / "all" / "many"
    assert sorted(os.listdir(root)) == [f"{number:05d}" for number in range(10_000)]
    assert sum(1 for entry in os.scandir(root) if entry.stat().st_nlink) == 10_000


def test_seeking_in_a_sparse_file_of_40_gigabytes(world: Any, point: Path) -> None:
    size = 40 << 30
    path = world.files / "huge"
    marks = {0: b"begin", (3 << 30) + 17: b"past 32 bits", size - 3: b"end"}
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, mark in marks.items():
            file.seek(offset)
            file.write(mark)
    world.index(path)
    shown = world.mount(point).directory / "all" / "huge"
    assert shown.stat().st_size == size
    with open(shown, "rb") as file:
        for offset, mark in marks.items():
            assert os.pread(file.fileno(), len(mark), offset) == mark
        assert os.pread(file.fileno(), 10, 20 << 30) == bytes(10)
        assert os.pread(file.fileno(), 10, size) == b""


def test_a_hundred_readers_at_once(world: Any, point: Path) -> None:
    contents = {f"f{number}": random.Random(number).randbytes(200_000) for number in range(10)}
    for name, data in contents.items():
        world.write(name, data)
    root = world.mount(point).directory / "all"
    wrong: list[str] = []

    def read(number: int) -> None:
        name = f"f{number % 10}"
        if (root / name).read_bytes() != contents[name]:
            wrong.append(name)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


class TestChanges:
    """What happens to the index is seen on the mount within two seconds, caches of the kernel notwithstanding."""

    @pytest.fixture
    def root(self, world: Any, point: Path) -> Path:
        """``/all`` with ``a.txt`` in it and ``b.txt`` known to be absent."""
        world.write("a.txt", b"first")
        root = world.mount(point).directory / "all"
        assert os.listdir(root) == ["a.txt"]
        assert (root / "a.txt").read_bytes() == b"first"
        assert not (root / "b.txt").exists()
        return root

    def test_new_file(self, world: Any, root: Path) -> None:
        world.write("b.txt", b"new")
        world.wait_until((root / "b.txt").exists)
        assert (root / "b.txt").read_bytes() == b"new"
        assert sorted(os.listdir(root)) == ["a.txt", "b.txt"]

    def test_rename_keeps_the_inode(self, world: Any, root: Path) -> None:
        inode = (root / "a.txt").stat().st_ino
        world.files.joinpath("a.txt").rename(world.files / "b.txt")
        world.index(world.files / "b.txt")
        world.wait_until((root / "b.txt").exists)
        assert (root / "b.txt").stat().st_ino == inode
        world.wait_until(lambda: not (root / "a.txt").exists())
        assert (root / "b.txt").read_bytes() == b"first"

    def test_deletion(self, world: Any, root: Path) -> None:
        world.delete(world.files / "a.txt")
        world.wait_until(lambda: not (root / "a.txt").exists())
        assert os.listdir(root) == []

    def test_changed_bytes(self, world: Any, root: Path) -> None:
        world.write("a.txt", b"second and longer")
        world.wait_until(lambda: (root / "a.txt").stat().st_size == 17)
        assert (root / "a.txt").read_bytes() == b"second and longer"

    def test_changed_on_disk_before_it_is_indexed(self, world: Any, root: Path) -> None:
        (world.files / "a.txt").write_bytes(b"not indexed yet")
        with open(root / "a.txt", "rb"):
            pass
        assert (root / "a.txt").read_bytes() == b"not indexed yet"
        assert (root / "a.txt").stat().st_size == 15

    @pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "in place"])
    def test_changed_on_disk_with_the_size_and_time_it_had(self, world: Any, root: Path, replaced: bool) -> None:
        """As ``rsync --times`` and ``touch --reference`` leave a file: the index has nothing to tell."""
        path = world.files / "a.txt"
        before = path.stat()
        written = world.files / "beside" if replaced else path
        written.write_bytes(b"other")
        os.utime(written, ns=(before.st_atime_ns, before.st_mtime_ns))
        written.replace(path)
        assert (root / "a.txt").read_bytes() == b"other"

    def test_an_open_file_keeps_its_bytes(self, world: Any, root: Path) -> None:
        with open(root / "a.txt", "rb") as file:
            replacement = world.files / "other"
            replacement.write_bytes(b"other")
            replacement.rename(world.files / "a.txt")
            world.index(world.files / "a.txt")
            world.wait_until(lambda: (root / "a.txt").read_bytes() == b"other")
            assert os.pread(file.fileno(), 5, 0) == b"first"
            assert (root / "a.txt").read_bytes() == b"other"
        assert (root / "a.txt").read_bytes() == b"other"

    def test_a_folder_appears_and_goes(self, world: Any, root: Path) -> None:
        path = world.write("folder/inner/x", b"x")
        world.wait_until((root / "folder" / "inner" / "x").exists)
        world.delete(path)
        world.wait_until(lambda: not (root / "folder").exists())

    def test_a_virtual_directory_is_renamed(self, world: Any, root: Path) -> None:
        world.write("folder/x", b"x")
        world.wait_until((root / "folder" / "x").exists)
        document = world.get(d.directory_document_id("/all"))
        world.put({**document, "_id": d.directory_document_id("/every"), "virtual_path": "/every", "name": "every"})
        world.remove(document["_id"])
        every = root.parent / "every"
        world.wait_until(every.exists)
        world.wait_until(lambda: not root.exists())
        assert (every / "folder" / "x").read_bytes() == b"x"
        assert (every / "a.txt").read_bytes() == b"first"


@pytest.mark.parametrize("listed_last", ["all", "picked"])
def test_a_file_shown_twice_outlives_the_loss_of_one_place(world: Any, point: Path, listed_last: str) -> None:
    path = world.write("a.txt", b"still here")
    world.put_directory("/picked", world.source(world.files, steps=[{"op": "label", "labels": ["pick"]}]))
    world.label(path, "pick")
    root = world.mount(point).directory
    for name in ("all", "picked") if listed_last == "picked" else ("picked", "all"):
        assert (root / name / "a.txt").read_bytes() == b"still here"
    world.label(path)
    world.wait_until(lambda: not (root / "picked" / "a.txt").exists())
    assert (root / "all" / "a.txt").read_bytes() == b"still here"
    assert (root / "all" / "a.txt").stat().st_size == 10
