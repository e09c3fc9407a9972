"""Protects acknowledged writes: a SIGKILL at any moment loses none, ``fdatasync`` comes before every acknowledgement,
and a full disk refuses a write clearly and leaves the store usable."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.store import Reader, Store
from mosaicfs_core.testing.store import NODE, file_document

ROUNDS = int(os.environ.get("MOSAICFS_CRASH_ROUNDS", "100"))
CHILD = Path(__file__).parent / "crash_child.py"
BATCH = 50


def consistent(path: Path) -> int:
    """Check that the replica holds whole batches and counts that agree; returns the number of the last batch."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.execute("INSERT INTO names(names) VALUES('integrity-check')")
    connection.close()
    reader = Reader.open(path)
    counter = reader.file_by_path(NODE, "/counter")
    root = reader.directory(NODE, "/")
    last = -1 if counter is None else counter.size
    if root is not None:
        assert root.below == (last + 1) * BATCH + 1
        assert sum(len(batch.docs) for batch in reader.scan_files()) == root.below
        tail = [reader.file_by_path(NODE, f"/d{last % 7}/{last}-{index}.bin") for index in range(BATCH)]
        assert all(tail)
        assert reader.files_by_identity(1, last * BATCH + 3) == [tail[3]]
    reader.close()
    return last


def has_tables(path: Path) -> bool:
    """Whether the database was ever written to."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def test_a_kill_loses_nothing_acknowledged(fork_server: Any, tmp_path: Path) -> None:
    path, chance, last = tmp_path / "replica.db", random.Random(), -1
    writer = fork_server(CHILD)
    for _ in range(ROUNDS):
        writer.start(str(path), last + 1)
        acknowledged = last
        for _ in range(chance.randint(0, 8)):
            acknowledged = int(writer.line())
        # Kill in the middle of whatever it does a random while after that acknowledgement, or after its start.
        time.sleep(chance.random() * 0.02)
        acknowledged = int([acknowledged, *writer.kill()][-1])
        # Killed before its first transaction it leaves a file without a table, which the next start fills.
        if acknowledged >= 0 or has_tables(path):
            last = consistent(path)
        assert last in (acknowledged, acknowledged + 1)


def test_fdatasync_precedes_every_acknowledgement(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log, path = tmp_path / "trace", tmp_path / "replica.db"
    command = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fdatasync,fsync,write,pwrite64"]
    with subprocess.Popen(
        [*command, sys.executable, str(CHILD), str(path), "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as traced:
        assert traced.stdout is not None
        assert traced.stderr is not None
        lines = [traced.stdout.readline() for _ in range(8)]
        os.killpg(traced.pid, signal.SIGKILL)
        if not all(lines):
            pytest.skip(f"strace cannot trace here: {traced.stderr.read()[-200:]}")
    dirty, synced, acknowledged = False, True, 0
    for line in log.read_text(errors="replace").splitlines():
        if re.search(r"pwrite64\(\d+<[^>]*replica\.db-wal>", line):
            dirty, synced = True, False
        elif re.search(r"(fdatasync|fsync)\(\d+<[^>]*replica\.db-wal>", line) or "<... fdatasync resumed>" in line:
            synced = True
        elif re.search(r'write\(1<[^>]*>, "\d+', line):
            assert synced, f"acknowledged before it was on the disk: {line}"
            acknowledged += dirty
            dirty = False
    assert acknowledged >= 7


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 2 MB, or one where no file may grow beyond that."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and sys.platform == "linux"
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if mounted:
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


async def test_a_full_disk_is_said_and_survived(small_disk: Path) -> None:
    store = await Store.open(small_disk / "replica.db")
    written = 0
    problem: Unavailable | None = None
    while problem is None:
        try:
            await store.bulk([file_document(f"/d/{written + index}") for index in range(200)])
            written += 200
        except Unavailable as error:
            problem = error
    assert "full" in problem.message
    assert written > 0
    root = store.reader.directory(NODE, "/")
    assert root is not None
    assert root.below == written
    assert len(store.reader.files_in(store.reader.directory(NODE, "/d").dir)) == written
    with pytest.raises(Unavailable):
        await store.bulk([file_document(f"/e/{index}") for index in range(20_000)])
    assert (await store.info()).documents == {"file": written}
    await store.close()
    again = await Store.open(small_disk / "replica.db")
    assert (await again.info()).documents == {"file": written}
    assert await again.get(file_document("/d/0")["_id"]) is not None
    await again.close()


async def test_writing_goes_on_when_there_is_room_again(small_disk: Path) -> None:
    blocker = small_disk / "blocker"
    store = await Store.open(small_disk / "replica.db")
    await store.put(file_document("/first"))
    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] == 2 << 20
    if limited:
        pytest.skip("needs a disk of its own: root can mount one")
    descriptor = os.open(blocker, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(descriptor, bytes(4096)):
            pass
    os.close(descriptor)
    with pytest.raises(Unavailable, match="full"):
        await store.bulk([file_document(f"/d/{index}") for index in range(2_000)])
    assert "full" in (store.failure or "")
    blocker.unlink()
    await store.transaction(lambda tx: None)
    assert store.failure, "nothing was written: that nothing failed tells nothing"
    results = await store.bulk([file_document(f"/d/{index}") for index in range(500)])
    assert all(result.error is None for result in results)
    assert store.failure is None
    assert (await store.info()).documents == {"file": 501}
    await store.close()


async def test_what_it_writes_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "replica.db"

    def modes() -> set[int]:
        return {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("replica.db*")}

    before = os.umask(0o022)
    try:
        async with await Store.open(path) as store:
            await store.put(file_document("/a/x"))
            assert len(list(tmp_path.glob("replica.db*"))) == 3
            assert modes() == {0o600}
            # What an earlier version left open to others is closed.
            for file in tmp_path.glob("replica.db*"):
                file.chmod(0o644)
            copy = await Store.open(path)
            assert modes() == {0o600}
            await copy.close()
    finally:
        os.umask(before)
