"""Substring search by name over HTTP beside ``plocate`` on the same tree."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import statistics
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.instance import Instance, running
from benchmarks.rows import Row, seconds
from benchmarks.trees import tree

QUERIES = ("invoice-0421", "passport", "holiday-photo", "thesis", "0777", "album-track-video", "zebra", "report-budget")
ROUNDS = 25
Ask = Callable[[str], None]
"""Searches for a text and reads what is found."""


@contextlib.contextmanager
def over_http(instance: Instance) -> Iterator[Ask]:
    """Searches on one kept-alive connection."""
    place = urllib.parse.urlsplit(instance.url)
    connection = http.client.HTTPConnection(place.hostname or "127.0.0.1", place.port)
    headers = {"Authorization": f"Bearer {instance.token}"}

    def ask(query: str) -> None:
        connection.request("GET", f"/api/search?q={urllib.parse.quote(query)}&limit=100", headers=headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"search answered {answer.status}: {body}")

    yield ask
    connection.close()


@contextlib.contextmanager
def plocate(root: Path) -> Iterator[Ask | None]:
    """The same by ``plocate`` as a process, database built on the spot; None where it is not installed."""
    if not shutil.which("plocate"):
        yield None
        return
    with tempfile.TemporaryDirectory() as place:
        database = Path(place) / "names.db"
        build = ["updatedb", "-l", "0", "-o", str(database), "-U", str(root), "--prunepaths", "", "--prunenames", ""]
        subprocess.run(build, check=True)

        def ask(query: str) -> None:
            subprocess.run(
                ["plocate", "-i", "-l", "100", "-d", str(database), query], stdout=subprocess.DEVNULL, check=False
            )

        yield ask


def milliseconds(ours: Ask, theirs: Ask | None) -> tuple[list[float], list[float]]:
    """Time of each of our searches and of the peer's: all queries, round by round in turn."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for ask, found in zip((ours, theirs), taken, strict=True):
            if ask is not None:
                found += [seconds(partial(ask, query)) * 1000 for query in QUERIES]
    return taken


def run(scale: float = 1.0) -> list[Row]:
    """Search at 500,000 files."""
    files = int(500_000 * scale)
    root = tree(files)
    with running([root], files) as instance, over_http(instance) as ours, plocate(root) as theirs:
        taken, peer = milliseconds(ours, theirs)
    middle = statistics.median(taken)
    return [
        Row(
            f"substring search over HTTP, p50 at {files:,} files",
            middle,
            "ms",
            {"plocate (process)": statistics.median(peer)} if peer else {},
            "p50 ≤ 10 ms",
            middle <= 10,
            f"p99 {statistics.quantiles(taken, n=100)[98]:.1f} ms",
            len(taken),
        )
    ]
