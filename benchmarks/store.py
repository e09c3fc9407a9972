"""The embedded store: durable bulk writes with their rate as it grows, disk per document, point reads, changes, search.

``python -m benchmarks.store [DOCUMENTS]`` prints everything as JSON, the rate curve included.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.rows import ROUNDS, Row, median_seconds, medians, rounds_at
from mosaicfs_core import documents
from mosaicfs_core.hooks.context import FileQuery
from mosaicfs_core.store import Reader, Store

FULL = 500_000
BATCH = 1_000
SEARCHES = 9
FILES_PER_DIRECTORY = 12
NODE = "node-bench-aaaa"
STEMS = ("report", "IMG", "invoice", "notes", "main", "holiday-photo", "thesis", "index", "track", "backup")
ENDINGS = (
    ("pdf", "application/pdf"),
    ("jpg", "image/jpeg"),
    ("txt", "text/plain"),
    ("py", "text/x-python"),
    ("xyz", None),
)
MAGNITUDES = (4.0, 25.0)
"""Sizes are spread evenly over powers of two, from 16 bytes to 32 MB: one file in twenty has 16 MB or more."""
START = 1_600_000_000_000_000
FIGURES = ("per_second", "cpu_us", "bytes_per_document")
"""Of a store that was filled, those with a median."""
QUERIES = ("report", "holiday", "invoice-04", "*.pdf", "img-*7.jpg", "zebra", "77a", "a7")


def file_documents(count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """File documents as a crawl makes them, directory by directory, ids as random as real ones."""
    chance = random.Random(seed)
    for number in range(count):
        place = number // FILES_PER_DIRECTORY
        parent = f"/home/ada/{STEMS[place % 10]}/{place // 50}/part-{place}"
        ending, mime_type = ENDINGS[chance.randrange(len(ENDINGS))]
        path = f"{parent}/{STEMS[chance.randrange(10)]}-{chance.randrange(16**6):06x}-{number % 97}.{ending}"
        identifier = documents.file_document_id(NODE, documents.first_file_uuid(NODE, path))
        document = {
            "_id": identifier,
            "type": "file",
            "inode": documents.derived_inode(identifier),
            "name": documents.name_of(path),
            "source": {"node_id": NODE, "export_path": path, "export_parent": parent},
            "size": int(2 ** chance.uniform(*MAGNITUDES)),
            "mtime": documents.format_time(START + chance.randrange(10**14)),
            "status": "active",
        }
        yield document if mime_type is None else {**document, "mime_type": mime_type}


def batches(count: int, seed: int = 1) -> Iterator[list[dict[str, Any]]]:
    """The documents by the thousand."""
    made = file_documents(count, seed)
    for start in range(0, count, BATCH):
        yield [next(made) for _ in range(min(BATCH, count - start))]


def memory_megabytes() -> float:
    """Proportional set size of this process; 0 where the system does not tell."""
    rollup = Path("/proc/self/smaps_rollup")
    lines = rollup.read_text().splitlines() if rollup.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


async def fill(store: Store, count: int, seed: int = 1) -> dict[str, Any]:
    """Write the documents, one batch after the other, each durable before the next. Another seed makes others."""
    curve: dict[int, int] = {}
    memory: dict[int, float] = {}
    done, taken, cpu, step_taken, step_done = 0, 0.0, 0.0, 0.0, 0
    step = max(BATCH, count // 10)
    for batch in batches(count, seed):
        started, cpu_started = time.perf_counter(), time.process_time()
        results = await store.bulk(batch)
        elapsed = time.perf_counter() - started
        cpu += time.process_time() - cpu_started
        taken, step_taken = taken + elapsed, step_taken + elapsed
        if any(result.error is not None for result in results):
            raise RuntimeError("the store refused a document")
        done += len(batch)
        if done - step_done >= step or done == count:
            curve[done] = round((done - step_done) / step_taken)
            memory[done] = round(memory_megabytes(), 1)
            step_done, step_taken = done, 0.0
    return {"per_second": count / taken, "cpu_us": cpu / count * 1e6, "curve": curve, "memory_mb": memory}


def microseconds(action: Callable[[Any], object], arguments: list[Any]) -> float:
    """Median over ``ROUNDS`` rounds of the time of one call."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for argument in arguments:
            action(argument)
        rounds.append((time.perf_counter() - started) / len(arguments) * 1e6)
    return statistics.median(rounds)


