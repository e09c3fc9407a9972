"""Protects replication between replicas over real HTTP: everything that the store's own feed carries arrives the same
way, live changes follow at once, and a kill of either side at any moment loses and doubles nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.errors import NotSignedIn
from mosaicfs_core.replication import Filter, HttpPeer, Replicator, StorePeer
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.store import Store
from mosaicfs_core.testing.endpoint import Endpoint, running
from mosaicfs_core.testing.store import assignment, file_document

ROUNDS = int(os.environ.get("MOSAICFS_KILL_ROUNDS", "200"))
CHILD = Path(__file__).parent / "replicating_child.py"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A replica that the tests of this module share; each uses documents of its own."""
    with running(tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture
async def peer(endpoint: Endpoint) -> AsyncIterator[HttpPeer]:
    peer = endpoint.peer()
    yield peer
    await peer.close()


def revision(document: dict[str, Any], *ids: str) -> dict[str, Any]:
    return {**document, "_rev": f"{len(ids)}-{ids[0]}", "_revisions": {"start": len(ids), "ids": list(ids)}}


async def of_every_kind(store: Store, place: str) -> None:
    """Files, one with a long history, one in conflict, a tombstone, one in quarantine, another type."""
    await store.bulk([file_document(f"{place}/{number}", size=number) for number in range(300)])
    long = file_document(f"{place}/long")
    rev = await store.put(long)
    for size in range(2, 40):
        rev = await store.put({**long, "_rev": rev, "size": size})
    disputed, gone = file_document(f"{place}/disputed"), file_document(f"{place}/gone")
    made = [revision({**disputed, "size": number}, f"{number:032x}", f"{1:032x}") for number in (5, 6)]
    made.append(revision({**gone, "_deleted": True}, f"{2:032x}", f"{1:032x}"))
    made.append(revision(file_document(f"{place}/broken", size=-1), f"{3:032x}"))
    made.append(revision({"_id": f"future::{place}", "type": "future"}, f"{4:032x}"))
    await store.bulk(made, new_edits=False)
    await store.put(assignment(f"{place}/1", "rot", "grün"))


async def everything(store: Store) -> dict[str, Any]:
    changes = await store.read(lambda reader: reader.changes(0, 1_000_000))
    return {change.id: await store.open_revs(change.id) for change in changes}


async def test_there_and_back(near: Store, far: Store, peer: HttpPeer) -> None:
    await of_every_kind(near, "/there")
    pushed = await Replicator(StorePeer(near), peer, direction="push").run_once()
    assert (pushed.refused, pushed.state) == (0, "idle")
    chosen = Filter("there", accepts=lambda one: "/there" in str(one) or one["_id"].startswith("label_file"))
    pulled = await Replicator(peer, StorePeer(far), direction="pull", chosen=chosen).run_once()
    assert pulled.refused == 0
    assert await everything(far) == await everything(near)
    again = await Replicator(StorePeer(near), peer, direction="push").run_once()
    assert again.pushed == 0


@pytest.mark.parametrize("feed", ["continuous", "longpoll"])
async def test_live_changes_follow_at_once(near: Store, far: Store, endpoint: Endpoint, feed: Any) -> None:
    requests = PlainRequests(endpoint.url, {"Authorization": f"Bearer {endpoint.token}"})
    peers = [endpoint.peer(), HttpPeer(requests, feed=feed)]
    push = Replicator(StorePeer(near), peers[0], direction="push", heartbeat=0.5)
    pull = Replicator(peers[1], StorePeer(far), direction="pull", heartbeat=0.5)
    tasks = [asyncio.create_task(one.run()) for one in (push, pull)]
    for number in range(10):
        document = file_document(f"/live/{feed}/{number}")
        await near.put(document)
        await until(lambda document=document: far.get(document["_id"]))
    await asyncio.sleep(1.2)  # heartbeats pass while nothing happens
    assert (push.status.state, pull.status.state) == ("live", "live")
    await near.put(file_document(f"/live/{feed}/last"))
    await until(lambda: far.get(file_document(f"/live/{feed}/last")["_id"]))
    for one in (push, pull):
        one.stop()
    await asyncio.gather(*tasks)
    for peer in peers:
        await peer.close()


async def test_a_selector_is_evaluated_there(near: Store, far: Store, peer: HttpPeer) -> None:
    await near.bulk([assignment("/chosen", "x"), file_document("/chosen")])
    await Replicator(StorePeer(near), peer, direction="push").run_once()
    chosen = Filter(selector={"type": "label_assignment", "export_path": "/chosen"})
    status = await Replicator(peer, StorePeer(far), direction="pull", chosen=chosen).run_once()
    assert (status.pulled, set(await everything(far))) == (1, {assignment("/chosen")["_id"]})


async def test_bodies_are_compressed_where_the_database_says_so(near: Store, endpoint: Endpoint) -> None:
    sent: list[tuple[str, str | None, int]] = []

    class Noting(PlainRequests):
        def request(self, method: str, path: str, **options: Any) -> Any:
            encoding = (options.get("headers") or {}).get("content-encoding")
            sent.append((path.rpartition("/")[2], encoding, len(options.get("body") or b"")))
            return super().request(method, path, **options)

    peer = HttpPeer(Noting(endpoint.url, {"Authorization": f"Bearer {endpoint.token}"}))
    await near.bulk([file_document(f"/compressed/{number}") for number in range(400)])
    await Replicator(StorePeer(near), peer, direction="push").run_once()
    await peer.close()
    assert {encoding for path, encoding, _ in sent if path == "_bulk_docs"} == {"gzip"}
    assert max(size for path, _, size in sent if path == "_bulk_docs") < 400 * 150


async def test_wrong_credentials_are_told(near: Store, endpoint: Endpoint) -> None:
    peer = HttpPeer(PlainRequests(endpoint.url, {"Authorization": "Bearer nothing"}))
    with pytest.raises(NotSignedIn):
        await Replicator(peer, StorePeer(near), direction="pull").run_once()
    await peer.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - the other side is another process
            await asyncio.sleep(0.01)


# Kills


def killed_rounds(fork_server: Any, home: Path, path: Path) -> set[str]:
    """Both sides are processes; one writes, pushes and pulls until it is killed, or the other side is and then it. A
    side that is not killed goes on into the next round. Returns what was acknowledged, as ``{id} {rev}``."""
    chance = random.Random()
    there, here = fork_server(CHILD.with_name("endpoint_child.py")), fork_server(CHILD)
    acknowledged: set[str] = set()
    known: dict[str, str] | None = None
    for number in range(ROUNDS):
        if known is None:
            there.start(str(home))
            known = json.loads(there.line())
        here.start(str(path), known["url"], known["token"], number)
        for _ in range(chance.randint(1, 12)):
            acknowledged.add(here.line())
        # Kill in the middle of whatever it does a random while after that acknowledgement.
        time.sleep(chance.random() * 0.05)
        if chance.random() < 0.5:
            there.kill()
            known = None
            time.sleep(chance.random() * 0.05)
        acknowledged.update(here.kill())
    if known is not None:
        there.kill()
    return acknowledged - {""}


@pytest.mark.timeout(240 + 2 * ROUNDS)
async def test_a_kill_of_either_side_loses_and_doubles_nothing(fork_server: Any, tmp_path: Path) -> None:
    """After the kills they replicate undisturbed, and every document that either side acknowledged is on both."""
    home, path = tmp_path / "home", tmp_path / "near.db"
    acknowledged = killed_rounds(fork_server, home, path)
    with running(home) as endpoint:
        near = await Store.open(path)
        peer, ours = endpoint.peer(), StorePeer(near)
        assert (await Replicator(ours, peer, direction="push").run_once()).refused == 0
        assert (await Replicator(peer, ours, direction="pull").run_once()).refused == 0
        copy = await Store.open(tmp_path / "copy.db")
        await Replicator(peer, StorePeer(copy), direction="pull").run_once()
        found = await everything(near)
        assert await everything(copy) == found
        written = {f"{name} {leaf['_rev']}" for name, leaves in found.items() for leaf in leaves}
        assert acknowledged <= written
        assert all(len(leaves) == 1 for leaves in found.values())
        for store in (copy, near):
            await store.close()
        await peer.close()
