"""Run the measurements and write ``docs/performance.md``: ``python -m benchmarks [NAME…] [--scale S]``."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.rows import Result, Row

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "build" / "benchmarks"
NAMES = {
    "store": "Store",
    "crawl": "Crawl",
    "namespace": "Namespace",
    "search": "Search",
    "replication": "Replication",
    "mount": "Mount",
    "transfer": "Transfer and cache",
    "remote": "Files of other machines",
    "jobs": "Job queue",
    "plugins": "Plugins",
    "fulltext": "Full-text search",
    "footprint": "Memory and disk",
}
INTRODUCTION = """# Performance

What MosaicFS promises, measured by `make bench`, each figure beside its peers' in one run. *Runs* says of how many
measurements a figure of ours is the median, or the percentile it names. Absolute figures belong to the machine they
were measured on; the ratios are what counts.
"""

LIMITS = {
    "replication": """
What bounds it is the processor time of the receiving side: two thirds of some 125 µs for each document, 37 of them the
writing (see [decision 19](decisions/0019-no-bulk-snapshot.md)). Its writes are durable when they are acknowledged;
PouchDB's servers here keep everything in memory and never wait for a disk. The promise is held against PouchDB's
replicator as it comes, which is given fewer documents, since its rate falls with their number; beside it stands what it
does best, with batches of 1,000. "PouchDB" is its replicator in Node between two servers of express-pouchdb, which
is what `pouchdb-server` consists of; the latter's `_replicate` runs the same replicator in the server itself.
""",
    "mount": """
What bounds the rows that fall short, when they do, as far as it is known:

- *Warm* reads never reach us: the kernel copies from its page cache (profile of repeated reads: 64 % `_copy_to_iter`,
  12 % `filemap_get_read_batch`, 8 % `filemap_read`), pages of 4 KiB where the disk's file system has large folios.
  Read over and over, the same file comes at 21 GB/s beside 29 bare (0.73 ×); the first passes after a cold one pay
  for moving every page to the list of those in use.
- *Cold* reads fill two page caches, the mount's and the disk's. In a virtual machine whose host takes back free memory
  that costs more than the reading: alone, with memory at hand, 2.0 to 2.6 GB/s were seen (0.6 to 0.75 × bare). The
  disk's own speed changes between runs by a factor of two, and with it what the peers reach.
- *Random* reads cost one trip through the interpreter each, some 10 µs. They are the second of two runs, for every file
  system: after a pause of some seconds the host has taken back memory that was free, and gives it again page by page,
  so that the first run is half as fast in ours and in mergerfs alike (seen: 39, 91, 98 and 98 thousand a second in
  four runs one after the other, after three seconds of rclone).
""",
    "transfer": """
- *The first read through the cache* is one stream of a server on this machine, which curl throws away: there is no link
  to wait for, and every block is checked against its sum, written to the disk and noted in the index before it is given
  out. It is three times what a link of 1 Gbit/s brings (next section).
- *20 ms of round trip* are made by a proxy in the same process, which hands on whatever arrives half of that later.
""",
    "remote": """
- *The link* is two network namespaces joined by a virtual cable, which the kernel shapes to the rate (`tc`, `tbf`).
- *First* reads are bounded by the link: beyond curl's time there is what finding the owner and opening the file takes,
  and keeping every block on the way.
- *Second* reads, of the remote file as of the local one, are of the kernel's page cache and reach neither us nor the
  other machine. What is left between them is the opening, which asks the agent: 256 MiB at 10 GB/s take 25 ms, and each
  millisecond more is 4 %. Where memory is slow to be had both fall, and differ by more than that (2.9 beside 5.9 GB/s
  in one run, 9.7 beside 10.7 in another).
- *A change* waits half a second for others that may follow it before it is indexed: most of its time.
""",
    "plugins": """
