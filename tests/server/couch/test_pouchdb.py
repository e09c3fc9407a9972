"""Protects interoperation: PouchDB 9, and a server that speaks CouchDB's protocol, replicate with the endpoint both
ways until all have the same leaves: with conflicts, tombstones and long histories, and while everybody goes on writing.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

pytestmark = pytest.mark.node

HERE = Path(__file__).parent / "peers"
DOCUMENTS = int(os.environ.get("MOSAICFS_INTEROP_DOCUMENTS", "10000"))
LINE = 64 * 1024 * 1024


class Peer:
    """PouchDB and its server in a process of their own. ``ours`` is the replica's address, with a hub's key."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, ours: str) -> None:
        self._process = process
        self.url, self.ours = url, ours

    async def do(self, name: str, **arguments: Any) -> Any:
        """Run a command of ``peers/peer.js``."""
        answer = await self.try_to(name, **arguments)
        assert "error" not in answer, answer
        return answer["ok"]

    async def try_to(self, name: str, **arguments: Any) -> Any:
        """Its whole answer, ``{"ok"}`` or ``{"error", "status"}``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": name, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        return json.loads(await self._process.stdout.readline())


@pytest.fixture
async def peer(node_packages: Callable[[Path], Path], couch: Any) -> AsyncIterator[Peer]:
    environment = {**os.environ, "NODE_PATH": str(node_packages(HERE))}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / "peer.js"), stdin=pipe, stdout=pipe, env=environment, limit=LINE
    )
    assert process.stdout is not None
    running = Peer(process, json.loads(await process.stdout.readline())["url"], await with_a_key(couch))
    yield running
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def with_a_key(couch: Any) -> str:
    """The replica's address with a new hub's key in it, as a foreign replicator is given one."""
    made = (await couch.ask("POST", "/api/credentials", json={"name": "shelf", "kind": "hub"})).json
    return str(URL(f"{couch.url}/db/mosaicfs").with_user(made["access_key_id"]).with_password(made["secret_key"]))


def revision(document: dict[str, Any], path: list[str], deleted: bool) -> dict[str, Any]:
    body = {key: document[key] for key in ("_id", "type", "source")} if deleted else document
    made = {**body, "_rev": f"{len(path)}-{path[0]}", "_revisions": {"start": len(path), "ids": path}}
    return {**made, "_deleted": True} if deleted else made


def history(couch: Any, number: int, side: str) -> list[dict[str, Any]]:
    """The leaves of a document as one side has it: a common trunk, and branches of the side's own.

    Of ten documents one is deleted, two are in conflict on each side, one has lost a branch to a deletion; of fifty one
    has a history of hundreds of revisions.
    """
    document = couch.file(number, size=number)

    def grow(path: list[str], name: str, length: int) -> list[str]:
        for step in range(length):
            path = [md5(f"{number} {name} {step}".encode()).hexdigest(), *path]
        return path

    trunk = grow([], "trunk", 300 if number % 50 == 7 else number % 3 + 1)
    kind = number % 10
    if kind == 0:
        return [revision(document, grow(trunk, "gone", 1), True)]
    if kind in (1, 2):
        return [
            revision({**document, "size": branch}, grow(trunk, f"{side} {branch}", branch), False) for branch in (1, 2)
        ]
    if kind == 3:
        return [revision(document, grow(trunk, side, 1), False), revision(document, grow(trunk, f"{side} x", 2), True)]
    if kind == 4:
        return [revision(document, grow(trunk, side, 1), False)]
    return [revision(document, trunk, False)]


def leaves_of(*sides: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What everybody must end with: the leaves of all revisions together."""
    leaves: defaultdict[str, set[str]] = defaultdict(set)
    inner: defaultdict[str, set[str]] = defaultdict(set)
    for document in (one for side in sides for one in side):
        path, start = document["_revisions"]["ids"], document["_revisions"]["start"]
        leaves[document["_id"]].add(document["_rev"])
        inner[document["_id"]].update(f"{start - age}-{digest}" for age, digest in enumerate(path) if age)
    return {identifier: sorted(revs - inner[identifier]) for identifier, revs in leaves.items()}


async def our_leaves(couch: Any) -> dict[str, list[str]]:
    """All leaves as the endpoint tells them."""
    rows = (await couch.get("/_changes", style="all_docs")).json["results"]
    return {row["id"]: sorted(one["rev"] for one in row["changes"]) for row in rows if row["id"].startswith("file::")}


def only_files(leaves: dict[str, list[str]]) -> dict[str, list[str]]:
    return {identifier: revs for identifier, revs in leaves.items() if identifier.startswith("file::")}


async def fill(couch: Any, peer: Peer, name: str, count: int) -> dict[str, list[str]]:
    """Give each side two thirds of the documents, one third to both; the leaves that both must end with."""
    third = count // 3
    ours = [leaf for number in range(2 * third) for leaf in history(couch, number, "ours")]
    theirs = [leaf for number in range(third, count) for leaf in history(couch, number, "theirs")]
    results = await couch.store.bulk(ours, new_edits=False)
    assert not [result for result in results if result.error]
    for start in range(0, len(theirs), 1000):
        assert await peer.do("fill", db=name, docs=theirs[start : start + 1000]) == []
    expected = leaves_of(ours, theirs)
    assert len(expected) == count
    assert len([revs for revs in expected.values() if len(revs) > 1]) > count // 5
    return expected


