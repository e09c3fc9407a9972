"""What is done to each file system in the mount comparison: plain programs and system calls, the same for all."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_CHUNK = 1 << 20
_RANDOM_SPAN = 128 << 20
_SPARE = 512 << 20


def drop_caches() -> None:
    """Forget every clean page, name and inode, and put free memory in order again (root).

    In fragmented memory the pages of a FUSE file lie scattered, which halves the speed of reading them from the cache.
    """
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    Path("/proc/sys/vm/compact_memory").write_text("1", encoding="ascii")


def ready_memory(size: int) -> None:
    """Have the machine's memory at hand: touch twice ``size`` bytes and what the page cache needs besides.

    A virtual machine's host takes back memory that was free for a while, and gives it again page by page when it is
    touched. A FUSE file is cached twice, in the mount's pages and in the disk's, so it would pay for that twice.
    """
    mmap.mmap(-1, 2 * size + _SPARE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def sequential(path: Path) -> float:
    """MB/s of reading a file from end to end in 1 MiB reads."""
    buffer = bytearray(_CHUNK)
    total = 0
    started = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total += count
    return total / (time.perf_counter() - started) / 1e6


def small_files(directory: Path) -> float:
    """Files per second of listing a directory and reading every file in it."""
    count = 0
    started = time.perf_counter()
    for name in os.listdir(directory):
        descriptor = os.open(directory / name, os.O_RDONLY)
        while os.read(descriptor, 65536):
            pass
        os.close(descriptor)
        count += 1
    return count / (time.perf_counter() - started)


def long_listing(directory: Path) -> float:
    """Milliseconds of ``ls -l``."""
    return _milliseconds(["ls", "-l", os.fspath(directory)])


def find_with_stat(directory: Path) -> float:
    """Milliseconds of a ``find`` that needs every file's size."""
    return _milliseconds(["find", os.fspath(directory), "-size", "+1000G"])


def random_reads(path: Path, threads: int, keep_cache: bool) -> float:
    """Reads per second of 4 KiB at random offsets, every page at most once (fio, psync): what a second run finds.

    Unless ``keep_cache``, fio first drops what the mount's own page cache has of the file; the disk's stays. The first
    run is not counted, for any file system: it fills pages that a virtual machine's host has taken back meanwhile and
    gives again one by one, which halves whoever comes after a pause. The second fills those that the first let go.
    """
    each = min(path.stat().st_size, _RANDOM_SPAN) // threads
    command = ["fio", "--name=random", f"--filename={path}", "--readonly", "--allow_file_create=0", "--rw=randread"]
    command += ["--bs=4k", "--ioengine=psync", f"--numjobs={threads}", "--thread", "--group_reporting"]
    command += [f"--size={each}", f"--offset_increment={each}", "--runtime=3", "--output-format=json"]
    command += [f"--invalidate={0 if keep_cache else 1}"]
    for _ in range(2):
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(said[said.index("{") :])["jobs"][0]["read"]["iops"])


def _milliseconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
    return (time.perf_counter() - started) * 1000
