"""Protects replication with Apache CouchDB 3.4 as it fails: a shard that does not answer, a node in maintenance, copies
that lag, and whatever stands before it. Nothing is lost, and one document holds up no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from couchdb_server import ADMIN, CouchDB, at, running, said

from mosaicfs_core.errors import NotSignedIn, Unavailable
from mosaicfs_core.replication import HttpPeer, Replicator, StorePeer
from mosaicfs_core.replication.recovery import drop_unknown
from mosaicfs_core.security.requests import PlainRequests
from mosaicfs_core.store import Store
from mosaicfs_core.testing.peers import Time
from mosaicfs_core.testing.store import annotation, file_document

NAME = "mosaicfs"
HEADERS = {"authorization": aiohttp.encode_basic_auth(*ADMIN)}


@pytest.fixture
async def couch(tmp_path: Path) -> AsyncIterator[CouchDB]:
    async with running(tmp_path, [NAME]) as server:
        yield server


@pytest.fixture
async def peer(couch: CouchDB) -> AsyncIterator[HttpPeer]:
    peer = peer_of(couch)
    yield peer
    await peer.close()


def peer_of(couch: CouchDB, **options: Any) -> HttpPeer:
    return HttpPeer(PlainRequests(couch.base, HEADERS), f"/{NAME}", address=couch.base, **options)


async def leaves(store: Store) -> dict[str, set[str]]:
    return {one.id: set(one.revs) for one in await store.read(lambda reader: reader.changes(0, 1_000_000))}


def files(place: str, count: int) -> list[dict[str, Any]]:
    return [file_document(f"/{place}/{number}", size=number) for number in range(count)]


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event for what any condition looks at
            await asyncio.sleep(0.002)


async def test_there_and_back_with_opaque_sequences(near: Store, far: Store, couch: CouchDB, peer: HttpPeer) -> None:
    await near.bulk(files("a", 50))
    await Replicator(StorePeer(near), peer, direction="push").run_once()
    await Replicator(peer, StorePeer(far), direction="pull").run_once()
    assert await leaves(far) == await leaves(near) == await couch.leaves(NAME)
    couch.asked.clear()
    await Replicator(peer, StorePeer(far), direction="pull").run_once()
    assert "POST /_revs_diff" not in couch.asked
    assert (await Replicator(peer, StorePeer(far), direction="pull").run_once()).pulled == 0


@pytest.mark.parametrize("feed", ["continuous", "longpoll"])
async def test_live_both_ways(near: Store, far: Store, couch: CouchDB, feed: Any) -> None:
    peers = [peer_of(couch), peer_of(couch, feed=feed)]
    push = Replicator(StorePeer(near), peers[0], direction="push", heartbeat=0.1, checkpoint_every=0.05)
    pull = Replicator(peers[1], StorePeer(far), direction="pull", heartbeat=0.1, checkpoint_every=0.05)
    tasks = [asyncio.create_task(one.run()) for one in (push, pull)]
    for number in range(5):
        await near.put(file_document(f"/live/{number}"))
        await eventually(lambda number=number: far.reader.seq() == number + 1)
    await eventually(lambda: any(name.startswith("PUT _local") for name in couch.asked))
    assert (push.status.state, pull.status.state) == ("live", "live")
    for one in (push, pull):
        one.stop()
    await asyncio.gather(*tasks)
    for peer in peers:
        await peer.close()


# Reading


async def test_a_batch_that_it_fails_to_read_is_read_again(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time
) -> None:
    """It answers 200, with an error in every row."""
    await couch.stores[NAME].bulk(files("a", 20))
    couch.lost = set(await couch.leaves(NAME))
    pull = Replicator(peer, StorePeer(near), direction="pull", surroundings=time.surroundings)
    with pytest.raises(Unavailable, match="internal_fabric_error: timeout"):
        await pull.run_once()
    assert await leaves(near) == {}
    couch.lost.clear()
    status = await pull.run_once()
    assert (status.pulled, status.owed) == (20, 0)
    assert await leaves(near) == await couch.leaves(NAME)


async def test_one_document_that_it_cannot_read_holds_up_no_others(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time
) -> None:
    await couch.stores[NAME].bulk(files("a", 40))
    lost = file_document("/a/17")["_id"]
    couch.lost = {lost}
    pull = Replicator(peer, StorePeer(near), direction="pull", surroundings=time.surroundings)
    status = await pull.run_once()
    assert (status.pulled, status.owed, status.refused) == (39, 1, 0)
    assert "internal_fabric_error" in str(status.last_error)
    couch.lost.clear()
    again = Replicator(peer, StorePeer(near), direction="pull", surroundings=time.surroundings)
    assert (await again.run_once()).pulled == 1
    assert await leaves(near) == await couch.leaves(NAME)


async def test_what_a_copy_has_not_yet_is_asked_for_again(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time
) -> None:
    await couch.stores[NAME].bulk(files("a", 20))
    couch.behind = {file_document(f"/a/{number}")["_id"] for number in range(12)}
    status = await Replicator(peer, StorePeer(near), direction="pull", surroundings=time.surroundings).run_once()
    assert (status.pulled, status.owed) == (20, 0)
    assert await leaves(near) == await couch.leaves(NAME)


async def test_what_is_gone_is_given_up_after_a_second_look(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time
) -> None:
    await couch.stores[NAME].bulk(files("a", 3))
    gone = {"error": {"error": "not_found", "reason": "missing"}}

    def purged() -> web.Response:
        return web.json_response({"results": [{"id": name, "docs": [gone]} for name in ids]})

    ids = list(await couch.leaves(NAME))
    with couch.failing(at("_bulk_get", answer=purged)):
        status = await Replicator(peer, StorePeer(near), direction="pull", surroundings=time.surroundings).run_once()
    assert (status.pulled, status.owed, status.last_error) == (0, 0, None)
    assert couch.asked.count("POST _bulk_get") == 2


async def test_a_document_of_which_nothing_is_known_is_not_forgotten(
    near: Store, couch: CouchDB, peer: HttpPeer
) -> None:
    """A machine that met a database that was set back takes over what that has; what it cannot tell is not nothing."""
    await near.bulk(files("a", 5))
    couch.lost = {file_document("/a/3")["_id"]}
    before = await leaves(near)
    with pytest.raises(Unavailable):
        await drop_unknown(near, peer, lambda _: False)
    assert await leaves(near) == before


# Writing


async def test_a_shard_that_does_not_answer_holds_up_no_others(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time
) -> None:
    """Of a batch with one such document it answers 500, with a list that names none."""
    await near.bulk([*files("a", 20), file_document("/bad"), *files("z", 600)])
    bad = file_document("/bad")["_id"]
    couch.lost = {bad}
    push = Replicator(StorePeer(near), peer, direction="push", surroundings=time.surroundings)
    status = await push.run_once()
    assert (status.owed, status.refused, status.pushed) == (1, 0, 620)
    assert status.last_error == (
        "1 document not taken yet, and offered again: the database answered 500: error: internal_server_error"
    )
    assert set(await leaves(near)) - set(await couch.leaves(NAME)) == {bad}
    couch.lost.clear()
    assert (await push.run_once()).owed == 0
    assert await leaves(near) == await couch.leaves(NAME)


async def test_what_it_cannot_compare_it_is_offered(near: Store, couch: CouchDB, peer: HttpPeer) -> None:
    await near.bulk(files("a", 50))
    await Replicator(StorePeer(near), peer, direction="push").run_once()
    await near.bulk(files("b", 50))
    with couch.failing(at("_revs_diff", answer=PASSING["a time-out"])):
        status = await Replicator(StorePeer(near), peer, direction="push").run_once()
    assert (status.pushed, status.owed, status.refused) == (50, 0, 0)
    assert await leaves(near) == await couch.leaves(NAME)
    assert couch.asked.count("POST _revs_diff") < 20


async def test_the_owed_are_offered_while_the_feed_goes_on(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time
) -> None:
    await near.bulk([*files("a", 20), *files("z", 20)])
    couch.lost = {file_document(f"/a/{number}")["_id"] for number in range(1, 10)}
    push = Replicator(StorePeer(near), peer, direction="push", surroundings=time.surroundings)
    running = asyncio.create_task(push.run())
    await eventually(lambda: push.status.owed == 9 and push.status.state == "live")
    before = len(time.slept)
    await near.put(file_document("/later"))
    await eventually(lambda: push.status.pushed == 32 and len(time.slept) > before + 4)
    assert push.status.state == "live"
    couch.lost.clear()
    await eventually(lambda: push.status.owed == 0)
    assert await leaves(near) == await couch.leaves(NAME)
    push.stop()
    await running


def unshaped(body: str, status: int = 200, kind: str = "text/html", **headers: str) -> Callable[[], web.Response]:
    return lambda: web.Response(text=body, status=status, content_type=kind, headers=headers)


def rows(error: str, reason: str) -> Callable[[], web.Response]:
    row = {"id": file_document("/second")["_id"], "rev": "1-x", "error": error, "reason": reason}
    return lambda: web.json_response([row], status=201)


PASSING: dict[str, Callable[[], web.Response]] = {
    "a page": unshaped("<html>Back in a minute</html>"),
    "a redirection": unshaped("", 302, Location="https://login.example"),
    "a portal's JSON": unshaped('{"ok":false,"error":"maintenance"}', kind="application/json"),
    "nothing": unshaped("", kind="application/json"),
    "an answer cut short": unshaped('[{"id":"a"', kind="application/json"),
    "a proxy without a backend": unshaped("404 page not found", 404, "text/plain"),
    "a firewall": unshaped("<html>Request blocked</html>", 400),
    "a bad gateway": unshaped("<html>502</html>", 502),
    "a proxy's limit": unshaped("<html>413</html>", 413),
    "too many requests": lambda: said(429, "too_many_requests", "slow down", **{"Retry-After": "1"}),
    "maintenance": lambda: said(412, "nodedown", "progress not possible"),
    "overload": lambda: said(503, "service unavailable", "Nodes are unable to service this request"),
    "a time-out": lambda: said(500, "timeout", "The request could not be processed in a reasonable amount of time."),
    "no file of the shard": lambda: said(500, "unknown_error", "function_clause"),
    "a row without a file": rows("not_found", "no_db_file"),
    "a row of an unknown kind": rows("read_only", "this node"),
    "a row without a quorum": rows("write_quorum_not_met", "1 of 2"),
    "a row for nobody": lambda: web.json_response([{"error": "error", "reason": "internal_server_error"}], status=201),
}


@pytest.mark.parametrize("told", list(PASSING))
async def test_an_answer_that_says_nothing_of_the_document_loses_none(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time, told: str
) -> None:
    push = Replicator(StorePeer(near), peer, direction="push", surroundings=time.surroundings)
    running = asyncio.create_task(push.run())
    await near.put(file_document("/first"))
    await eventually(lambda: push.status.pushed == 1)
    with couch.failing(at("_bulk_docs", answer=PASSING[told])):
        await near.put(file_document("/second"))
        await eventually(lambda: push.status.last_error is not None)
        assert push.status.pending or push.status.lag_s > 0
        assert push.status.refused == 0
    await near.put(file_document("/third"))
    await eventually(lambda: push.status.pushed == 3 and push.status.lag_s == 0)
    assert await leaves(near) == await couch.leaves(NAME)
    push.stop()
    await running


@pytest.mark.logs("was not replicated")
@pytest.mark.parametrize(
    "answer",
    [
        rows("forbidden", "a validate_doc_update of your own"),
        rows("unauthorized", "you are no editor"),
        lambda: said(413, "document_too_large", file_document("/second")["_id"]),
    ],
)
async def test_what_is_wrong_with_a_document_itself_is_refused_for_good(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time, answer: Callable[[], web.Response]
) -> None:
    await near.put(file_document("/second"))
    with couch.failing(at("_bulk_docs", answer=answer)):
        status = await Replicator(StorePeer(near), peer, direction="push", surroundings=time.surroundings).run_once()
    assert (status.refused, status.owed, status.pushed) == (1, 0, 0)


@pytest.mark.parametrize("told", [name for name in PASSING if not name.startswith("a row")])
@pytest.mark.parametrize("path", ["_changes", "_revs_diff", "_bulk_get", "_local"])
async def test_nothing_that_is_asked_is_taken_for_an_answer(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time, path: str, told: str
) -> None:
    """Also when the database is only read: what is said instead is tried again, and all of it arrives."""
    await couch.stores[NAME].bulk(files("a", 3))
    pull = Replicator(peer, StorePeer(near), direction="pull", surroundings=time.surroundings)
    with couch.failing(at(path, answer=PASSING[told], times=2)):
        running = asyncio.create_task(pull.run())
        await eventually(lambda: pull.status.pulled == 3 and pull.status.lag_s == 0)
        await near.put(file_document("/mine"))
        push = Replicator(StorePeer(near), peer, direction="push", surroundings=time.surroundings)
        pushing = asyncio.create_task(push.run())
        await eventually(lambda: push.status.pushed == 1 and push.status.lag_s == 0)
    assert await leaves(near) == await couch.leaves(NAME)
    for one in (push, pull):
        one.stop()
    await asyncio.gather(running, pushing)


async def test_a_feed_that_breaks_off_with_an_error_is_followed_again(
    near: Store, couch: CouchDB, peer: HttpPeer, time: Time
) -> None:
    broken: list[str] = []

    async def fault(asked: Any) -> web.StreamResponse | None:
        if asked.request.query.get("feed") != "continuous" or broken:
            return None
        broken.append(asked.path)
        response = web.StreamResponse()
        await response.prepare(asked.request)
        await response.write(b'{"error":"timeout","reason":"The request could not be processed"}\n')
        return response

    pull = Replicator(peer, StorePeer(near), direction="pull", surroundings=time.surroundings)
    with couch.failing(fault):
        running = asyncio.create_task(pull.run())
        await eventually(lambda: pull.status.state == "waiting" or len(time.slept) > 0)
        await couch.stores[NAME].bulk(files("a", 3))
        await eventually(lambda: pull.status.pulled == 3 and pull.status.state == "live")
    pull.stop()
    await running


async def test_a_wrong_password_is_told_and_nothing_recorded(near: Store, couch: CouchDB) -> None:
    peer = HttpPeer(PlainRequests(couch.base), f"/{NAME}")
    with pytest.raises(NotSignedIn):
        await Replicator(StorePeer(near), peer, direction="push").run_once()
    await peer.close()


# Quirks


async def test_a_position_is_kept_where_nobody_compares_revisions(near: Store, couch: CouchDB, peer: HttpPeer) -> None:
    """Two write one ``_local`` document: the later one wins, neither is told, and only more is compared."""
    await near.bulk(files("a", 5))
    for _ in range(3):
        await Replicator(StorePeer(near), peer, direction="push").run_once()
        await near.put(file_document(f"/{near.seq}"))
    (name,) = couch.locals[NAME]
    assert couch.locals[NAME][name]["_rev"].startswith("0-")
    couch.locals[NAME][name] = {**couch.locals[NAME][name], "_rev": "0-1", "history": []}
    await Replicator(StorePeer(near), peer, direction="push").run_once()
    assert await leaves(near) == await couch.leaves(NAME)


async def test_histories_that_it_has_cut_arrive_whole_enough(
    near: Store, far: Store, couch: CouchDB, peer: HttpPeer
) -> None:
    couch.revs_limit[NAME] = 5
    document = file_document("/long")
    rev = await near.put(document)
    await Replicator(StorePeer(near), peer, direction="push").run_once()
    for size in range(20):
        rev = await near.put({**document, "_rev": rev, "size": size})
    await Replicator(StorePeer(near), peer, direction="push").run_once()
    await Replicator(peer, StorePeer(far), direction="pull").run_once()
    assert await leaves(far) == await leaves(near) == {document["_id"]: {rev}}
    await Replicator(peer, StorePeer(near), direction="pull").run_once()
    assert (await near.info()).conflicts == 0


# Weight


async def test_heavy_documents_after_light_ones_travel_in_small_requests(
    near: Store, far: Store, couch: CouchDB, peer: HttpPeer
) -> None:
    """How heavy a document is shows only when it is read: each request is bounded, in either direction."""
    text = "x" * 100_000
    heavy = [annotation(f"/a/{number}", "ocr", {"text": text}) for number in range(300)]
    await near.bulk(files("a", 600))
    await near.bulk(heavy)
    sent: list[int] = []
    couch.faults.append(lambda asked: sent.append(len(asked.raw)))
    await Replicator(StorePeer(near), peer, direction="push").run_once()
    assert await leaves(near) == await couch.leaves(NAME)
    assert max(sent) < 10 << 20
    await Replicator(peer, StorePeer(far), direction="pull").run_once()
    assert await leaves(far) == await leaves(near)


async def test_a_limit_of_its_requests_is_found_and_kept_to(near: Store, couch: CouchDB, peer: HttpPeer) -> None:
    couch.max_request_size = 300_000
    text = "x" * 10_000
    await near.bulk([annotation(f"/a/{number}", "ocr", {"text": text}) for number in range(400)])
    refused: list[int] = []
    couch.faults.append(lambda asked: refused.append(1) if len(asked.raw) > couch.max_request_size else None)
    status = await Replicator(StorePeer(near), peer, direction="push").run_once()
    assert (status.pushed, status.refused, status.owed) == (400, 0, 0)
    assert len(refused) < 30
