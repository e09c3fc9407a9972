"""Protects replication with a foreign server: documents with conflicts, tombstones and long histories go both ways
between a store and express-pouchdb, once and live, ending in the same leaf revisions."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mosaicfs_core.errors import NotFound, Unavailable
from mosaicfs_core.replication import Filter, HttpPeer, Replicator, StorePeer, Wanted
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import assignment, file_document

pytestmark = pytest.mark.node

HERE = Path(__file__).parent / "pouchdb"
PACKAGES = Path(__file__).parents[1] / "server" / "couch" / "peers"
DOCUMENTS = int(os.environ.get("MOSAICFS_INTEROP_DOCUMENTS", "10000"))
AT_ONCE = 500
"""Revisions in a request: a body beyond a megabyte is refused by the client as too large to be sent in one piece."""


@pytest.fixture(scope="module")
def server(node_packages: Callable[[Path], Path]) -> Iterator[str]:
    """The address of a running express-pouchdb."""
    environment = {**os.environ, "NODE_PATH": str(node_packages(PACKAGES))}
    command = ["node", "--no-deprecation", str(HERE / "server.js")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()
        process.wait(timeout=30)


@pytest.fixture
async def database(server: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The address of a new database."""
    name = "db-" + md5(request.node.nodeid.encode()).hexdigest()[:12]
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{server}/{name}") as answer:
            assert answer.status == 201
        yield f"{server}/{name}"
        async with session.delete(f"{server}/{name}") as answer:
            assert answer.status == 200


@pytest.fixture
async def peer(database: str) -> AsyncIterator[HttpPeer]:
    peer = peer_of(database)
    yield peer
    await peer.close()


def peer_of(database: str, **options: Any) -> HttpPeer:
    base, _, name = database.rpartition("/")
    return HttpPeer(PlainRequests(base), f"/{name}", address=base, **options)


async def call(database: str, method: str, path: str, content: Any = None) -> Any:
    async with aiohttp.ClientSession() as session, session.request(method, database + path, json=content) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json(content_type=None)


async def their_leaves(database: str) -> dict[str, set[str]]:
    answer = await call(database, "GET", "/_changes?style=all_docs")
    return {row["id"]: {one["rev"] for one in row["changes"]} for row in answer["results"]}


async def our_leaves(store: Store) -> dict[str, set[str]]:
    return {change.id: set(change.revs) for change in await store.read(lambda reader: reader.changes(0, 1_000_000))}


async def their_winner(database: str, identifier: str) -> Any:
    answer = await call(database, "POST", "/_all_docs?include_docs=true", {"keys": [identifier]})
    return answer["rows"][0].get("doc")