What bounds the emptiest executable is the processor. Two at once fill both cores when they are run bare (0.89 of
0.95 ms of processor time each, 0.24 of it Python's starting them), and what the queue, the store and the loop need for
a job, 0.37 ms, comes on top: 1.33 × if no core ever waited. The interpreter's lock, which Python holds from `vfork` to
`exec`, is no more than a tenth. A process of its own that starts the programs was tried: 1.6 × with two workers, 1.2 ×
with one, which leaves a core to the agent (see [decision 22](decisions/0022-no-process-that-starts-programs.md)). A
program that does anything hides all that.
""",
    "fulltext": """
*Speed*: ours is bounded by processor time, some 10 s of it for 95 MB of real texts, which two cores share: a third
each for tantivy, for the files (crawl, queue, events to another process and back) and for reading, telling the
language, compressing and the journal. What a crawl and two processes cost at their start is in it, some 2 s; Recoll
has none of that and slows down as its index grows, the more different words the faster, so that the ratio grows with
the documents: of 10,000 real texts 2.8 to 3.3 × was seen in runs one after the other.

*Size*: the index keeps each text compressed by itself, with a dictionary that is learnt from the first ones (see
[decision 23](decisions/0023-texts-with-a-dictionary.md)), so that a snippet costs the unpacking of one text and no
more. Made-up texts are words drawn at random: 0.40 is left of one of 3.8 KB, of real ones 0.25. The rest is the index
proper: each word with its documents and positions, without which no phrase is found, for words without meaning as for
others: 0.37 of made-up texts, 0.27 of real ones. The real texts are documentation, licences and Python sources found
on the machine, none of them twice.

Texts have fewer than five runs because one takes a minute: Recoll's 20,000 as much as ours of 100,000.
""",
}


def machine() -> str:
    """One line that says what the figures were measured on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    peers = [
        version(*command) for command in (("rclone", "version"), ("mergerfs", "--version"), ("plocate", "--version"))
    ]
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}; peers: {', '.join(filter(None, peers)) or 'none installed'}"
    )


def version(command: str, flag: str) -> str:
    """First line of what a peer says of its version, or nothing when it is not installed."""
    if not shutil.which(command):
        return ""
    said = subprocess.run([command, flag], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0].strip() if said else command


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Iterable[Row]) -> str:
    """A Markdown table with each peer's figure and the ratio of ours to it."""
    lines = ["| what | MosaicFS | runs | peers (ours ÷ theirs) | promise | |", "|---|---|---|---|---|---|"]
    for row in rows:
        peers = "; ".join(
            f"{name} {number(value)} ({row.ours / value:.2f} ×)" if value else f"{name} {number(value)}"
            for name, value in row.peers.items()
        )
        mark = {True: "kept", False: "**missed**", None: ""}[row.holds]
        note = f" {row.note}" if row.note else ""
        ours = f"{number(row.ours)} {row.unit} | {row.rounds:,}"
        lines.append(f"| {row.what} | {ours} | {peers} | {row.promise} | {mark}{note} |")
    return "\n".join(lines) + "\n"


def render(results: Mapping[str, Result]) -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for name, title in NAMES.items():
        if name in results:
            found = results[name]
            measured = f"Measured {found.date} on {found.machine}."
            parts.append(f"\n## {title}\n\n{measured}\n\n{table(found.rows)}{LIMITS.get(name, '')}")
    return "".join(parts)


def load(name: str) -> Result | None:
    """What the latest run found, so that one benchmark can be repeated without the others; None if that cannot be read:
    it is of a time when results were written in another way."""
    try:
        return msgspec.json.decode((RESULTS / f"{name}.json").read_bytes(), type=Result)
    except (FileNotFoundError, msgspec.ValidationError):
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full sizes; only 1.0 writes the page")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    missed = 0
    for name in chosen.names or NAMES:
        print(f"… {name}", file=sys.stderr, flush=True)
        rows = importlib.import_module(f"benchmarks.{name}").run(chosen.scale)
        print(table(rows), flush=True)
        missed += sum(row.holds is False for row in rows)
        if chosen.scale == 1.0:
            found = Result(datetime.now(UTC).date().isoformat(), machine(), rows)
            (RESULTS / f"{name}.json").write_bytes(msgspec.json.encode(found))
    if chosen.scale == 1.0:
        TABLE.write_text(render({name: latest for name in NAMES if (latest := load(name)) is not None}))
        print(f"Wrote {TABLE.relative_to(ROOT)}; {missed} promises missed in this run", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
