"""Protects reading other machines' files through the mount: by the kernel, the agent's socket, the cache and HTTP."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.content.bed import MIB, OWNER, content, flip, flip_bits
from tests.mount.remote_agent import RemoteAgent

from mosaicfs_core import documents as d
from mosaicfs_core.hooks import FileRecord

pytestmark = pytest.mark.fuse
BIG = 60 * MIB + 12345
NAME = "0b0e7a52-8d06-5c0e-9f0e-3a6b5a0d0c01"


@pytest.fixture
def remote(world: Any) -> Iterator[RemoteAgent]:
    """An agent beside the world, and ``/far`` in its tree."""
    agent = RemoteAgent(world.home, world.home.cache_dir)
    mount = {**world.source(Path("/files")), "source": {"node_id": OWNER, "export_path": "/files"}}
    world.put_directory("/far", mount)
    yield agent
    agent.close()


@pytest.fixture
def give(world: Any, remote: RemoteAgent) -> Callable[..., FileRecord]:
    """Let the owner have a file, and the replica its document."""

    def make(data: bytes, *, mtime: int = 1_000_000, told: bool = True, name: str = NAME) -> FileRecord:
        file = remote.call(lambda: remote.bed.put(name, data, mtime=mtime))
        if told:
            identifier = d.file_document_id(OWNER, name)
            world.put(
                {
                    "_id": identifier,
                    "type": "file",
                    "inode": d.derived_inode(identifier),
                    "name": name,
                    "source": {"node_id": OWNER, "export_path": file.export_path, "export_parent": "/files"},
                    "size": len(data),
                    "mtime": d.format_time(mtime),
                    "status": "active",
                }
            )
        return file

    return make


def connected(world: Any, remote: RemoteAgent) -> None:
    """Wait until the mount has named itself to the agent."""
    world.wait_until(lambda: bool(remote._socket and remote._socket._mounts), 5)


def test_a_small_file(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    data = content(3 * MIB + 5)
    give(data)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    assert path.stat().st_size == len(data)
    assert remote.bed.owner.requests == []
    assert path.read_bytes() == data
    assert path.read_bytes() == data
    assert remote.bed.owner.gets() == [""]


def test_a_big_file_by_blocks(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    data = content(BIG)
    give(data)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    with open(path, "rb") as file:
        file.seek(50 * MIB)
        assert file.read(1000) == data[50 * MIB : 50 * MIB + 1000]
    assert remote.bed.owner.sent < 12 * MIB
    assert path.read_bytes() == data
    assert remote.bed.owner.sent < BIG + 8 * MIB


def test_a_hundred_parallel_readers(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    data = content(2 * MIB)
    give(data)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    wrong: list[int] = []

    def read(number: int) -> None:
        if path.read_bytes() != data:
            wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert remote.bed.owner.gets() == [""]


def test_an_edit_is_seen(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    give(b"first")
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    assert path.read_bytes() == b"first"
    give(b"third", mtime=2_000_000)
    world.wait_until(lambda: path.read_bytes() == b"third", 5)


def test_versions_are_never_mixed(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    old, new = content(BIG, 1), content(BIG, 2)
    give(old)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(descriptor, MIB, 0) == old[:MIB]
        give(new, told=False)
        with pytest.raises(OSError, match="Input/output") as failure:
            os.pread(descriptor, MIB, 40 * MIB)
        assert failure.value.errno == errno.EIO
    finally:
        os.close(descriptor)
    with open(path, "rb") as file:
        assert file.read(2 * MIB) == new[: 2 * MIB]
        file.seek(40 * MIB)
        assert file.read(MIB) == new[40 * MIB : 41 * MIB]


def test_pages_of_a_version_that_left_the_cache_are_not_mixed_in(
    world: Any, remote: RemoteAgent, give: Any, point: Path
) -> None:
    old, new = content(BIG, 1), content(BIG, 2)
    give(old)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    with open(path, "rb") as file:
        assert file.read(2 * MIB) == old[: 2 * MIB]
    with open(path, "rb") as file:
        assert file.read(2 * MIB) == old[: 2 * MIB]
    world.wait_until(lambda: not remote.call(lambda: [e for e in remote.bed.cache._entries.values() if e.users]), 5)
    remote.run(remote.bed.cache.compare({}.get))
    give(new, told=False)
    with open(path, "rb") as file:
        assert file.read(4 * MIB) == new[: 4 * MIB]


def test_cached_files_stay_while_the_agent_is_down(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    data, other = content(3 * MIB), "0b0e7a52-8d06-5c0e-9f0e-3a6b5a0d0c02"
    give(data)
    give(b"not cached", name=other)
    mount = world.mount(point)
    assert mount.agent
    directory = mount.directory / "far"
    connected(world, remote)
    held = os.open(directory / NAME, os.O_RDONLY)
    assert os.pread(held, 10, 0) == data[:10]
    remote.stop()
    subprocess.run(["sync"], check=True)
    drop_pages(directory / NAME)
    assert (directory / NAME).read_bytes() == data
    assert os.pread(held, MIB, MIB) == data[MIB : 2 * MIB]
    with pytest.raises(OSError, match="Input/output"):
        (directory / other).read_bytes()
    remote.start()
    connected(world, remote)
    assert (directory / other).read_bytes() == b"not cached"
    assert os.pread(held, MIB, 2 * MIB) == data[2 * MIB :]
    os.close(held)


def drop_pages(path: Path) -> None:
    """Have the kernel forget its pages of a file, so that the next read asks the mount."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