def histories(count: int, seed: int) -> list[dict[str, Any]]:
    """Revisions made elsewhere: files with histories of up to 40 revisions, conflicts, and tombstones."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        document = file_document(f"/{seed}/{number}", size=number)
        root: tuple[str, ...] = (md5(f"{seed}/{number}".encode()).hexdigest(),)
        for branch in range(1 if chance.random() < 0.8 else 3):
            length = chance.choice([0, 0, 0, 1, 3, 39])
            path = (*[md5(f"{root}{branch}{step}".encode()).hexdigest() for step in range(length, 0, -1)], *root)
            deleted = {"_deleted": True} if chance.random() < 0.15 else {}
            revisions = {"start": len(path), "ids": list(path)}
            made.append(
                {**document, **deleted, "size": branch, "_rev": f"{len(path)}-{path[0]}", "_revisions": revisions}
            )
    return made


def batched(documents: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    return (documents[start : start + AT_ONCE] for start in range(0, len(documents), AT_ONCE))


async def test_both_ways_end_in_the_same_leaves(near: Store, database: str, peer: HttpPeer) -> None:
    await near.bulk(histories(DOCUMENTS // 2, 1), new_edits=False)
    for some in batched(histories(DOCUMENTS // 2, 2)):
        await call(database, "POST", "/_bulk_docs", {"docs": some, "new_edits": False})
    ours = StorePeer(near)
    pushed = await Replicator(ours, peer, direction="push").run_once()
    pulled = await Replicator(peer, ours, direction="pull").run_once()
    leaves = await our_leaves(near)
    assert leaves == await their_leaves(database)
    assert len(leaves) == DOCUMENTS // 2 * 2
    assert (pushed.refused, pulled.refused) == (0, 0)
    for identifier in random.Random(3).sample(sorted(leaves), 25):
        winner = await their_winner(database, identifier)
        assert await near.get(identifier) == (None if winner is None or winner.get("_deleted") else winner)
    again = await Replicator(ours, peer, direction="push").run_once()
    assert again.pushed == 0
    assert (await Replicator(peer, ours, direction="pull").run_once()).pulled == 0


@pytest.mark.parametrize("feed", ["continuous", "longpoll"])
async def test_live_both_ways(near: Store, database: str, feed: Any) -> None:
    peers = [peer_of(database, feed=feed) for _ in range(2)]
    ours = StorePeer(near)
    push = Replicator(ours, peers[0], direction="push", heartbeat=1.0)
    pull = Replicator(peers[1], ours, direction="pull", heartbeat=1.0)
    running = [asyncio.create_task(one.run()) for one in (push, pull)]
    mine, theirs = file_document("/mine"), file_document("/theirs")
    await near.put(mine)
    await until(lambda: has(database, mine["_id"]))
    await call(database, "POST", "", theirs)
    await until(lambda: near.get(theirs["_id"]))
    for size in range(2, 12):
        await near.update(mine["_id"], lambda present, size=size: {**(present or {}), "size": size})
        present = await their_winner(database, theirs["_id"])
        await call(database, "POST", "", {**present, "size": size})

    async def level() -> bool:
        return await our_leaves(near) == await their_leaves(database)

    await until(level)
    assert ((await near.get(theirs["_id"])) or {})["size"] == 11
    assert (push.status.state, pull.status.state) == ("live", "live")
    for one in (push, pull):
        one.stop()
    await asyncio.gather(*running)
    for peer in peers:
        await peer.close()


async def has(database: str, identifier: str) -> bool:
    return identifier in await their_leaves(database)


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - the other side is another program
            await asyncio.sleep(0.02)


async def test_a_selector_is_evaluated_by_the_source(near: Store, database: str, peer: HttpPeer) -> None:
    documents = [assignment("/a", "red"), file_document("/a"), file_document("/b")]
    await call(database, "POST", "/_bulk_docs", {"docs": documents})
    chosen = Filter(selector={"type": "label_assignment"})
    status = await Replicator(peer, StorePeer(near), direction="pull", chosen=chosen).run_once()
    assert (status.pulled, set(await our_leaves(near))) == (1, {documents[0]["_id"]})


async def test_without_bulk_get_documents_are_fetched_one_by_one(near: Store, database: str) -> None:
    class Old(PlainRequests):
        """What an older server answers."""

        def request(self, method: str, path: str, **options: Any) -> Any:
            if path.endswith("_bulk_get"):
                return super().request("GET", path.replace("_bulk_get", "_local/none"))
            return super().request(method, path, **options)

    await call(database, "POST", "/_bulk_docs", {"docs": histories(30, 5), "new_edits": False})
    base, _, name = database.rpartition("/")
    peer = HttpPeer(Old(base), f"/{name}", address=base)
    await Replicator(peer, StorePeer(near), direction="pull").run_once()
    assert await our_leaves(near) == await their_leaves(database)
    found = await peer.bulk_get([Wanted("file::none", "1-a")])
    assert (found.documents, [one.id for one in found.absent], found.rest) == ([], ["file::none"], 0)
    await peer.close()


@pytest.mark.logs("was not replicated")
async def test_what_a_store_cannot_keep_is_refused_and_the_rest_arrives(
    near: Store, database: str, peer: HttpPeer
) -> None:
    attachment = {"content_type": "text/plain", "data": "eA=="}
    documents: list[Mapping[str, Any]] = [
        {"_id": "with attachment", "_attachments": {"a": attachment}},
        file_document("/good"),
        {"_id": "future::1", "type": "future"},
    ]
    await call(database, "POST", "/_bulk_docs", {"docs": documents})
    status = await Replicator(peer, StorePeer(near), direction="pull").run_once()
    assert (status.refused, status.pulled) == (1, 2)
    assert set(await our_leaves(near)) == {file_document("/good")["_id"], "future::1"}


async def test_a_database_that_is_missing_or_a_server_that_is_away(near: Store, server: str) -> None:
    for address, kind in ((f"{server}/missing", NotFound), ("http://127.0.0.1:9/nothing", Unavailable)):
        peer = peer_of(address)
        with pytest.raises(kind):
            await Replicator(peer, StorePeer(near), direction="pull").run_once()
        await peer.close()
