"""Protects control planes that share an Apache CouchDB 3.4 that fails as it does: a shard away, nodes in maintenance,
time-outs, and a proxy that answers in its place. They converge, say what is wrong, and the lease is one's alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from couchdb_server import ADMIN, Asked, CouchDB, at, running, said

from mosaicfs_core.hooks import HubAddress
from mosaicfs_core.replication import Surroundings
from mosaicfs_core.server.hub import HubLink, Timing
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import file_document
from mosaicfs_plugins.couchdb.hub import CouchHub

NAME = "mosaicfs"
FAST = Timing(lasts_s=1.0, renew_s=0.05)
SOON = Surroundings(random=lambda: 0.0, sleep=lambda seconds: asyncio.sleep(min(seconds, 0.05)))
logger = logging.getLogger("mosaicfs.plugins.couchdb")


@pytest.fixture
async def couch(tmp_path: Path) -> AsyncIterator[CouchDB]:
    async with running(tmp_path) as server:
        yield server


@asynccontextmanager
async def side(couch: CouchDB, path: Path) -> AsyncIterator[tuple[Store, HubLink]]:
    """A control plane that runs."""
    path.mkdir()
    url = f"{couch.base}/{NAME}"
    async with await Store.open(path / "replica.db") as store:
        hub = CouchHub(HubAddress(url, *ADMIN), logger)
        link = HubLink(store, hub, url, path.name, plugin="couchdb", timing=FAST, surroundings=SOON)
        task = asyncio.create_task(link.run())
        try:
            yield store, link
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def sides(couch: CouchDB, tmp_path: Path) -> AsyncIterator[list[tuple[Store, HubLink]]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(side(couch, tmp_path / f"control-plane-{name}")) for name in "ab"]


Sides = list[tuple[Store, HubLink]]


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event for what any condition looks at
            await asyncio.sleep(0.01)


async def leaves(store: Store) -> dict[str, set[str]]:
    return {one.id: set(one.revs) for one in await store.read(lambda reader: reader.changes(0, 1_000_000))}


async def level(couch: CouchDB, sides: Sides, count: int) -> None:
    """Until both sides and the hub have so many documents, the same ones."""
    async with asyncio.timeout(30):
        while True:
            found = [await leaves(store) for store, _ in sides]
            if len(found[0]) == count and found[0] == found[1] == await couch.leaves(NAME):
                return
            await asyncio.sleep(0.01)


async def test_two_share_it(couch: CouchDB, sides: Sides) -> None:
    (a, _), (b, _) = sides
    await a.bulk([file_document(f"/a/{number}") for number in range(50)])
    await b.bulk([file_document(f"/b/{number}") for number in range(50)])
    await level(couch, sides, 100)
    await eventually(lambda: [link.facts()["status"] for _, link in sides] == ["healthy", "healthy"])
    await eventually(lambda: sum(link.lease.held() for _, link in sides) == 1)
    assert couch.security[NAME]["members"]["names"] == [ADMIN[0]]


async def test_a_shard_that_is_away_holds_up_its_documents_alone(couch: CouchDB, sides: Sides) -> None:
    (a, of_a), _ = sides
    lost = file_document("/a/7")["_id"]
    couch.lost = {lost}
    await a.bulk([file_document(f"/a/{number}") for number in range(20)])
    await eventually(lambda: (of_a.facts()["owed"], of_a.facts()["state"]) == (1, "live"))
    facts = of_a.facts()
    assert (facts["status"], facts["refused"]) == ("degraded", 0)
    assert "1 document not taken yet" in facts["detail"]
    await a.put(file_document("/later"))
    later = file_document("/later")["_id"]
    await eventually(lambda: sides[1][0].reader.row(later) is not None)
    couch.lost.clear()
    await level(couch, sides, 21)
    await eventually(lambda: of_a.facts()["status"] == "healthy")


DOWN: dict[str, Callable[[], web.Response]] = {
    "maintenance": lambda: said(412, "nodedown", "progress not possible"),
    "overload": lambda: said(503, "service unavailable", "Nodes are unable to service this request"),
    "too many requests": lambda: said(429, "too_many_requests", "slow down", **{"Retry-After": "1"}),
    "a time-out": lambda: said(500, "timeout", "The request could not be processed in a reasonable amount of time."),
    "a page": lambda: web.Response(text="<html>Back in a minute</html>", content_type="text/html"),
    "a redirection": lambda: web.Response(status=302, headers={"Location": "https://login.example"}),
}


@pytest.mark.parametrize("told", list(DOWN))
async def test_whatever_is_said_in_its_place_loses_nothing(couch: CouchDB, sides: Sides, told: str) -> None:
    """To every request, of replication, of the lease and of preparing the database."""
    (a, of_a), (b, of_b) = sides
    await a.put(file_document("/before"))
    await level(couch, sides, 1)

    def fault(asked: Asked) -> web.StreamResponse | None:
        return DOWN[told]()

    with couch.failing(fault):
        await a.bulk([file_document(f"/a/{number}") for number in range(5)])
        await b.bulk([file_document(f"/b/{number}") for number in range(5)])
        await eventually(lambda: [link.facts()["status"] for link in (of_a, of_b)] == ["degraded", "degraded"])
        await eventually(lambda: not (of_a.lease.held() or of_b.lease.held()))
    await level(couch, sides, 11)
    await eventually(lambda: [link.facts()["status"] for link in (of_a, of_b)] == ["healthy", "healthy"])
    assert [link.facts()["refused"] for link in (of_a, of_b)] == [0, 0]


async def test_a_cluster_without_a_majority_takes_documents_and_gives_nobody_the_lease(
    couch: CouchDB, sides: Sides
) -> None:
    (a, of_a), _ = sides
    await level(couch, sides, 0)

    def accepted(asked: Asked) -> web.StreamResponse | None:
        if asked.name != f"{NAME}-notes" or asked.method != "PUT" or not asked.path:
            return None
        return web.json_response({"ok": True, "id": asked.path, "rev": "9-f"}, status=202)

    with couch.failing(accepted):
        await eventually(lambda: not any(link.lease.held() for _, link in sides))
        await a.put(file_document("/a"))
        await level(couch, sides, 1)
        await eventually(lambda: "too few nodes" in of_a.facts()["detail"])
    await eventually(lambda: sum(link.lease.held() for _, link in sides) == 1)


async def test_positions_that_cannot_be_kept_cost_work_and_no_documents(couch: CouchDB, sides: Sides) -> None:
    (a, _), _ = sides
    with couch.failing(at("_local", answer=DOWN["a time-out"], times=6)):
        await a.bulk([file_document(f"/a/{number}") for number in range(5)])
        await level(couch, sides, 5)
