"""Full-text search beside Recoll on the same documents: time to index, size of the index, time of a search.

Ours is a real ``mosaicfs up`` with the plugin as it runs by default, in a process of its own: crawl, queue and index,
from the start of the first process until every document can be found. Recoll is ``recollindex`` from its start to its
end, as it is set up by default, texts kept for snippets, but at the priority of everybody else. Ours and Recoll's take
turns, round by round.
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

from benchmarks.documents import number_of_files, pdfs, real_texts, size, texts
from benchmarks.instance import Instance, running, wait
from benchmarks.rows import Row, median_seconds, medians, rounds_at
from mosaicfs_core.home import Home

TEXTS = 20_000
"""Indexed by both. Recoll needs minutes for more, and ever more of them per document."""
TEXT_ROUNDS = 3
"""Of texts, made-up and real: Recoll takes most of a minute for one."""
REAL = 10_000
"""The most of those that are found on the machine."""
SEARCHED = 100_000
"""Indexed once, which takes a minute, and searched again and again."""
PDFS = 500
ASKED = 20
LIMIT = 20
LOOK_S = 0.2
"""How often it is asked how far it is, which takes it some milliseconds each time; half of it is added to its time."""
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
class Documents:
    """A set of documents: where they are, how many, and the bytes of their files."""

    root: Path
    count: int
    bytes: int

    @classmethod
    def of(cls, root: Path) -> Documents:
        """Those of a tree."""
        return cls(root, number_of_files(root), size(root))

    @property
    def kilobytes(self) -> float:
        """Of one, on average."""
        return self.bytes / self.count / 1024


@dataclass(frozen=True)
class Measured:
    """Of one set of documents: seconds to index, bytes of the index, milliseconds of searches, and for ours what of
    them was not the plugin's own."""

    seconds: float
    index_bytes: int
    search_ms: list[float]
    added_ms: list[float]


@dataclass(frozen=True)
class Compared:
    """Medians over ``rounds``, ours and, where it is installed, Recoll's: documents per second, bytes of the index for
    each of the text, milliseconds of a search."""

    documents: Documents
    rounds: int
    figures: Mapping[str, float]

    def peer(self, what: str, name: str) -> dict[str, float]:
        """Recoll's figure under a name; nothing where it is not installed."""
        theirs = f"Recoll's {what}"
        return {name: self.figures[theirs]} if theirs in self.figures else {}


def ours(documents: Documents) -> Measured:
    """Index the documents with MosaicFS, and search them over HTTP."""
    with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-") as place:
        home = Path(place)
        begun = time.perf_counter()
        with running([documents.root], 0, home) as instance:
            switch_on(instance, home)
            wait(lambda: findable(instance) >= documents.count, f"{documents.count} documents to be found", LOOK_S)
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
    for _ in range(ASKED):
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


def one_round(documents: Documents) -> dict[str, float]:
    """Ours, then Recoll's."""
    figures = {}
    for whose, found in (("", ours(documents)), ("Recoll's ", recoll(documents.root))):
        if found is not None:
            figures[f"{whose}rate"] = documents.count / found.seconds
            figures[f"{whose}share"] = found.index_bytes / documents.bytes
            figures[f"{whose}search"] = statistics.median(found.search_ms)
    return figures


def compared(root: Path, rounds: int) -> Compared:
    """The documents of a tree, indexed and searched ``rounds`` times by each."""
    documents = Documents.of(root)
    return Compared(documents, rounds, medians([one_round(documents) for _ in range(rounds)]))


def speed(what: str, found: Compared, least: float) -> Row:
    """Documents per second, which are to be ``least`` times Recoll's."""
    rate, peers = found.figures["rate"], found.peer("rate", "recollindex")
    kept = rate >= least * peers["recollindex"] if peers else None
    note = "" if peers else WITHOUT
    return Row(f"indexing {what}", rate, "documents/s", peers, f"≥ {least:g} × Recoll", kept, note, found.rounds)


def share(what: str, found: Compared) -> Row:
    """Bytes of the index for each of the text."""
    ours = found.figures["share"]
    peers, rounds = found.peer("share", "Recoll"), found.rounds
    return Row(f"index with snippets ÷ text, {what}", ours, "", peers, "≤ 0.75", ours <= 0.75, rounds=rounds)


def run(scale: float = 1.0) -> list[Row]:
    """Made-up texts, real ones and PDFs, and searches among many."""
    rounds = rounds_at(scale, TEXT_ROUNDS)
    made = compared(texts(max(20, int(TEXTS * scale))), rounds)
    real = compared(real_texts(max(20, int(REAL * scale))), rounds)
    paged = compared(pdfs(max(5, int(PDFS * scale))), rounds_at(scale))
    made_up = f"{made.documents.count:,} made-up texts of {made.documents.kilobytes:.1f} KB"
    found = f"{real.documents.count:,} real texts of {real.documents.kilobytes:.1f} KB"
    asked = made.peer("search", f"recollq (process, {made.documents.count:,})")
    return [
        speed(made_up, made, 3),
        speed(found, real, 3),
        speed(f"{paged.documents.count:,} PDFs of 3 pages", paged, 1),
        share(made_up, made),
        share(found, real),
        *searching(max(20, int(SEARCHED * scale)), asked),
    ]


def searching(wanted: int, peers: Mapping[str, float]) -> list[Row]:
    """How long searches take among so many documents, and how long it took to index them."""
    documents = Documents.of(texts(wanted))
    found = ours(documents)
    middle, added, asked = statistics.median(found.search_ms), statistics.median(found.added_ms), len(found.search_ms)
    tail = f"p99 {statistics.quantiles(found.search_ms, n=100)[98]:.1f} ms"
    made_up, rate = f"{documents.count:,} made-up texts", documents.count / found.seconds
    what = f"search over HTTP with snippets, p50 at {documents.count:,} documents"
    return [
        Row(f"indexing {made_up}", rate, "documents/s", note=f"{found.seconds:.1f} s"),
        Row(f"index with snippets ÷ text, {made_up}", found.index_bytes / documents.bytes, ""),
        Row(what, middle, "ms", peers, "≤ 20 ms", middle <= 20, tail, asked),
        Row("of that, added by the fan-out to one machine", added, "ms", {}, "≤ 10 ms", added <= 10, "", asked),
    ]
