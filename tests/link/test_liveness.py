"""Who is there: counted in checks, and written only when it changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.server.link.liveness import CHECK_S, Liveness

NODE = "node-laptop-aaaa"
OTHER = "node-desktop-bbbb"
PLANE = "control-plane-nas-cccc"
SECOND = "control-plane-attic-dddd"


class World:
    """What a liveness sees: connections, and time that passes when it is told to."""

    def __init__(self, store: Any, plane: str = PLANE, *, leads: bool = True) -> None:
        self.connected: set[str] = set()
        self.now = 1_000_000.0
        self.slept: list[float] = []
        self.go = asyncio.Semaphore(0)
        self.checked = asyncio.Semaphore(0)
        self.alone, self.leads = False, leads
        self.silent: set[str] = set()
        self.liveness = Liveness(
            store,
            self.connected.__contains__,
            "node-here",
            plane=plane,
            alone=lambda: self.alone,
            leads=lambda: self.leads,
            silent=lambda plane: plane in self.silent,
            pause=self._pause,
            clock=lambda: self.now,
        )

    async def _pause(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.checked.release()
        await self.go.acquire()
        self.now += seconds


async def test_three_missed_checks_make_a_node_offline_and_a_sign_makes_it_online(control_plane: Any) -> None:
    world, store = World(control_plane.store), control_plane.store
    await world.liveness.heard(NODE)
    assert await control_plane.status_of(NODE) == "online"
    running = asyncio.create_task(world.liveness.run())
    found = []
    for _ in range(5):
        await world.checked.acquire()
        found.append(await control_plane.status_of(NODE))
        world.go.release()
    await world.checked.acquire()
    # The first check is the one at which it had been heard of.
    assert found == ["online", "online", "online", "online", "offline"]
    assert world.slept[0] == CHECK_S
    assert world.liveness.last_heard(NODE) == 1_000_000.0
    before = store.reader.seq()
    await world.liveness.check()
    assert store.reader.seq() == before
    await world.liveness.heard(NODE)
    assert await control_plane.status_of(NODE) == "online"
    assert world.liveness.last_heard(NODE) == world.now
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_link_is_a_sign_of_life_and_nothing_is_written_while_nothing_changes(control_plane: Any) -> None:
    world, store = World(control_plane.store), control_plane.store
    world.connected.add(NODE)
    await world.liveness.check()
    assert await control_plane.status_of(NODE) == "online"
    before = store.reader.seq()
    for _ in range(10):
        await world.liveness.heard(NODE)
        await world.liveness.check()
    assert store.reader.seq() == before
    document = await store.get(ids.node_document_id(NODE))
    assert document["control_version"] == 1
    world.connected.clear()
    for _ in range(4):
        await world.liveness.check()
    assert (await store.get(ids.node_document_id(NODE)))["control_version"] == 2


async def test_a_node_heard_of_now_and_then_is_never_offline(control_plane: Any) -> None:
    world = World(control_plane.store)
    await world.liveness.heard(NODE)
    for number in range(12):
        if number % 3 == 0:
            await world.liveness.heard(NODE)
        await world.liveness.check()
        assert await control_plane.status_of(NODE) == "online"


async def test_some_are_not_judged(control_plane: Any) -> None:
    world = World(control_plane.store)
    await control_plane.add_node("node-here", status="online")
    await control_plane.add_node("node-thief", status="disabled")
    await control_plane.add_node("control-plane-nas-cccc", status="online", role="control-plane")
    await control_plane.add_node("node-ill", status="degraded")
    await control_plane.add_node("node-stolen", status="online", access_key_id="MOSAICFS_0123456789abcdef")
    world.connected.add("node-stolen")  # not cut off yet
    for _ in range(4):
        await world.liveness.check()
    await world.liveness.heard("node-thief")
    await world.liveness.heard("node-stolen")
    await world.liveness.heard("node-nobody-knows")
    found = {
        node["node_id"]: node["status"]
        for node in await control_plane.store.read(lambda reader: reader.documents_of("node"))
    }
    assert found == {
        NODE: "offline",
        OTHER: "offline",
        "node-here": "online",
        "node-thief": "disabled",
        "control-plane-nas-cccc": "online",
        "node-ill": "offline",
        "node-stolen": "offline",
    }


class TestTwoControlPlanesOfOneHub:
    """They share the documents; each hears of its own nodes alone."""

    @pytest.fixture
    async def first(self, control_plane: Any) -> World:
        for plane in (PLANE, SECOND):
            await control_plane.add_node(plane, status="online", role="control-plane")
        return World(control_plane.store)

    @pytest.fixture
    def second(self, control_plane: Any, first: World) -> World:
        world = World(control_plane.store, SECOND, leads=False)
        world.liveness._here = "node-there"
        return world

    @pytest.mark.parametrize("leader", [1, 2])
    async def test_neither_judges_what_the_other_hears_of(
        self, control_plane: Any, first: World, second: World, leader: int
    ) -> None:
        first.leads, second.leads = leader == 1, leader == 2
        second.connected.add(NODE)
        await control_plane.add_node("node-there", status="online")
        await second.liveness.check()
        before = control_plane.store.reader.seq()
        for _ in range(10):
            await first.liveness.check()
            await second.liveness.check()
        for node in (NODE, "node-there"):
            assert await control_plane.status_of(node) == "online"
        assert control_plane.store.reader.seq() == before
        second.connected.clear()
        for _ in range(4):
            await first.liveness.check()
            await second.liveness.check()
        assert await control_plane.status_of(NODE) == "offline"

    async def test_a_node_that_moves_over_is_judged_where_it_is_heard_of(
        self, control_plane: Any, first: World, second: World
    ) -> None:
        await first.liveness.heard(NODE)
        await second.liveness.heard(NODE)
        for _ in range(5):
            await first.liveness.check()
        assert await control_plane.status_of(NODE) == "online"
        for _ in range(5):
            await second.liveness.check()
        assert await control_plane.status_of(NODE) == "offline"

    @pytest.mark.parametrize("leads", [True, False])
    @pytest.mark.parametrize("heard_by", [None, SECOND, "control-plane-gone-eeee"])
    async def test_who_holds_the_lease_judges_for_one_that_is_no_more(
        self, control_plane: Any, first: World, leads: bool, heard_by: str | None
    ) -> None:
        first.leads = leads
        identifier = ids.node_document_id(SECOND)
        await control_plane.store.update(identifier, lambda now: {**(now or {}), "status": "disabled"})
        noted = {} if heard_by is None else {"heard_by": heard_by}
        await control_plane.add_node("node-left", status="online", **noted)
        for _ in range(4):
            await first.liveness.check()
        assert await control_plane.status_of("node-left") == ("offline" if leads else "online")

    @pytest.mark.parametrize("leads", [True, False])
    async def test_who_holds_the_lease_judges_for_one_that_fell_silent(
        self, control_plane: Any, first: World, second: World, leads: bool
    ) -> None:
        first.leads, second.leads = leads, not leads
        second.connected.add(NODE)
        first.connected.add(OTHER)
        await control_plane.add_node("node-there", status="online")
        for world in (first, second):
            await world.liveness.check()
        first.silent.add(SECOND)
        for _ in range(4):
            await first.liveness.check()
        away = "offline" if leads else "online"
        assert await control_plane.status_of(NODE) == away
        assert await control_plane.status_of(SECOND) == away
        assert await control_plane.status_of("node-there") == away
        assert await control_plane.status_of(OTHER) == "online"
        assert await control_plane.status_of(PLANE) == "online"
        before = control_plane.store.reader.seq()
        for _ in range(4):
            await first.liveness.check()
        assert control_plane.store.reader.seq() == before

        # It was only the hub that it did not reach: it says of itself and of its nodes that they are there.
        await second.liveness.check()
        first.silent.clear()
        for _ in range(4):
            await first.liveness.check()
            await second.liveness.check()
        for node in (NODE, OTHER, PLANE, SECOND, "node-there"):
            assert await control_plane.status_of(node) == "online"

    async def test_a_silent_one_that_was_disabled_stays_so(self, control_plane: Any, first: World) -> None:
        for plane in (PLANE, SECOND):
            await control_plane.store.update(
                ids.node_document_id(plane), lambda now: {**(now or {}), "status": "disabled"}
            )
        first.silent.add(SECOND)
        for _ in range(4):
            await first.liveness.check()
        assert [await control_plane.status_of(plane) for plane in (PLANE, SECOND)] == ["disabled", "disabled"]

    async def test_the_only_one_left_judges_what_another_heard_of(self, control_plane: Any, first: World) -> None:
        """A control plane that was made anew from a backup, or whose hub was given up."""
        first.alone = True
        await control_plane.add_node("node-left", status="online", heard_by=SECOND)
        for _ in range(4):
            await first.liveness.check()
        assert await control_plane.status_of("node-left") == "offline"

    async def test_the_only_one_writes_down_nothing_that_nobody_needs(self, control_plane: Any, first: World) -> None:
        first.alone = True
        for node in ("node-here", "node-left"):
            await control_plane.add_node(node, status="online")
        first.connected.add("node-left")
        before = control_plane.store.reader.seq()
        await first.liveness.check()
        assert control_plane.store.reader.seq() == before
