"""Protects reading past the cache, where nothing is kept: who wants the same block waits for one request, and a block
that somebody waits for is never let go of. Every request is held until the test lets it go, so that all the readers
there are wait at once, however fast the machine is."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

import pytest

from mosaicfs_core.content.cache import source as module
from mosaicfs_core.content.cache.source import StreamedSource
from mosaicfs_core.content.owners import BLOCK, Facts
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.hooks import FileRecord

BLOCKS = 200
FACTS = Facts(BLOCKS * BLOCK, 1_000_000, '"v1"')
FILM = FileRecord(
    file_id="node-a.film",
    node_id="node-a",
    export_path="/film",
    name="film",
    size=FACTS.size,
    mtime=FACTS.mtime,
    inode=1001,
)


class Held:
    """Owners whose answers wait for ``gates``; ``asked`` counts the requests for each block, ``given_up`` are those
    that were ended before they had one."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.gates: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.failing: set[int] = set()
        self.given_up: set[int] = set()

    async def range(self, file: Any, start: int, stop: int, etag: str, arrived: Any) -> tuple[Facts, bytearray]:
        number = start // BLOCK
        assert (start % BLOCK, stop - start, etag) == (0, BLOCK, FACTS.etag)
        self.asked[number] += 1
        try:
            await self.gates[number].wait()
        except asyncio.CancelledError:
            self.given_up.add(number)
            raise
        if number in self.failing:
            raise Unavailable("the owner is away")
        arrived(stop - start)
        return FACTS, bytearray(_block(number))

    def answer(self, *numbers: int) -> None:
        """Let what asks for these blocks, now or later, have them."""
        for number in numbers:
            self.gates[number].set()


def _block(number: int) -> bytes:
    return number.to_bytes(4, "big") * (BLOCK // 4)


@pytest.fixture
def owners() -> Held:
    return Held()


@pytest.fixture
def film(owners: Held) -> Any:
    source = StreamedSource(owners, FILM, FACTS)  # type: ignore[arg-type]  # all that it asks of them
    yield source
    source.close()


def reader(film: StreamedSource, number: int, count: int = 1) -> asyncio.Task[bytes]:
    """Somebody who reads whole blocks."""
    return asyncio.create_task(film.read(number * BLOCK, count * BLOCK))


async def turns() -> None:
    """Until everybody waits for an answer: nothing here waits for more than some turns of the loop."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_forty_readers_of_one_range_share_one_request_for_each_block(film: StreamedSource, owners: Held) -> None:
    readers = [reader(film, 20, 3) for _ in range(40)]
    await turns()
    assert {owners.asked[number] for number in (20, 21, 22)} == {1}
    for one in readers[::2]:
        one.cancel()
    await turns()
    owners.answer(*range(BLOCKS))
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(one) for one in found[::2]] == [asyncio.CancelledError] * 20
    assert set(found[1::2]) == {_block(20) + _block(21) + _block(22)}
    assert set(owners.asked.values()) == {1}
    assert set(owners.asked) <= set(range(20, 23 + module.RUN))


async def test_no_block_that_somebody_waits_for_is_let_go_of(film: StreamedSource, owners: Held) -> None:
    """At more places than are held for nobody; those who leave and those who have read make room."""
    places = range(0, 120, 3)
    readers = {place: reader(film, place) for place in places}
    await turns()
    left = places[::7]
    for place in left:
        readers[place].cancel()
        await turns()
    owners.answer(*places[1::2])
    await turns()
    owners.answer(*range(BLOCKS))
    for place in places:
        if place not in left:
            assert await readers[place] == _block(place)
            assert owners.asked[place] == 1
    await turns()
    assert len(film._held) <= module._HELD


async def test_a_block_is_waited_for_until_the_last_reader_has_left(film: StreamedSource, owners: Held) -> None:
    patient, leaving = reader(film, 0), reader(film, 0)
    await turns()
    owners.answer(*range(30, 60))
    for number in range(30, 50, 2):
        await reader(film, number)
    leaving.cancel()
    await turns()
    for number in range(51, 60, 2):  # each makes room for itself
        await reader(film, number)
    assert not patient.done()
    owners.answer(0)
    assert await patient == _block(0)
    assert owners.asked[0] == 1


async def test_what_nobody_waits_for_any_more_makes_room(film: StreamedSource, owners: Held) -> None:
    alone = reader(film, 0)
    await turns()
    alone.cancel()
    await turns()
    assert owners.given_up == set()  # somebody may come back to it
    owners.answer(*range(30, 90))
    for number in range(30, 90, 3):
        await reader(film, number)
    assert 0 in owners.given_up
    owners.answer(0)
    assert await film.read(0, BLOCK) == _block(0)
    assert owners.asked[0] == 2


async def test_a_failure_is_told_to_all_who_wait_and_not_kept(film: StreamedSource, owners: Held) -> None:
    owners.failing = {5}
    readers = [reader(film, 5) for _ in range(10)]
    await turns()
    owners.answer(*range(BLOCKS))
    for one in await asyncio.gather(*readers, return_exceptions=True):
        assert isinstance(one, Unavailable)
    assert owners.asked[5] == 1
    owners.failing = set()
    assert await film.read(5 * BLOCK, 10) == _block(5)[:10]
    assert owners.asked[5] == 2
