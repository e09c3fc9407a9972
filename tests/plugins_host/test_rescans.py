"""Protects the telling of what a look at the installed plugins found: everybody hears of it, whoever waits no longer
and whatever goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection

import pytest

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.plugins.rescans import Rescans


class Ear:
    """A listener; ``full`` lets it fail as on a full disk."""

    def __init__(self) -> None:
        self.heard, self.full = 0, False

    async def tell(self) -> None:
        if self.full:
            raise Unavailable("the disk is full")
        self.heard += 1


def found(*names: str) -> Callable[[], frozenset[str]]:
    return lambda: frozenset(names)


async def look(rescans: Rescans, names: Collection[str] = ()) -> frozenset[str]:
    return await rescans.look(found(*names))


async def test_nobody_is_told_of_nothing() -> None:
    rescans, ear = Rescans(), Ear()
    rescans.listeners.append(ear.tell)
    assert [await look(rescans), await look(rescans, ["new"]), await look(rescans)] == [set(), {"new"}, set()]
    assert ear.heard == 1


async def test_a_look_that_nobody_waits_for_any_more_is_told_of_all_the_same() -> None:
    rescans, begun, go_on, heard = Rescans(), threading.Event(), threading.Event(), asyncio.Event()

    async def tell() -> None:
        heard.set()

    def find() -> frozenset[str]:
        begun.set()
        go_on.wait()
        return frozenset({"new"})

    rescans.listeners.append(tell)
    asked = asyncio.create_task(rescans.look(find))
    await asyncio.to_thread(begun.wait)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    go_on.set()
    async with asyncio.timeout(30):
        await heard.wait()


@pytest.mark.logs("the disk is full")
async def test_who_could_not_take_it_is_told_again_and_keeps_nobody_from_hearing() -> None:
    rescans, first, second = Rescans(), Ear(), Ear()
    rescans.listeners += [first.tell, second.tell]
    first.full = True
    assert await look(rescans, ["new"]) == {"new"}
    assert (first.heard, second.heard) == (0, 1)
    assert await look(rescans, ["newer"]) == {"new", "newer"}
    first.full = False
    assert await look(rescans) == {"new", "newer"}
    assert first.heard == 1
    assert await look(rescans) == frozenset()


class Held:
    """A listener that does something as soon as it is let go on."""

    def __init__(self) -> None:
        self.reached, self.go_on, self.done = asyncio.Event(), asyncio.Event(), False

    async def tell(self) -> None:
        self.reached.set()
        await self.go_on.wait()
        self.done = True


async def test_who_leaves_does_nothing_more_and_keeps_nobody_from_hearing() -> None:
    rescans, leaves, stays, left_before = Rescans(), Held(), Ear(), Ear()
    rescans.listeners += [leaves.tell, left_before.tell, stays.tell]
    looking = asyncio.create_task(look(rescans, ["new"]))
    async with asyncio.timeout(30):
        await leaves.reached.wait()
        await rescans.leave(left_before.tell)
        await rescans.leave(leaves.tell)
        leaves.go_on.set()
        assert await looking == {"new"}
    assert (leaves.done, left_before.heard, stays.heard) == (False, 0, 1)
    assert await look(rescans) == frozenset()


async def test_looks_come_one_after_the_other() -> None:
    rescans, inside, most = Rescans(), 0, 0

    def find() -> frozenset[str]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        inside -= 1
        return frozenset()

    await asyncio.gather(*(rescans.look(find) for _ in range(20)))
    assert most == 1