async def test_pouchdb_and_we_end_with_the_same_leaves(couch: Any, peer: Peer) -> None:
    ours = peer.ours
    expected = await fill(couch, peer, "pouch", DOCUMENTS)
    options = {"batch_size": 1000}
    pulled = await peer.do("replicate", source=ours, target="pouch", options=options)
    pushed = await peer.do("replicate", source="pouch", target=ours, options=options)
    for result in (pulled, pushed):
        assert (result["ok"], result["doc_write_failures"], result["errors"]) == (True, 0, [])
    assert await our_leaves(couch) == expected
    assert only_files(await peer.do("leaves", db="pouch")) == expected
    some = sorted(expected)[:: max(1, DOCUMENTS // 500)]
    winners = await peer.do("winners", db="pouch", ids=some)
    rows = (await couch.post("/_all_docs", {"keys": some})).json["rows"]
    assert winners == {
        row["id"]: {"rev": row["value"]["rev"], "deleted": row["value"].get("deleted", False)} for row in rows
    }
    again = await peer.do("replicate", source="pouch", target=ours, options=options)
    assert again["docs_read"] == 0  # from the checkpoint

    await peer.do("sync", one="pouch", other=ours)
    await live(couch, peer, "pouch")


async def live(couch: Any, peer: Peer, name: str) -> None:
    """Both sides write while they replicate continuously; each sees the other's."""
    fresh = [couch.file(number) for number in range(DOCUMENTS, DOCUMENTS + 40)]
    results = await couch.store.bulk(fresh)
    revs = {result.id: result.rev for result in results}
    assert await asyncio.wait_for(peer.do("await", db=name, revs=revs), 60)
    edits = await peer.do("edit", db=name, docs=[{**document, "size": 77} for document in fresh[:20]])
    wanted = {edit["id"]: edit["rev"] for edit in edits}
    feed = couch.store.changes(0, live=True)
    async with asyncio.timeout(60):
        async for change in feed:
            if wanted.get(change.id) in change.revs:
                del wanted[change.id]
            if not wanted:
                break
    await feed.aclose()
    assert (await couch.store.get(fresh[0]["_id"]))["size"] == 77
    deleted = await couch.store.put({"_id": fresh[0]["_id"], "_rev": edits[0]["rev"], "_deleted": True})
    assert await asyncio.wait_for(peer.do("await", db=name, revs={fresh[0]["_id"]: deleted}), 60)
    assert await our_leaves(couch) == only_files(await peer.do("leaves", db=name))


async def test_a_server_that_speaks_couchdbs_protocol_and_we_end_with_the_same_leaves(couch: Any, peer: Peer) -> None:
    ours, theirs = peer.ours, f"{peer.url}/shelf"
    expected = await fill(couch, peer, "shelf", DOCUMENTS)
    # Its own replicator pulls and pushes.
    for source, target in ((ours, theirs), (theirs, ours)):
        async with couch.client.post(f"{peer.url}/_replicate", json={"source": source, "target": target}) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["ok"] is True
    assert await our_leaves(couch) == expected
    assert only_files(await peer.do("leaves", db=theirs)) == expected

    for source, target in ((ours, theirs), (theirs, ours)):
        body = {"source": source, "target": target, "continuous": True}
        async with couch.client.post(f"{peer.url}/_replicate", json=body) as answer:
            assert (await answer.json())["ok"] is True
    await live(couch, peer, theirs)


async def test_a_page_keeps_a_filtered_copy_and_writes_nothing(couch: Any, peer: Peer) -> None:
    await couch.fill()
    ours = f"{couch.url}/db/mosaicfs"
    await peer.do("auth", url=couch.url, headers=couch.headers("user"))
    pulled = await peer.do("replicate", source=ours, target="page", options={})
    assert (pulled["ok"], pulled["errors"]) == (True, [])
    copy = await peer.do("leaves", db="page")
    shown = {row["id"] for row in (await couch.get("/_changes", "user")).json["results"]}
    assert copy.keys() == shown
    assert not [identifier for identifier in copy if identifier.startswith(("file::", "credential::", "annotation::"))]
    again = await peer.do("replicate", source=ours, target="page", options={})
    assert again["docs_read"] == 0  # its own checkpoint is enough: ours refuses to be written

    plugin = couch.documents(couch.node)["plugin"]
    stored = await couch.store.get(plugin["_id"])
    left = {**plugin, "_rev": f"2-{'e' * 32}", "_revisions": {"start": 2, "ids": ["e" * 32, stored["_rev"][2:]]}}
    await couch.store.bulk([{**left, "type": "thing"}], new_edits=False)
    await peer.do("replicate", source=ours, target="page", options={})
    gone = (await peer.do("winners", db="page", ids=[plugin["_id"]]))[plugin["_id"]]
    assert gone == {"rev": left["_rev"], "deleted": True}  # it left the flow
    back = {**plugin, "_rev": f"3-{'d' * 32}", "_revisions": {"start": 3, "ids": ["d" * 32, "e" * 32]}}
    await couch.store.bulk([back], new_edits=False)
    await peer.do("replicate", source=ours, target="page", options={})
    returned = (await peer.do("winners", db="page", ids=[plugin["_id"]]))[plugin["_id"]]
    assert returned == {"rev": back["_rev"], "deleted": False}

    await peer.do("fill", db="page", docs=[{"_id": "dir::mine", "_rev": "1-a", "type": "virtual_directory"}])
    before = couch.store.seq
    pushed = await peer.try_to("replicate", source="page", target=ours, options={})
    assert pushed["status"] == 403
    assert couch.store.seq == before
