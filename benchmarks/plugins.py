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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.annotator import CAPABILITY
from benchmarks.plugin_bed import PLUGIN, Bed, bed
from benchmarks.rows import Row, medians, rounds_at
from benchmarks.trees import tree
from mosaicfs_core.hooks import FileEvent, QueryRequest, now_text
from mosaicfs_core.hooks.wire import event_envelope
from mosaicfs_core.plugins.running.kinds import socket_dir

FILES = 10_000
PROGRAM_RUNS = 1_000
CRAWLED = 50_000
QUESTIONS = 100
"""These in each round."""
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


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in each round."""

    files: int
    runs: int
    crawled: int
    questions: int


async def one_round(sizes: Sizes) -> dict[str, float]:
    """Each figure once."""
    found = {
        "package": await jobs_of_package(sizes.files, PACKAGE),
        "isolated": await jobs_of_package(sizes.files, ISOLATED),
        "socket": await jobs_of_socket(sizes.files),
        "without": await crawl_seconds(sizes.crawled, None),
        "with": await crawl_seconds(sizes.crawled, PACKAGE),
        "asked here": await question_milliseconds(sizes.questions, PACKAGE),
        "asked apart": await question_milliseconds(sizes.questions, ISOLATED),
    }
    for name, script in SCRIPTS.items():
        found[name], found[f"bare {name}"] = await jobs_of_executable(sizes.runs, script)
    return found


async def measured(sizes: Sizes, rounds: int) -> dict[str, float]:
    """The median of each figure."""
    return medians([await one_round(sizes) for _ in range(rounds)])


def jobs_row(what: str, jobs: float, rounds: int) -> Row:
    """What stays and takes one job after the other."""
    return Row(what, jobs, "jobs/s", {}, "≥ 3,000", jobs >= 3_000, rounds=rounds)


def program_row(what: str, jobs: float, bare: float, rounds: int) -> Row:
    """An executable beside the bare program."""
    note = f"{bare / jobs:.2f} × its time"
    promise = "≤ 1.3 × the time of a bare spawn"
    return Row(what, jobs, "jobs/s", {"bare spawn of it": bare}, promise, bare / jobs <= 1.3, note, rounds)


def run(scale: float = 1.0) -> list[Row]:
    """The promises about plugins."""
    sizes = Sizes(
        files=max(20, int(FILES * scale)),
        runs=max(20, int(PROGRAM_RUNS * scale)),
        crawled=max(20, int(CRAWLED * scale)),
        questions=max(5, int(QUESTIONS * scale)),
    )
    rounds = rounds_at(scale)
    found = asyncio.run(measured(sizes, rounds))
    of, package = f"{sizes.files:,} files", found["package"]
    cost = (found["with"] / found["without"] - 1) * 100
    cost_note = f"{found['without']:.2f} s without, {found['with']:.2f} s with"
    enqueueing = f"cost of enqueueing on a crawl of {sizes.crawled:,} files"
    asked, here = "a question to an isolated package, p50", {"in process": found["asked here"]}
    return [
        jobs_row(f"a package in process, {of}", package, rounds),
        Row(f"a package isolated, {of}", found["isolated"], "jobs/s", {"in process": package}, rounds=rounds),
        jobs_row(f"a program on a socket, {of}", found["socket"], rounds),
        *(
            program_row(f"an executable, {name}, {sizes.runs:,} files", found[name], found[f"bare {name}"], rounds)
            for name in SCRIPTS
        ),
        Row(enqueueing, cost, "%", {}, "≤ 15", cost <= 15, cost_note, rounds),
        Row(asked, found["asked apart"], "ms", here, rounds=rounds * sizes.questions),
    ]