@pytest.mark.logs("damaged and are fetched again")
def test_a_flipped_bit_in_the_cache_is_mended(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    data = content(3 * MIB)
    give(data)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    assert path.read_bytes() == data
    (cached,) = remote.bed.data_files()
    held = os.open(path, os.O_RDONLY)
    with open(cached, "r+b") as file:
        file.seek(MIB + 7)
        file.write(bytes([data[MIB + 7] ^ 1]))
    drop_pages(path)
    assert os.pread(held, 3 * MIB, 0) == data
    os.close(held)
    assert cached.read_bytes() == data


@pytest.mark.logs("damaged and are fetched again")
@pytest.mark.parametrize("again", [False, True])
def test_pages_with_damaged_bytes_go_once_the_damage_is_noticed(
    world: Any, remote: RemoteAgent, give: Any, point: Path, again: bool
) -> None:
    """A bit flips just while the agent writes to the same file, so that its time tells nothing, and is read. Something
    else that others do to the file is noticed: from then on those pages are not served, by whatever descriptor."""
    data = content(BIG)
    give(data)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    assert path.read_bytes() == data
    drop_pages(path)
    assert path.read_bytes() == data, "and compared once more"
    (cached,) = remote.bed.data_files()
    (entry,) = remote.call(lambda: list(remote.bed.cache._entries.values()))
    drop_pages(path)
    held = os.open(path, os.O_RDONLY)

    def unseen() -> None:
        flip(cached, 5 * MIB)
        entry.stamp = cached.stat().st_ctime_ns

    remote.call(unseen)
    assert os.pread(held, 10, 5 * MIB) != data[5 * MIB : 5 * MIB + 10], "the kernel has them"
    flip(cached, 40 * MIB)
    if again:
        os.close(held)
        held = os.open(path, os.O_RDONLY)
        assert os.pread(held, 10, 5 * MIB) == data[5 * MIB : 5 * MIB + 10]
    assert os.pread(held, 10, 40 * MIB) == data[40 * MIB : 40 * MIB + 10]
    world.wait_until(lambda: os.pread(held, 10, 5 * MIB) == data[5 * MIB : 5 * MIB + 10], 5)
    os.close(held)


@pytest.mark.logs("begins anew|data file of the cache is gone")
@pytest.mark.parametrize("lost", ["data", "index", "everything"])
def test_what_is_lost_of_the_cache_is_fetched_again(
    world: Any, remote: RemoteAgent, give: Any, point: Path, lost: str
) -> None:
    """Deleted under a running agent and mount: what is open goes on, what is opened is right, and stays afterwards."""
    data, big = content(3 * MIB), content(BIG, 2)
    name = "0b0e7a52-8d06-5c0e-9f0e-3a6b5a0d0c02"
    give(data)
    give(big, name=name)
    directory = world.mount(point).directory / "far"
    connected(world, remote)
    held, played = (os.open(directory / one, os.O_RDONLY) for one in (NAME, name))
    assert os.pread(held, MIB, 0) == data[:MIB]
    assert os.pread(played, MIB, 5 * MIB) == big[5 * MIB : 6 * MIB]
    cache = world.home.cache_dir
    if lost == "everything":
        shutil.rmtree(cache)
    for path in remote.bed.data_files() if lost == "data" else cache.glob("index.db*"):
        path.unlink()
    drop_pages(directory / NAME)
    assert os.pread(held, 2 * MIB, MIB) == data[MIB:]
    assert os.pread(played, MIB, 5 * MIB) == big[5 * MIB : 6 * MIB]
    assert os.pread(played, MIB, 40 * MIB) == big[40 * MIB : 41 * MIB]
    for one, expected in ((NAME, data), (name, big)):
        drop_pages(directory / one)
        assert (directory / one).read_bytes() == expected
    for descriptor in (held, played):
        os.close(descriptor)
    remote.run(remote.bed.settled())
    remote.run(remote.bed.owner.stop())
    for one, expected in ((NAME, data), (name, big)):
        drop_pages(directory / one)
        assert (directory / one).read_bytes() == expected, "it was kept"
    remote.stop()
    drop_pages(directory / NAME)
    assert (directory / NAME).read_bytes() == data, "the mount finds it without an agent too"


@pytest.mark.logs("begins anew|index cannot be")
def test_a_cache_that_is_deleted_again_and_again_while_a_file_comes(
    world: Any, remote: RemoteAgent, give: Any, point: Path
) -> None:
    """At each answer of the owner, and in turn another part of it: no open and no read fails or waits."""
    data, small = content(BIG), content(3 * MIB, 2)
    name = "0b0e7a52-8d06-5c0e-9f0e-3a6b5a0d0c02"
    give(data)
    give(small, name=name)
    directory = world.mount(point).directory / "far"
    connected(world, remote)
    cache, number = world.home.cache_dir, itertools.count()

    def delete(_: Any, body: bytes) -> bytes:
        for path in cache.glob(("index.db*", "??/*", "tmp", "*")[next(number) % 4]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(cache, ignore_errors=True)
        return body

    remote.call(lambda: setattr(remote.bed.owner, "disturb", delete))
    with open(directory / NAME, "rb") as file:
        while part := file.read(4 * MIB):
            end = file.tell()
            assert part == data[end - len(part) : end]
            with open(directory / name, "rb") as other:
                assert other.read() == small
            drop_pages(directory / name)
            with open(directory / NAME, "rb") as again:
                assert again.read(1000) == data[:1000]
            drop_pages(directory / NAME)
    assert next(number) > 10


@pytest.mark.logs("index|^The mount's cache|damaged and are fetched again")
def test_flipped_bits_in_the_index_of_the_cache(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    """Under a running agent and mount, and then for a mount that reads the index by itself: no byte is ever wrong."""
    chance, data, big = random.Random(9), content(3 * MIB), content(BIG, 2)
    name = "0b0e7a52-8d06-5c0e-9f0e-3a6b5a0d0c02"
    give(data)
    give(big, name=name)
    directory = world.mount(point).directory / "far"
    connected(world, remote)
    for number in range(12):
        drop_pages(directory / NAME)
        assert (directory / NAME).read_bytes() == data
        descriptor = os.open(directory / name, os.O_RDONLY)
        assert os.pread(descriptor, 2 * MIB, number * MIB) == big[number * MIB : (number + 2) * MIB]
        os.close(descriptor)
        drop_pages(directory / name)
        flip_bits(world.home.cache_dir, chance)
    remote.run(remote.bed.settled())
    remote.stop()
    for _ in range(12):
        try:
            drop_pages(directory / NAME)
            assert (directory / NAME).read_bytes() == data
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017 - either is right
        flip_bits(world.home.cache_dir, chance)


def test_an_owner_that_is_gone_is_an_error_soon(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    give(b"x" * 1000)
    remote.run(remote.bed.owner.stop())
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    started = time.monotonic()
    with pytest.raises(OSError, match="Input/output"):
        path.read_bytes()
    assert time.monotonic() - started < 10


def test_waiting_for_a_silent_owner_can_be_interrupted(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    give(content(BIG))
    asked, over = threading.Event(), remote.call(asyncio.Event)

    async def wait(*_: Any) -> bytes:
        asked.set()
        await over.wait()
        return b""

    remote.call(lambda: setattr(remote.bed.owner, "disturb", wait))
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    reader = subprocess.Popen([sys.executable, "-c", f"open({str(path)!r}, 'rb').read()"])
    assert asked.wait(20)
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(3) == -signal.SIGTERM
    remote.call(over.set)


def test_a_full_cache_still_reads(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    data = content(BIG)
    remote.call(lambda: setattr(remote.bed.cache.room, "capacity", 5 * MIB))
    give(data)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    assert path.read_bytes() == data
    assert remote.bed.cache.usage.cached_bytes <= 5 * MIB


def test_named_programs_get_nothing_over_the_network(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    world.home.config_file.write_text('[mount]\nrefuse_programs = ["tumblerd"]\n')
    data = content(MIB)
    give(data)
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    program = (
        "import sys; open('/proc/self/comm', 'w').write('tumblerd')\n"
        "sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    )
    line = [sys.executable, "-c", program, str(path)]
    refused = subprocess.run(line, capture_output=True, check=False)
    assert b"Input/output error" in refused.stderr
    assert remote.bed.owner.requests == []
    assert path.read_bytes() == data
    drop_pages(path)
    allowed = subprocess.run(line, capture_output=True, check=False)
    assert allowed.stdout == data, "what is on this machine anyone may read"
    remote.stop()
    remote.start()
    connected(world, remote)
    drop_pages(path)
    assert subprocess.run(line, capture_output=True, check=False).stdout == data, "not verified again yet, and here"
    log = "".join(file.read_text() for file in world.home.log_dir.glob("mount*"))
    assert "tumblerd may not read files of other machines" in log


def test_a_budget_per_minute(world: Any, remote: RemoteAgent, give: Any, point: Path) -> None:
    world.home.config_file.write_text(f"[mount]\nremote_bytes_per_minute = {8 * MIB}\n")
    give(content(BIG))
    path = world.mount(point).directory / "far" / NAME
    connected(world, remote)
    with open(path, "rb", buffering=0) as file:
        assert len(file.read(MIB)) == MIB
        file.seek(30 * MIB)
        with pytest.raises(OSError, match="Input/output"):
            list(iter(lambda: file.read(MIB), b""))
