"""Substring search by name over HTTP beside ``plocate`` on the same tree."""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.parse
from functools import partial
from pathlib import Path

from benchmarks.instance import Instance, running
from benchmarks.rows import Row, median_seconds
from benchmarks.trees import tree

QUERIES = ("invoice-0421", "passport", "holiday-photo", "thesis", "0777", "album-track-video", "zebra", "report-budget")
ROUNDS = 25


def milliseconds_over_http(instance: Instance) -> list[float]:
    """Time of each search request on one kept-alive connection, queries in turn."""
    place = urllib.parse.urlsplit(instance.url)
    connection = http.client.HTTPConnection(place.hostname or "127.0.0.1", place.port)
    headers = {"Authorization": f"Bearer {instance.token}"}
    taken = []
    for _ in range(ROUNDS):
        for query in QUERIES:
            started = time.perf_counter()
            connection.request("GET", f"/api/search?q={urllib.parse.quote(query)}&limit=100", headers=headers)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            taken.append((time.perf_counter() - started) * 1000)
            if answer.status != 200:
                raise RuntimeError(f"search answered {answer.status}: {body}")
    connection.close()
    return taken


def plocate_milliseconds(root: Path) -> dict[str, float]:
    """Median time of the same queries by ``plocate`` as a process, database built on the spot."""
    if not shutil.which("plocate"):
        return {}
    with tempfile.TemporaryDirectory() as place:
        database = Path(place) / "names.db"
        build = ["updatedb", "-l", "0", "-o", str(database), "-U", str(root), "--prunepaths", "", "--prunenames", ""]
        subprocess.run(build, check=True)

        def ask(query: str) -> None:
            subprocess.run(
                ["plocate", "-i", "-l", "100", "-d", str(database), query], stdout=subprocess.DEVNULL, check=False
            )

        each = [median_seconds(partial(ask, query)) * 1000 for query in QUERIES]
        return {"plocate (process)": statistics.median(each)}


def run(scale: float = 1.0) -> list[Row]:
    """Search at 500,000 files."""
    files = int(500_000 * scale)
    root = tree(files)
    with running([root], files) as instance:
        taken = milliseconds_over_http(instance)
    middle = statistics.median(taken)
    return [
        Row(
            f"substring search over HTTP, p50 at {files:,} files",
            middle,
            "ms",
            plocate_milliseconds(root),
            "p50 ≤ 10 ms",
            middle <= 10,
            f"p99 {statistics.quantiles(taken, n=100)[98]:.1f} ms",
            len(taken),
        )
    ]
