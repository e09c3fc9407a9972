"""Protects replication: after 1,000 generated histories our replica and PouchDB agree on winners, conflicts, leaves and
``_revs_diff``, and on which local edits are refused.

PouchDB is installed from ``pouchdb/package.json`` into a cache directory once.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import Conflict
from mosaicfs_core.store import Store, WriteTransaction

pytestmark = pytest.mark.node

HERE = Path(__file__).parent / "pouchdb"
HISTORIES = int(os.environ.get("MOSAICFS_HISTORIES", "1000"))
Revs = tuple[str, ...]  # hashes, newest first


@pytest.fixture(scope="module")
def modules(node_packages: Callable[[Path], Path]) -> Path:
    """The ``node_modules`` that has PouchDB."""
    return node_packages(HERE)


@pytest.fixture
def pouchdb(modules: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "NODE_PATH": str(modules)}
    command = ["node", str(HERE / "play.js")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=30) == 0


class Maker:
    """Makes one history: branches of made-up revisions grafted anywhere, and local edits that name any of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ids = [f"{seed}-a", f"{seed}-b"]
        self.known: dict[str, list[Revs]] = {identifier: [] for identifier in self.ids}
        self.sent: set[str] = set()
        self.mentioned: set[str] = set()
        self.pruned: set[str] = set()

    def history(self) -> dict[str, Any]:
        steps = [self.step() for _ in range(self.random.randint(1, 7))]
        ask = {}
        for identifier, known in self.known.items():
            absent = ["9-" + "0" * 32, "1-" + "e" * 32]
            # A revision known only as an ancestor is missing for PouchDB, but not for CouchDB and us: do not ask.
            # When a cut history is joined on later, PouchDB holds such a revision twice, once without its body.
            revs = [f"{len(path)}-{path[0]}" for path in known]
            sent = self.sent - self.mentioned if identifier in self.pruned else self.sent
            revs = sorted(set(revs) & sent | set(revs) - self.mentioned)
            ask[identifier] = self.random.sample(revs, min(len(revs), 4)) + absent
        return {"steps": steps, "ask": ask}

    def step(self) -> dict[str, Any]:
        if self.random.random() < 0.25:
            return {"new_edits": True, "docs": [self.local_edit()]}
        return {"new_edits": False, "docs": [self.branch() for _ in range(self.random.randint(1, 3))]}

    def document(self, identifier: str) -> dict[str, Any]:
        document = {"_id": identifier, "type": "thing", "n": self.random.randrange(4)}
        return {**document, "_deleted": True} if self.random.random() < 0.3 else document

    def branch(self) -> dict[str, Any]:
        identifier = self.random.choice(self.ids)
        known = self.known[identifier]
        path = self.random.choice(known) if known and self.random.random() < 0.8 else ()
        for _ in range(self.random.randint(1, 3)):
            # A hash determines its history, as in life: trees with one revision at two places do not occur.
            path = (md5(f"{identifier}{path}{self.random.randrange(3)}".encode()).hexdigest(), *path)
            known.append(path)
        document = self.document(identifier)
        kept = len(path) if self.random.random() < 0.7 else self.random.randint(1, len(path))
        if kept < len(path):
            self.pruned.add(identifier)
        revisions = {"start": len(path), "ids": list(path[:kept])}
        rev = f"{len(path)}-{path[0]}"
        if rev not in self.mentioned:
            self.sent.add(rev)
        self.mentioned.update(f"{len(path) - index}-{path[index]}" for index in range(1, kept))
        return {**document, "_rev": f"{len(path)}-{path[0]}", "_revisions": revisions}

    def local_edit(self) -> dict[str, Any]:
        identifier = self.random.choice(self.ids)
        document = self.document(identifier)
        known = self.known[identifier]
        if known and identifier not in self.pruned and self.random.random() < 0.7:
            path = self.random.choice(known)
            document["_rev"] = f"{len(path)}-{path[0]}"
        return document


def accept_all(document: object) -> None:
    """No schema: revision trees are what is compared."""


class Withdrawn(Exception):
    """Raised to roll an edit back."""


async def would_be(store: Store, document: dict[str, Any]) -> str | None:
    """The revision that a local edit would make, or None when it is refused."""
    made: list[str] = []

    def attempt(tx: WriteTransaction) -> None:
        made.append(tx.put(document))
        raise Withdrawn

    with pytest.raises((Withdrawn, Conflict)):
        await store.transaction(attempt)
    return made[0] if made else None


async def replay(store: Store, history: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Play a history into our store; local edits are tried, and then taken over as PouchDB made them."""
    edits = iter(theirs["edits"])
    for step in history["steps"]:
        if not step["new_edits"]:
            results = await store.bulk(step["docs"], new_edits=False)
            assert all(result.error is None for result in results)
            continue
        (document,), edit = step["docs"], next(edits)
        rev = await would_be(store, document)
        assert (rev is None) == (edit is None), document
        if edit is not None and rev is not None:
            assert rev.partition("-")[0] == edit["_rev"].partition("-")[0]
            await store.bulk([edit], new_edits=False)


async def state_of(store: Store, identifier: str, since: int) -> dict[str, Any]:
    changes = [change async for change in store.changes(since) if change.id == identifier]
    if not changes:
        return {"rev": None, "deleted": False, "conflicts": [], "leaves": []}
    (change,) = changes
    conflicts = [] if change.deleted else sorted(await store.conflicts(identifier))
    leaves = sorted(document["_rev"] for document in await store.open_revs(identifier))
    assert leaves == sorted(change.revs)
    return {"rev": change.revs[0], "deleted": change.deleted, "conflicts": conflicts, "leaves": leaves}


def sorted_diff(difference: dict[str, Any]) -> dict[str, Any]:
    """What is missing; possible ancestors are a hint for the sender, which PouchDB does not give."""
    return {identifier: sorted(found["missing"]) for identifier, found in difference.items()}


async def test_pouchdb_agrees(pouchdb: subprocess.Popen[str], tmp_path: Path) -> None:
    assert pouchdb.stdin is not None
    assert pouchdb.stdout is not None
    store = await Store.open(tmp_path / "replica.db", validate=accept_all)
    for seed in range(HISTORIES):
        history = Maker(seed).history()
        pouchdb.stdin.write(json.dumps(history) + "\n")
        pouchdb.stdin.flush()
        theirs = json.loads(pouchdb.stdout.readline())
        since = (await store.info()).update_seq
        await replay(store, history, theirs)
        for identifier, state in theirs["documents"].items():
            assert await state_of(store, identifier, since) == state, seed
        diff = await store.revs_diff(history["ask"])
        assert sorted_diff(diff) == sorted_diff(theirs["revs_diff"]), seed
    await store.close()
