"""The mount beside the bare file system, mergerfs and rclone mount, over the same tree, in one run (root, Linux).

Every round takes each load through each file system in turn, so that a busy moment of the machine hits all of them.
Each round begins with another one, so that none always comes first. Warm is what a third pass finds: in the second one
the kernel still moves every page to the list of those that are used again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks import mount_loads as loads
from benchmarks.instance import running
from benchmarks.rows import Row
from benchmarks.trees import ROOT

OURS = "mosaicfs"
ROUNDS = 5
Figures = Mapping[str, Mapping[str, float]]


def tree(scale: float) -> Path:
    """A file of 1 GiB, a directory of 10,000 files of 4 KiB, and 100,000 empty files in 1,000 directories, scaled."""
    root = ROOT / f"mount-{scale:g}"
    mark = ROOT / f"mount-{scale:g}.complete"
    if mark.exists():
        return root
    (root / "small").mkdir(parents=True, exist_ok=True)
    block = os.urandom(1 << 20)
    with open(root / "big.bin", "wb") as big:
        for number in range(max(64, int(1024 * scale))):
            big.write(number.to_bytes(8) + block[8:])
    for number in range(int(10_000 * scale)):
        (root / "small" / f"note-{number:05d}.txt").write_bytes(block[:4096])
    for directory in range(int(1_000 * scale)):
        place = root / "many" / f"folder-{directory:04d}"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(100):
            (place / f"document-{number:03d}.pdf").touch()
    mark.touch()
    return root


def count(root: Path) -> int:
    """Files beneath a directory."""
    return sum(len(files) for _, _, files in os.walk(root))


@contextlib.contextmanager
def peer(command: list[str], point: Path) -> Iterator[Path]:
    """A file system that ``command`` mounts on ``point`` and serves in the foreground."""
    point.mkdir()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not os.path.ismount(point):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not mount")
            time.sleep(0.05)
        yield point
    finally:
        subprocess.run(["fusermount3", "-uz", os.fspath(point)], check=False)
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def peers(root: Path, place: Path) -> Iterator[dict[str, Path]]:
    """The bare tree and the installed peers' mounts of it, by name."""
    with contextlib.ExitStack() as stack:
        found = {"bare": root}
        if shutil.which("mergerfs"):
            # Read-only, like ours: a slip in this directory must not reach the tree through the peer.
            command = ["mergerfs", "-f", "-o", "ro", os.fspath(root), os.fspath(place / "mergerfs")]
            found["mergerfs"] = stack.enter_context(peer(command, place / "mergerfs"))
        if shutil.which("rclone"):
            command = ["rclone", "mount", "--read-only", os.fspath(root), os.fspath(place / "rclone")]
            found["rclone"] = stack.enter_context(peer(command, place / "rclone"))
        yield found


def measure(trees: Mapping[str, Path], rounds: int = ROUNDS) -> dict[str, dict[str, float]]:
    """Medians by load and file system."""
    cold_warm: dict[str, Callable[[Path], float]] = {
        "sequential": lambda path: loads.sequential(path / "big.bin"),
        "small files": lambda path: loads.small_files(path / "small"),
        "ls -l": lambda path: loads.long_listing(path / "small"),
        "find": lambda path: loads.find_with_stat(path / "many"),
    }
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        turns = deque(trees.items())
        turns.rotate(-number)
        for load, action in cold_warm.items():
            for name, path in turns:
                loads.drop_caches()
                if load == "sequential":
                    loads.ready_memory((path / "big.bin").stat().st_size)
                taken[f"{load} cold"][name].append(action(path))
                action(path)
                taken[f"{load} warm"][name].append(action(path))
        loads.sequential(trees["bare"] / "big.bin")
        for threads in (1, 8):
            for name, path in turns:
                speed = loads.random_reads(path / "big.bin", threads, keep_cache=name == "bare")
                taken[f"random {threads}"][name].append(speed)
    return {
        load: {name: statistics.median(values) for name, values in by_name.items()} for load, by_name in taken.items()
    }


# Load, what it is called, unit, and what is promised against whom: (peer, factor), a time promise being an upper bound.
PROMISES: tuple[tuple[str, str, str, dict[str, float]], ...] = (
    ("sequential cold", "sequential read, 1 GiB, cold", "MB/s", {"bare": 0.6, "mergerfs": 1.5, "rclone": 5}),
    ("sequential warm", "sequential read, 1 GiB, warm", "MB/s", {"bare": 0.6}),
    ("small files cold", "10,000 files of 4 KiB, cold", "files/s", {"mergerfs": 0.8, "rclone": 1.5}),
    ("small files warm", "10,000 files of 4 KiB, warm", "files/s", {"mergerfs": 1.5}),
    ("ls -l cold", "ls -l of 10,000, cold", "ms", {"bare": 1.3, "rclone": 1 / 8}),
    ("ls -l warm", "ls -l of 10,000, warm", "ms", {}),
    ("find cold", "find -size over 100,000, cold", "ms", {"bare": 1.0, "rclone": 1 / 8}),
    ("find warm", "find -size over 100,000, warm", "ms", {"bare": 3.0}),
    ("random 1", "4 KiB random reads, 1 thread", "reads/s", {}),
    ("random 8", "4 KiB random reads, 8 threads", "reads/s", {"mergerfs": 0.5, "rclone": 5}),
)


def rows(figures: Figures, rounds: int = ROUNDS) -> list[Row]:
    """The table's lines, of medians over so many rounds."""
    made = []
    for load, what, unit, promised in PROMISES:
        ours = figures[load][OURS]
        others = {name: value for name, value in figures[load].items() if name != OURS}
        time_like = unit == "ms"
        kept = [
            ours <= factor * others[name] if time_like else ours >= factor * others[name]
            for name, factor in promised.items()
            if name in others
        ]
        sign = "≤" if time_like else "≥"
        words = ", ".join(f"{sign} {factor:.3g} × {name}" for name, factor in promised.items())
        made.append(Row(what, ours, unit, others, words, all(kept) if kept else None, rounds=rounds))
    return made


def run(scale: float = 1.0) -> list[Row]:
    """Measure; sizes are scaled, the promises are for scale 1."""
    from mosaicfs_vfs.fuse.spawn import spawn_mount

    root = tree(scale)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mosaicfs-mounts-")))
        instance = stack.enter_context(running([root], count(root)))
        mount = spawn_mount(instance.home, place / OURS)
        stack.callback(mount.stop)
        seen = next((place / OURS / "machines").glob(f"*/{root.name}"))
        trees = {OURS: seen, **stack.enter_context(peers(root, place))}
        return rows(measure(trees))
