"""Replication: cold and incremental, between two embedded stores over loopback HTTP, beside PouchDB's own replicator
between two servers of its own in the same run.

Each server is a process of its own: ours is a replica behind its endpoint, PouchDB's is express-pouchdb with databases
in memory (so it never waits for a disk, while ours is durable). The replicator is a further process: this one, or Node.
``python -m benchmarks.replication [DOCUMENTS]`` prints the figures as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import ROUNDS, Row, medians, rounds_at
from benchmarks.store import batches, file_documents
from mosaicfs_core.home import Home
from mosaicfs_core.replication import HttpPeer, Replicator, Status, StorePeer
from mosaicfs_core.store import Store
from mosaicfs_core.testing.endpoint import running

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from npm import NotInstalled, installed_packages

FULL = 100_000
DEFAULT_SHARE = 10
"""PouchDB as it comes (batches of 100) gets this fraction of the documents, for it takes long; its rate falls with
their number, so this favours it. With batches of 1,000, which it does best with, it gets all."""
CHANGED_SHARE = 20
LATENCIES = 40
"""In each round."""
PEER = Path(__file__).resolve().parents[1] / "tests" / "server" / "couch" / "peers"
COLD = "≥ 5,400 and ≥ 3 × PouchDB"


async def fill(path: Path, count: int) -> None:
    """A store with ``count`` files."""
    async with await Store.open(path) as store:
        for batch in batches(count):
            await store.bulk(batch)


async def change(store: Store, count: int) -> None:
    """Edit the first ``count`` files."""
    documents = list(file_documents(count))
    present = await store.get_many([document["_id"] for document in documents])
    for start in range(0, count, 1_000):
        edits = [{**one, "size": one["size"] + 1} for one in present[start : start + 1_000] if one is not None]
        await store.bulk(edits)


async def timed(replication: Callable[[], Awaitable[Status]], expected: int) -> float:
    """Documents a second of one replication, which must move ``expected`` documents."""
    started = time.perf_counter()
    status = await replication()
    taken = time.perf_counter() - started
    if status.pushed + status.pulled != expected or status.refused:
        raise RuntimeError(f"{expected} documents were to be replicated: {status}")
    return expected / taken


async def pushing(place: Path, filled: Path, count: int) -> dict[str, float]:
    """This process has the documents, a copy of ``filled``, and pushes them; then some change; then one at a time, as
    they happen."""
    shutil.copyfile(filled, place / "near.db")
    with running(place / "home") as endpoint:
        async with await Store.open(place / "near.db") as store:
            peer = endpoint.peer()
            push = Replicator(StorePeer(store), peer, direction="push")
            found = {"cold": await timed(push.run_once, count)}
            changed = max(1, count // CHANGED_SHARE)
            await change(store, changed)
            again = Replicator(StorePeer(store), peer, direction="push")
            found["incremental"] = await timed(again.run_once, changed)
            found["latency_ms"] = await latency(store, peer)
            await peer.close()
    return found


async def latency(store: Store, peer: HttpPeer) -> float:
    """Median milliseconds from a write here until it is written there, live."""
    live = Replicator(StorePeer(store), peer, direction="push")
    running_live = asyncio.create_task(live.run())
    while live.status.state != "live":  # noqa: ASYNC110 - it has no event for that
        await asyncio.sleep(0.01)
    (document,) = file_documents(1)
    taken = []
    for _ in range(LATENCIES):
        before = live.status.pushed
        present = await store.get(document["_id"])
        assert present is not None
        started = time.perf_counter()
        await store.put({**present, "size": present["size"] + 1})
        while live.status.pushed == before:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0)
        taken.append((time.perf_counter() - started) * 1000)
    live.stop()
    await running_live
    return statistics.median(taken)


async def pulling(place: Path, filled: Path, count: int) -> dict[str, float]:
    """The other process has the documents, a copy of ``filled``, and this one pulls them."""
    home = Home(place / "home").prepare()
    shutil.copyfile(filled, home.replica)
    with running(home.path) as endpoint:
        async with await Store.open(place / "near.db") as store:
            peer = endpoint.peer()
            pull = Replicator(peer, StorePeer(store), direction="pull")
            found = {"cold": await timed(pull.run_once, count)}
            await peer.close()
    return found


# PouchDB


class Node:
    """A process of ``peer.js``: a server, and commands one by one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.url: str = json.loads(self._out.readline())["url"]

    def do(self, name: str, **arguments: Any) -> Any:
        """Run a command; raises RuntimeError when it fails."""
        self._in.write(json.dumps({"do": name, **arguments}) + "\n")
        self._in.flush()
        answer = json.loads(self._out.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    def close(self) -> None:
        """End it."""
        self._in.close()


@contextlib.contextmanager
def node(modules: Path) -> Iterator[Node]:
    """A running ``peer.js``."""
    command = ["node", "--no-deprecation", str(PEER / "peer.js")]
    environment = {**os.environ, "NODE_PATH": str(modules)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        started = Node(process)
        try:
            yield started
        finally:
            started.close()


def pouchdb(count: int, **options: Any) -> Mapping[str, float]:
    """The same with PouchDB's replicator and these options of it; nothing where it cannot be installed."""
    try:
        modules = installed_packages(PEER)
    except NotInstalled:
        return {}
    with node(modules) as source, node(modules) as target, node(modules) as replicator:
        documents = []
        for number, document in enumerate(file_documents(count)):
            documents.append({**document, "_rev": f"1-{number:032x}"})
        for start in range(0, count, 1_000):
            source.do("fill", db="files", docs=documents[start : start + 1_000])
        changed = max(1, count // CHANGED_SHARE)
        edits = [{**document, "_rev": f"2-{'f' * 32}"} for document in documents[:changed]]
        for edit, before in zip(edits, documents, strict=False):
            edit["_revisions"] = {"start": 2, "ids": ["f" * 32, before["_rev"][2:]]}
        found = {"cold": pouchdb_once(source, target, replicator, count, options)}
        source.do("fill", db="files", docs=edits)
        found["incremental"] = pouchdb_once(source, target, replicator, changed, options)
        return found


def pouchdb_once(source: Node, target: Node, replicator: Node, expected: int, options: Mapping[str, Any]) -> float:
    """Documents a second of one replication."""
    started = time.perf_counter()
    sides = {"source": f"{source.url}/files", "target": f"{target.url}/files"}
    result = replicator.do("replicate", **sides, options=options)
    taken = time.perf_counter() - started
    if result["docs_written"] != expected:
        raise RuntimeError(f"{expected} documents were to be replicated: {result}")
    return expected / taken


def one_round(filled: Path, count: int) -> dict[str, Mapping[str, float]]:
    """Ours and PouchDB's, one after the other."""
    found: dict[str, Mapping[str, float]] = {}
    for name, action in (("push", pushing), ("pull", pulling)):
        with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-") as place:
            found[name] = asyncio.run(action(Path(place), filled, count))
    found["pouchdb"] = pouchdb(max(200, count // DEFAULT_SHARE))
    found["pouchdb_tuned"] = pouchdb(count, batch_size=1_000)
    return found


def measure(count: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Everything, over ``count`` documents: medians."""
    with tempfile.TemporaryDirectory(prefix="mosaicfs-bench-") as place:
        filled = Path(place) / "filled.db"
        asyncio.run(fill(filled, count))
        found = [one_round(filled, count) for _ in range(rounds)]
    return {"documents": count, **{name: medians([one[name] for one in found]) for name in found[0]}}


def run(scale: float = 1.0) -> list[Row]:
    """The promises about replication."""
    count = max(1_000, round(FULL * scale))
    rounds = rounds_at(scale)
    found = measure(count, rounds)
    push, pull, peer, tuned = found["push"], found["pull"], found["pouchdb"], found["pouchdb_tuned"]

    def cold(rate: float) -> bool:
        return rate >= 5_400 and (not peer or rate >= 3 * peer["cold"])

    def beside(what: str) -> dict[str, float]:
        return {"PouchDB": peer[what], "PouchDB, batches of 1,000": tuned[what]} if peer else {}

    unit, all_of_them = "documents/s", f"cold replication of {count:,} files"
    again, changed = push["incremental"], f"one file in {CHANGED_SHARE} changed, pushed"
    live = "one change, live, until it is durable there"
    return [
        *(
            Row(f"{all_of_them}, {way}", rate, unit, beside("cold"), COLD, cold(rate), rounds=rounds)
            for way, rate in (("pushed", push["cold"]), ("pulled", pull["cold"]))
        ),
        Row(changed, again, unit, beside("incremental"), rounds=rounds),
        Row(live, push["latency_ms"], "ms", rounds=rounds * LATENCIES),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else FULL), indent=2))
