"""Crawling: cold and unchanged, beside a bare walk with stat of the same tree and beside ``rclone lsjson -R``.

``python -m benchmarks.crawl [FILES]`` prints the seconds as JSON.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import ROUNDS, Row, medians, rounds_at
from mosaicfs_core import config
from mosaicfs_core.agent import Agent
from mosaicfs_core.content import Content
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.instances import default_document
from mosaicfs_core.store import Store

FULL = 100_000
PER_DIRECTORY = 20
EXTENSIONS = ("txt", "pdf", "jpg", "py", "md", "json", "bin", "")
COLD = "≥ 15,000 files/s and ≤ 22 × the bare walk"
UNCHANGED = "≤ 2.5 × the bare walk"


def make_tree(root: Path, files: int) -> None:
    """``files`` files of a few bytes, ``PER_DIRECTORY`` in each directory, three levels deep."""
    for number in range(0, files, PER_DIRECTORY):
        directory = root / f"{number // 20_000}" / f"{number // 1_000}" / f"dir-{number}"
        directory.mkdir(parents=True, exist_ok=True)
        for part in range(min(PER_DIRECTORY, files - number)):
            extension = EXTENSIONS[part % len(EXTENSIONS)]
            name = f"file {number + part} of the benchmark{'.' if extension else ''}{extension}"
            (directory / name).write_bytes(b"x" * part)


def bare_walk(root: Path) -> int:
    """A walk with ``os.scandir`` and stat, the least any crawl has to do; returns the number of files."""
    count, stack = 0, [os.fspath(root)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


def _timed(function: Any, *arguments: Any) -> float:
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun


async def _crawls(base: Path, root: Path) -> tuple[float, float]:
    """Seconds of a cold crawl and of an unchanged one, the agent's own way through plugin host and store."""
    home = Home(base / "home").prepare()
    async with await Store.open(home.replica) as store:
        host = PluginHost.discover(only={"localfs"})
        core = CoreServices(home, config.load(home.config_file, {}), store, Content([]), host, home.node_id("bench"))
        document = default_document(core.node_id, host.get("localfs"), {"paths": [os.fspath(root)], "watch": False})
        await store.put(document)
        begun = time.perf_counter()
        async with Agent(core) as agent:
            await agent.first_crawl_done.wait()
            cold = time.perf_counter() - begun
            begun = time.perf_counter()
            await agent.crawl()
            return cold, time.perf_counter() - begun


def _rclone(root: Path) -> float | None:
    if shutil.which("rclone") is None:
        return None
    command = ["rclone", "lsjson", "-R", "--no-mimetype", os.fspath(root)]
    return _timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))


def _round(base: Path, root: Path) -> dict[str, float]:
    """Seconds of each, one after the other, the bare walk before ours and after."""
    before = _timed(bare_walk, root)
    with tempfile.TemporaryDirectory(dir=base) as place:
        cold, unchanged = asyncio.run(_crawls(Path(place), root))
    found = {"bare_walk_s": (before + _timed(bare_walk, root)) / 2, "cold_s": cold, "unchanged_s": unchanged}
    rclone = _rclone(root)
    return found if rclone is None else {**found, "rclone_lsjson_s": rclone}


def measure(files: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Everything, over ``files`` files; medians in seconds."""
    with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-crawl-") as name:
        base = Path(name)
        root = base / "tree"
        make_tree(root, files)
        return {"files": files, **medians([_round(base, root) for _ in range(rounds)])}


def run(scale: float = 1.0) -> list[Row]:
    """The promises about crawling."""
    rounds = rounds_at(scale)
    found = measure(max(PER_DIRECTORY, round(FULL * scale)), rounds)
    files, walk, cold, again = found["files"], found["bare_walk_s"], found["cold_s"], found["unchanged_s"]
    peers = {"bare scandir + stat": files / walk}
    if "rclone_lsjson_s" in found:
        peers["rclone lsjson -R"] = files / found["rclone_lsjson_s"]
    cold_note = f"{cold:.2f} s, {cold / walk:.1f} × the bare walk's {walk:.3f} s"
    again_note = f"{again:.3f} s, {again / walk:.2f} × the bare walk"
    cold_kept = files / cold >= 15_000 and cold <= 22 * walk
    return [
        Row(f"cold crawl of {files:,} files", files / cold, "files/s", peers, COLD, cold_kept, cold_note, rounds),
        Row("unchanged re-crawl", files / again, "files/s", peers, UNCHANGED, again <= 2.5 * walk, again_note, rounds),
    ]


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else FULL), indent=2) + "\n")
