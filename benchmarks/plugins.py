"""Jobs per second by kind of plugin, through the real queue and workers; what enqueueing costs a crawl, and what a
process of its own costs a plugin.

The plugins do as little as a plugin can, so that what is measured is the host. Each has as many workers as one that
says nothing of it gets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.annotator import CAPABILITY
from benchmarks.plugin_bed import PLUGIN, Bed, bed
from benchmarks.rows import Row
from benchmarks.trees import tree
from mosaicfs_core.hooks import FileEvent, QueryRequest, now_text
from mosaicfs_core.hooks.wire import event_envelope
from mosaicfs_core.plugins.running.kinds import socket_dir

FILES = 20_000
PROGRAM_RUNS = 2_000
CRAWLED = 100_000
QUESTIONS = 500
ROUNDS = 3
WORKERS = 2
"""What a manifest and a document that say nothing get."""
EVENTS = ["file.added", "file.modified"]
PACKAGE: Mapping[str, Any] = {"isolate": False}
ISOLATED: Mapping[str, Any] = {"isolate": True}
SOCKET: Mapping[str, Any] = {"plugin_type": "socket", "subscribed_events": EVENTS}
EXECUTABLE: Mapping[str, Any] = {"plugin_type": "executable", "subscribed_events": EVENTS}
WORD_COUNT = Path(__file__).resolve().parents[1] / "docs" / "examples" / "word-count" / "word-count"
SCRIPTS: Mapping[str, str] = {
    "the least there is": "#!/bin/sh\nread -r event\necho '{\"size\": 0}'\n",
    "word-count of the tutorial": WORD_COUNT.read_text(),
}


async def jobs_of_package(files: int, instance: Mapping[str, Any]) -> float:
    """Jobs per second of the annotator as a package."""
    with place() as base:
        async with bed(base, instance) as made:
            return await made.jobs_per_second(tree(files), files)


async def jobs_of_socket(files: int) -> float:
    """Jobs per second of a program that listens on a socket."""
    with place() as base:
        async with bed(base, SOCKET) as made, listening(made):
            return await made.jobs_per_second(tree(files), files)


async def jobs_of_executable(files: int, script: str) -> tuple[float, float]:
    """Jobs per second of a program that is run for each, and how often a second the same program can be run on an event
    as often at once by ``subprocess`` alone: half of that before, half after."""
    with place() as base:
        program = base / "program"
        program.write_text(script)
        program.chmod(0o700)
        before = await asyncio.to_thread(spawns_per_second, program, files // 2)
        async with bed(base, EXECUTABLE, program) as made:
            jobs = await made.jobs_per_second(tree(files), files)
        after = await asyncio.to_thread(spawns_per_second, program, files // 2)
        return jobs, statistics.harmonic_mean([before, after])


def spawns_per_second(program: Path, runs: int) -> float:
    """Bare runs of a program, ``WORKERS`` at once, its output taken."""
    local_path = os.fspath(next(path for path in tree(20).rglob("*") if path.is_file()))
    event = FileEvent(event="file.added", sequence=1, timestamp=now_text(), node_id="0" * 36, local_path=local_path)
    given = msgspec.json.encode(event_envelope(event, {})) + b"\n"

    def once(_: int) -> bytes:
        return subprocess.run([program], input=given, capture_output=True, check=True).stdout

    begun = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as threads:
        for said in threads.map(once, range(runs)):
            msgspec.json.decode(said)
    return runs / (time.perf_counter() - begun)


@contextlib.asynccontextmanager
async def listening(made: Bed) -> AsyncIterator[None]:
    """The acknowledger listening for the host of ``made``, which is connected to it."""
    directory = socket_dir(made.harness.home)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = Path(__file__).with_name("acknowledger.py")
    command = [sys.executable, os.fspath(program), os.fspath(directory / f"{PLUGIN}.sock")]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await made.until_connected()
        yield
    finally:
        process.kill()
        await process.wait()


async def crawl_seconds(files: int, instance: Mapping[str, Any] | None) -> float:
    """A cold crawl by an agent with this instance, which is paused, so that its jobs are enqueued and wait."""
    with place() as base:
        async with bed(base, instance) as made:
            if instance is not None:
                await made.pause()
            taken = await made.crawl_seconds(tree(files))
            if instance is not None:
                await made.expect_waiting(files)
            return taken


async def enqueueing(files: int) -> tuple[float, float]:
    """Median seconds of a crawl without a plugin and with one that is told of every file, turn by turn."""
    without, with_one = [], []
    for _ in range(ROUNDS):
        without.append(await crawl_seconds(files, None))
        with_one.append(await crawl_seconds(files, PACKAGE))
    return statistics.median(without), statistics.median(with_one)


async def question_milliseconds(questions: int, instance: Mapping[str, Any]) -> float:
    """Median time of a question that the plugin answers at once with nothing."""
    request = QueryRequest(capability=CAPABILITY, endpoint="ask", query="anything")
    taken = []
    with place() as base:
        async with bed(base, instance) as made:
            await made.until_idle()
            for _ in range(questions):
                begun = time.perf_counter()
                await made.running.query(request)
                taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A directory below that of the trees, so that files can be moved into it."""
    root = tree(1).parent
    with tempfile.TemporaryDirectory(prefix="plugins-", dir=root) as name:
        yield Path(name)


async def measured(scale: float) -> list[Row]:
    """All rows."""
    files, runs = max(20, int(FILES * scale)), max(20, int(PROGRAM_RUNS * scale))
    package = await jobs_of_package(files, PACKAGE)
    isolated = await jobs_of_package(files, ISOLATED)
    stays = await jobs_of_socket(files)
    programs = [(name, *await jobs_of_executable(runs, script)) for name, script in SCRIPTS.items()]
    crawled = max(20, int(CRAWLED * scale))
    without, with_one = await enqueueing(crawled)
    questions = max(5, int(QUESTIONS * scale))
    here, apart = await question_milliseconds(questions, PACKAGE), await question_milliseconds(questions, ISOLATED)
    cost = (with_one / without - 1) * 100
    cost_note = f"{without:.2f} s without, {with_one:.2f} s with"
    unit, at_least = "jobs/s", "≥ 3,000"
    return [
        Row(f"a package in process, {files:,} files", package, unit, {}, at_least, package >= 3_000),
        Row(f"a package isolated, {files:,} files", isolated, unit, {"in process": package}),
        Row(f"a program on a socket, {files:,} files", stays, unit, {}, at_least, stays >= 3_000),
        *(program_row(f"an executable, {name}, {runs:,} files", jobs, bare) for name, jobs, bare in programs),
        Row(
            f"cost of enqueueing on a crawl of {crawled:,} files", cost, "%", {}, "≤ 15", cost <= 15, cost_note, ROUNDS
        ),
        Row("a question to an isolated package, p50", apart, "ms", {"in process": here}, rounds=questions),
    ]


def program_row(what: str, jobs: float, bare: float) -> Row:
    """An executable beside the bare program."""
    note = f"{bare / jobs:.2f} × its time"
    promise = "≤ 1.3 × the time of a bare spawn"
    return Row(what, jobs, "jobs/s", {"bare spawn of it": bare}, promise, bare / jobs <= 1.3, note)


def run(scale: float = 1.0) -> list[Row]:
    """The promises about plugins."""
    return asyncio.run(measured(scale))
