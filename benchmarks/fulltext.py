"""Full-text search beside Recoll on the same documents: time to index, size of the index, time of a search.

Ours is a real ``mosaicfs up`` with the plugin as it runs by default, in a process of its own: crawl, queue and index,
from the start of the first process until every document can be found. Recoll is ``recollindex`` from its start to its
end, as it is set up by default, texts kept for snippets, but at the priority of everybody else.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.documents import pdfs, size, texts
from benchmarks.instance import Instance, running, wait
from benchmarks.rows import Row, median_seconds
from mosaicfs_core.home import Home

TEXTS = 20_000
"""Indexed by both. Recoll needs minutes for more, and ever more of them per document."""
SEARCHED = 100_000
PDFS = 500
ROUNDS = 20
LIMIT = 20
LOOK_S = 0.5
"""How often it is asked how far it is, which takes it some milliseconds each time."""
PLUGIN = "fulltext"
QUERIES = (
    "number0000017",
    "passport",
    "invoice budget",
    "thesis chapter figure",
    "holiday photo album",
    '"tax of the"',
    "insurance salary statement",
    "garden house",
)
WITHOUT = "Recoll is not installed"


@dataclass(frozen=True)
class Measured:
    """Of one set of documents: seconds to index, bytes of the index, milliseconds of searches, and for ours what of
    them was not the plugin's own."""

    seconds: float
    index_bytes: int
    search_ms: list[float]
    added_ms: list[float]


def ours(root: Path, documents: int) -> Measured:
    """Index the documents with MosaicFS, and search them over HTTP."""
    with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-") as place:
        home = Path(place)
        begun = time.perf_counter()
        with running([root], 0, home) as instance:
            switch_on(instance, home)
            wait(lambda: findable(instance) >= documents, f"{documents} documents to be found", LOOK_S)
            taken = time.perf_counter() - begun
            search_ms, added_ms = searches(instance)
        return Measured(taken, size(Home(home).state_dir / PLUGIN), search_ms, added_ms)


def switch_on(instance: Instance, home: Path) -> None:
    """Switch the plugin on, as ``mosaicfs plugin enable`` does."""
    made = {"plugin_name": PLUGIN, "plugin_type": "package", "enabled": True}
    instance.send(f"nodes/{Home(home).node_id()}/plugins", made)


def findable(instance: Instance) -> int:
    """How many documents the plugin finds by their text; 0 while it waits for some to be read or written."""
    answer = instance.send("query", {"capability": "dashboard_widget", "query": ""})
    figures = [envelope["data"]["data"] for envelope in answer["results"]]
    if not figures or figures[0]["waiting"] or figures[0]["postponed"]:
        return 0
    if figures[0]["failures"]:
        raise RuntimeError(f"documents could not be read: {figures[0]['failed_files']}")
    return int(figures[0]["with_text"])


def searches(instance: Instance) -> tuple[list[float], list[float]]:
    """Milliseconds of each search over HTTP, queries in turn, and what of it was added on the way to the plugin and
    back: authentication, the fan-out, the facts of the files that were found."""
    taken, added = [], []
    for _ in range(ROUNDS):
        for query in QUERIES:
            begun = time.perf_counter()
            answer = instance.send("query", {"capability": "search", "query": query, "limit": LIMIT})
            elapsed = (time.perf_counter() - begun) * 1000
            (envelope,) = answer["results"]
            taken.append(elapsed)
            added.append(elapsed - envelope["took_ms"])
    return taken, added


def recoll(root: Path) -> Measured | None:
    """Index the documents with Recoll, and search them; None where it is not installed."""
    if not shutil.which("recollindex"):
        return None
    with tempfile.TemporaryDirectory(prefix="recoll-bench-") as place:
        (Path(place) / "recoll.conf").write_text(f"topdirs = {root}\nloglevel = 2\nidxniceprio = 0\n")
        begun = time.perf_counter()
        subprocess.run(["recollindex", "-c", place], check=True, capture_output=True)
        taken = time.perf_counter() - begun

        def ask(query: str) -> None:
            command = ["recollq", "-c", place, "-n", str(LIMIT), "-A", query]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

        asked = [median_seconds(partial(ask, query)) * 1000 for query in QUERIES]
        return Measured(taken, size(Path(place) / "xapiandb"), asked, [])


def speed(what: str, documents: int, found: Measured, peer: Measured | None, least: float) -> Row:
    """Documents per second, which are to be ``least`` times Recoll's."""
    rate = documents / found.seconds
    peers: Mapping[str, Any] = {} if peer is None else {"recollindex": documents / peer.seconds}
    kept = None if peer is None else rate >= least * peers["recollindex"]
    note = f"{found.seconds:.1f} s, {WITHOUT if peer is None else f'Recoll {peer.seconds:.1f} s'}"
    return Row(f"indexing {what}", rate, "documents/s", peers, f"≥ {least:g} × Recoll", kept, note)


def run(scale: float = 1.0) -> list[Row]:
    """Texts and PDFs, ours and Recoll's one after the other."""
    text_count, pdf_count = max(20, int(TEXTS * scale)), max(5, int(PDFS * scale))
    plain, paged = texts(text_count), pdfs(pdf_count)
    text_bytes = size(plain)
    found, peer = ours(plain, text_count), recoll(plain)
    of_pdfs, peer_of_pdfs = ours(paged, pdf_count), recoll(paged)
    share = found.index_bytes / text_bytes
    sizes = {} if peer is None else {"Recoll": peer.index_bytes / text_bytes}
    asked = {} if peer is None else {f"recollq (process, {text_count:,})": statistics.median(peer.search_ms)}
    return [
        speed(f"{text_count:,} texts of {text_bytes / text_count / 1024:.1f} KB", text_count, found, peer, 3),
        speed(f"{pdf_count:,} PDFs of 3 pages", pdf_count, of_pdfs, peer_of_pdfs, 1),
        Row("index with snippets ÷ text", share, "", sizes, "≤ 0.75", share <= 0.75),
        *searching(max(20, int(SEARCHED * scale)), asked),
    ]


def searching(documents: int, peers: Mapping[str, float]) -> list[Row]:
    """How long searches take among so many documents, and how long it took to index them."""
    root = texts(documents)
    found = ours(root, documents)
    middle, added, count = statistics.median(found.search_ms), statistics.median(found.added_ms), len(found.search_ms)
    tail = f"p99 {statistics.quantiles(found.search_ms, n=100)[98]:.1f} ms"
    what = f"search over HTTP with snippets, p50 at {documents:,} documents"
    return [
        Row(f"indexing {documents:,} texts", documents / found.seconds, "documents/s", note=f"{found.seconds:.1f} s"),
        Row(f"index of {documents:,} texts with snippets ÷ text", found.index_bytes / size(root), ""),
        Row(what, middle, "ms", peers, "≤ 20 ms", middle <= 20, tail, count),
        Row("of that, added by the fan-out to one machine", added, "ms", {}, "≤ 10 ms", added <= 10, "", count),
    ]