def searches(reader: Reader) -> dict[str, float]:
    """Milliseconds of each search, median of ``SEARCHES``."""
    found = {}
    for text in QUERIES:
        taken = []
        for _ in range(SEARCHES):
            started = time.perf_counter()
            reader.search(FileQuery(text=text))
            taken.append((time.perf_counter() - started) * 1000)
        found[text] = round(statistics.median(taken), 2)
    return found


def read_changes(reader: Reader, count: int) -> None:
    """The first ``count`` rows of the changes feed with their documents."""
    since, seen = 0, 0
    while seen < count and (found := reader.changes(since, 500, include_docs=True)):
        since, seen = found[-1].seq, seen + len(found)


def scan(reader: Reader, count: int) -> None:
    """All files, of which there are ``count``."""
    scanned = sum(len(batch.docs) for batch in reader.scan_files())
    if scanned != count:
        raise RuntimeError(f"{scanned} files were found of {count}")


async def bulk(path: Path, count: int, rounds: int) -> dict[str, Any]:
    """Medians over stores filled one after the other, the last of which stays; the curves are those of the first."""
    found = []
    for _ in range(rounds):
        for left in path.parent.iterdir():
            left.unlink()
        async with await Store.open(path) as store:
            filled = await fill(store, count)
        found.append({**filled, "bytes_per_document": path.stat().st_size / count})
    figures = medians([{what: one[what] for what in FIGURES} for one in found])
    return {**figures, "curve": found[0]["curve"], "memory_mb": found[0]["memory_mb"]}


async def measure(count: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Everything, over ``count`` documents."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "replica.db"
        result: dict[str, Any] = {"documents": count, "bulk": await bulk(path, count, rounds)}
        store = await Store.open(path)
        wanted = random.Random(2).sample([document["_id"] for document in file_documents(count)], min(5_000, count))
        result["point_read_us"] = microseconds(store.reader.get, wanted)
        changes = min(count, 100_000)
        result["changes_per_second"] = changes / median_seconds(lambda: read_changes(store.reader, changes), rounds)
        result["search_ms"] = searches(store.reader)
        result["search_p50_ms"] = statistics.median(result["search_ms"].values())
        directories = list(range(2, 2 + min(5_000, count // 20)))
        result["files_in_us"] = microseconds(store.reader.files_in, directories)
        result["scan_seconds"] = median_seconds(lambda: scan(store.reader, count), rounds)
        await store.close()
        return result


def run(scale: float = 1.0) -> list[Row]:
    """The promises about the store."""
    count = max(2 * BATCH, round(FULL * scale) // BATCH * BATCH)
    rounds = rounds_at(scale)
    found = asyncio.run(measure(count, rounds))
    written, size, read, p50 = (
        found["bulk"]["per_second"],
        found["bulk"]["bytes_per_document"],
        found["point_read_us"],
        found["search_p50_ms"],
    )
    curve = ", ".join(f"{documents // 1000}k: {rate:,}" for documents, rate in found["bulk"]["curve"].items())
    return [
        Row(f"bulk, {count:,} files", written, "documents/s", {}, "≥ 20,000", written >= 20_000, curve, rounds),
        Row("disk per file document", size, "bytes", {}, "≤ 1,024", size <= 1024, rounds=rounds),
        Row("point read", read, "µs", {}, "< 25", read < 25, rounds=ROUNDS),
        Row("changes with documents", found["changes_per_second"], "documents/s", rounds=rounds),
        Row("search by name in process, p50", p50, "ms", {}, "≤ 10 over HTTP", p50 <= 10, rounds=SEARCHES),
        Row("scan of all files", found["scan_seconds"], "s", rounds=rounds),
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else FULL)), indent=2))
