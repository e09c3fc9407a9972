"""Protects against what goes wrong: a crawl that is killed, a plugin that fails, a disk that is full or unmounted."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent.session import Session
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.home import Home
from mosaicfs_core.store import Reader

Write = Callable[[Path, Mapping[str, str]], None]
ROUNDS = int(os.environ.get("MOSAICFS_CRASH_ROUNDS", "100"))

CHILD = Path(__file__).parent / "crash_child.py"


def kill_a_crawl(crawler: Any, home: Path, chance: random.Random) -> None:
    """Crawl in a process of its own and kill it: some time after its start, or after the first files were durable."""
    crawler.start(str(home))
    assert crawler.line() == "ready"
    if chance.random() < 0.7:
        assert crawler.line() == "writing"
    time.sleep(chance.uniform(0.0, 0.1))
    crawler.kill()


@contextmanager
def mounted(where: Path, *options: str) -> Iterator[None]:
    """An empty file system of its own, mounted for a while."""
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(where)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(where)], check=True)


def widen(where: Path) -> None:
    """Give a full file system room."""
    subprocess.run(["mount", "-o", "remount,size=100m", str(where)], check=True)


def durable(home: Path) -> dict[str, str]:
    """The files in a replica that nobody writes, by name, with their uuids. Raises when it is damaged."""
    reader = Reader.open(Home(home).replica)
    try:
        assert reader.rows("PRAGMA quick_check") == [("ok",)]
        docs = [doc for batch in reader.scan_files() for doc in batch.docs]
        return {row.name: row.uuid for row in reader.file_rows(docs)}
    finally:
        reader.close()


def stir(tree: Path, number: int, write: Write) -> None:
    """Give the next crawl something to do: another folder, and other names for half of the ones that are there."""
    for folder in list(tree.iterdir())[::2]:
        folder.rename(tree / f"{folder.name.split('.')[0]}.{number}")
    made = 1_000 if number == 0 else 30
    write(tree, {f"r{number}-{serial // 100}/{number}-{serial}.txt": "x" * number for serial in range(made)})


async def test_a_killed_crawl_is_made_good_by_the_next(
    make_node: Any, fork_server: Any, write: Write, tmp_path: Path
) -> None:
    home, tree = tmp_path / "home", tmp_path / "tree"
    crawler = fork_server(CHILD)
    chance = random.Random(7)
    async with make_node(home, tree):
        pass  # the settings are in the replica now
    known: dict[str, str] = {}
    for number in range(ROUNDS):
        stir(tree, number, write)
        kill_a_crawl(crawler, home, chance)
        now = durable(home)
        assert {name: now.get(name) for name in known} == known, f"round {number} lost what was durable"
        known = now
    assert known
    async with make_node(home, tree) as node:
        await node.start()
        assert node.agrees()
        after = durable(home)
        assert {name: after.get(name) for name in known} == known
        assert (await node.crawl()).written == 0


@pytest.mark.logs("Is the disk full")
async def test_a_full_disk_ends_the_crawl_and_a_later_one_makes_it_good(
    make_node: Any, write: Write, tmp_path: Path
) -> None:
    """While the crawl looks ahead: the next chunk is being listed when the write fails."""
    home, tree = tmp_path / "home", tmp_path / "tree"
    home.mkdir()
    write(tree, {f"{number // 100}/a-name-that-takes-some-room-{number}.txt": "x" for number in range(8_000)})
    with mounted(home, "-o", "size=2m"):
        async with make_node(home, tree) as node:
            await node.start()
            crawler = node.agent.status()["subsystems"]["crawler"]
            assert crawler["status"] == "degraded"
            assert "full" in crawler["detail"]
            disk = node.agent.status()["subsystems"]["disk"]
            assert disk["status"] == "unhealthy"
            assert str(home) in disk["detail"]
            widen(home)
            # By itself, after a pause; asking joins it.
            await node.crawl()
            assert node.agrees()
            after = node.agent.status()["subsystems"]
            assert (after["crawler"]["status"], after["disk"]["status"]) == ("healthy", "healthy")


@pytest.mark.logs("mosaicfs_crawl failed")
async def test_a_crawl_that_fails_half_way_deletes_nothing(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(node.tree, {f"d{number}/f": "1" for number in range(5)})
    await node.start()
    before = node.rows()
    (node.tree / "d0/f").unlink()

    def broken(*_: Any) -> Iterator[Any]:
        yield from real(*_)
        raise ValueError("half way")

    from mosaicfs_plugins.localfs.crawl import Tree

    real = Tree.operations
    monkeypatch.setattr(Tree, "operations", broken)
    with pytest.raises(MosaicError, match="half way"):
        await node.crawl()
    assert node.rows() == before


async def _cut_off(*_: Any) -> None:
    raise MosaicError("cut off before the deletions")


@pytest.mark.logs("^crawl failed: cut off")
async def test_a_folder_taken_out_leaves_the_index_even_when_that_crawl_is_cut_off(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(node.tree, {"keep/f": "1", "drop/g": "1", "outer/h": "1", "outer/keep/i": "1"})
    folders = [os.fspath(node.tree / name) for name in ("keep", "drop", "outer")]
    await node.configure(paths=folders)
    await node.start()
    assert set(node.rows()) == {"keep/f", "drop/g", "outer/h", "outer/keep/i"}
    await node.stop()
    await node.configure(paths=[folders[0], os.path.join(folders[2], "keep")])
    with monkeypatch.context() as patch:
        patch.setattr(Session, "finish", _cut_off)
        await node.start()
        await node.stop()
    await node.start()
    assert set(node.rows()) == {"keep/f", "outer/keep/i"}


@pytest.mark.logs("^crawl failed: cut off")
@pytest.mark.skipif(os.getuid() != 0, reason="mounting a file system needs root")
async def test_a_folder_put_back_before_it_had_left_the_index_is_taken_as_it_is_now(
    node: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(node.tree, {"disk/old": "1", "keep/f": "1"})
    both = [os.fspath(node.tree / name) for name in ("keep", "disk")]
    await node.configure(paths=both)
    await node.start()
    await node.stop()
    with mounted(node.tree / "disk"):
        write(node.tree, {"disk/new": "1"})
        await node.configure(paths=both[:1])
        with monkeypatch.context() as patch:
            patch.setattr(Session, "finish", _cut_off)
            await node.start()
            await node.stop()
        await node.configure(paths=both)
        await node.start()
        assert set(node.rows()) == {"keep/f", "disk/new"}


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a file system needs root")
async def test_an_unmounted_disk_deletes_nothing(node: Any, write: Write) -> None:
    disk = node.tree / "disk"
    disk.mkdir(parents=True)
    write(node.tree, {"f": "1"})
    with mounted(disk):
        write(disk, {"on/disk": "1"})
        await node.start()
        assert set(node.rows()) == {"f", "disk/on/disk"}
    await node.crawl()
    assert set(node.rows()) == {"f", "disk/on/disk"}
    assert any("disk" in text for text in node.agent.status()["subsystems"]["crawler"]["inaccessible"])
    assert node.agent.status()["overall"] == "degraded"


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a file system needs root")
async def test_another_disk_in_the_place_of_one_deletes_nothing_until_its_folder_was_ignored(
    node: Any, write: Write
) -> None:
    disk = node.tree / "disk"
    disk.mkdir(parents=True)
    write(node.tree, {"f": "1"})
    with mounted(disk):
        write(disk, {"one": "1"})
        await node.start()
    with mounted(disk):
        write(disk, {"other": "1"})
        await node.crawl()
        await node.crawl()
        assert set(node.rows()) == {"f", "disk/one"}
        assert "another filesystem" in node.agent.status()["subsystems"]["crawler"]["inaccessible"][0]
        await node.configure(ignore=["/disk/"])
        await node.settled(lambda: set(node.rows()) == {"f"})
        await node.configure(ignore=[])
        await node.settled(lambda: set(node.rows()) == {"f", "disk/other"})


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a file system needs root")
async def test_a_root_on_another_file_system_than_before_deletes_nothing(node: Any, write: Write) -> None:
    write(node.tree, {"f": "1"})
    await node.start()
    with mounted(node.tree):
        await node.crawl()
        await node.crawl()
        assert set(node.rows()) == {"f"}
        assert "another filesystem" in node.agent.status()["subsystems"]["crawler"]["inaccessible"][0]
    await node.crawl()
    assert node.agrees()
    assert node.agent.status()["overall"] == "healthy"


async def test_an_unreadable_directory_keeps_what_was_known(node: Any, write: Write) -> None:
    if os.getuid() == 0:
        pytest.skip("root may read every directory")
    write(node.tree, {"closed/f": "1", "open/g": "1"})
    await node.start()
    (node.tree / "closed").chmod(0)
    try:
        await node.crawl()
        assert set(node.rows()) == {"closed/f", "open/g"}
        assert node.agent.status()["subsystems"]["crawler"]["counts"] == {"unreadable": 1}
    finally:
        (node.tree / "closed").chmod(0o700)
