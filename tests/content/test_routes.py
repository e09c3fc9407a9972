"""Protects reads from addresses that are dead: who reads waits for none of them twice, and what works is used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from tests.content.bed import MIB, Bed, content

from mosaicfs_core.content import owners, routes
from mosaicfs_core.content.routes import Route, Troubles
from mosaicfs_core.errors import NotFound, Unavailable
from mosaicfs_core.security.requests import PlainRequests

Silent = Callable[[], Awaitable[str]]


@pytest.fixture
async def silent() -> AsyncIterator[Silent]:
    """Makes an address that takes connections and says nothing."""
    over = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with AsyncExitStack() as servers:

        async def make() -> str:
            server = await servers.enter_async_context(await asyncio.start_server(hold, "127.0.0.1", 0))
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield make
        over.set()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "SILENCE_S", 0.1)


async def bed_of(make_bed: Any, patience_s: float) -> Bed:
    bed: Bed = await make_bed()
    bed.patience_s = patience_s
    await bed.restart()
    return bed


def relayed(bed: Bed) -> Route:
    return replace(bed.routes[0], relay=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a probe tells nobody
            await asyncio.sleep(0.01)


async def test_a_refused_address_costs_nothing(bed: Bed) -> None:
    data = content(MIB)
    other = Bed(bed.place)
    await other.owner.start()
    dead = bed.route(other.owner.url)
    await other.owner.stop()
    bed.routes = [dead, *bed.routes]
    assert await bed.read(bed.put("a", data)) == data
    assert [route.name for route in bed.cache.owners._troubles.ordered(bed.routes)] == [bed.owner.url, dead.name]


async def test_silent_addresses_are_waited_for_once_and_briefly(
    make_bed: Any, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A film through the relay, with two dead addresses before it: no read but the first waits, not even when the dead
    ones are tried again."""
    monkeypatch.setattr(routes, "AVOIDED_S", (0.2, 0.4))
    bed = await bed_of(make_bed, 5.0)
    bed.routes = [bed.route(await silent()), bed.route(await silent()), relayed(bed)]
    film = bed.put("film", content(100 * MIB))
    waits = []
    with await bed.open(film) as source:
        for number in range(14):
            begun = time.monotonic()
            assert len(await source.read(7 * number * MIB, 65_536)) == 65_536
            waits.append(time.monotonic() - begun)
            await asyncio.sleep(0.1)
    assert waits[0] < 2.0
    assert max(waits[1:]) < 0.5, waits
    assert len(bed.cache.owners._probes) == 2, "they are tried again, and nobody waits for that"


async def test_a_direct_way_that_is_there_again_is_used_again(
    make_bed: Any, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "AVOIDED_S", (0.05, 0.1))
    bed = await bed_of(make_bed, 0.5)
    direct, well = bed.route(await silent()), bed.routes[0].requests
    bed.routes = [direct, relayed(bed)]
    files = [bed.put(f"f{number}", content(1000, number)) for number in range(9)]
    await bed.read(files[0])
    assert direct in bed.cache.owners._troubles
    bed.routes[0] = replace(direct, requests=well)
    for file in files[1:]:
        await asyncio.sleep(0.1)
        await bed.read(file)
    await until(lambda: direct not in bed.cache.owners._troubles)


async def test_an_owner_that_hangs_fails_soon_and_sooner_the_next_time(
    make_bed: Any, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ways at once, not one after the other."""
    monkeypatch.setattr(owners, "DOUBTFUL_S", 0.2)
    bed = await bed_of(make_bed, 1.0)
    bed.routes = [bed.route(await silent()) for _ in range(4)]
    waits = []
    for name in "ab":
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="does not answer"):
            await bed.read(bed.put(name, b"x"))
        waits.append(time.monotonic() - begun)
    assert waits[0] < 2.5
    assert waits[1] < 0.8


@pytest.mark.logs("^a transfer failed|^Error handling request")
async def test_bytes_of_one_route_alone_are_taken_and_another_takes_over(make_bed: Any) -> None:
    """Two owners answer late and at once; what the first to answer then fails at, the other one brings."""
    bed = await bed_of(make_bed, 5.0)
    data = content(3 * MIB)
    file = bed.put("a", data)
    other = Bed(bed.place)
    other.owner.files, other.owner.versions = bed.owner.files, bed.owner.versions
    await other.owner.start()

    async def late(_: Any, body: bytes) -> bytes:
        await asyncio.sleep(0.3)
        return body

    bed.owner.disturb = other.owner.disturb = late
    bed.owner.cut = MIB
    bed.routes = [*bed.routes, bed.route(other.owner.url)]
    assert await bed.read(file) == data
    await other.owner.stop()


async def test_what_no_route_can_mend_ends_the_race(make_bed: Any, silent: Silent) -> None:
    bed = await bed_of(make_bed, 60.0)
    file = bed.put("a", b"x")
    del bed.owner.files[file.file_id]
    async with asyncio.timeout(30):
        with pytest.raises(NotFound):
            await bed.read(file)
    assert bed.cache.owners._troubles.ordered(bed.routes) == bed.routes


def test_failures_are_avoided_for_longer_each_time_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    troubles = Troubles(lambda: now)
    route = Route("a", PlainRequests("http://a"))
    for wait in (5, 10, 20, 40, 80, 160, 300, 300):
        troubles.failed(route)
        now += wait - 1
        assert troubles.due([route]) == []
        now += 1
        assert troubles.due([route]) == [route]
    troubles.works(route)
    assert (troubles.due([route]), route in troubles) == ([], False)
    monkeypatch.setattr(routes, "REMEMBERED", 3)
    for name in "bcdef":
        troubles.failed(replace(route, name=name))
    assert len(troubles) == 3
