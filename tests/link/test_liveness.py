"""Who is there: counted in checks, and written only when it changes."""

from __future__ import annotations

import asyncio
from typing import Any

from mosaicfs_core.documents import ids
from mosaicfs_core.server.link.liveness import CHECK_S, Liveness

NODE = "node-laptop-aaaa"
OTHER = "node-desktop-bbbb"
CONTROL, SECOND = "control-plane-one-aaaa", "control-plane-two-bbbb"


class World:
    """What a liveness sees: connections, and time that passes when it is told to."""

    def __init__(self, store: Any, own: str = CONTROL) -> None:
        self.connected: set[str] = set()
        self.now = 1_000_000.0
        self.slept: list[float] = []
        self.go = asyncio.Semaphore(0)
        self.checked = asyncio.Semaphore(0)
        self.liveness = Liveness(
            store, self.connected.__contains__, own, "node-here", pause=self._pause, clock=lambda: self.now
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


async def test_the_control_plane_that_hears_of_a_node_judges_it(control_plane: Any) -> None:
    """Two of them share the documents; the laptop is connected to the first, and later to the second."""
    store = control_plane.store
    for name in (CONTROL, SECOND):
        await control_plane.add_node(name, role="control-plane")
    first, second = World(store), World(store, SECOND)
    await first.liveness.heard(NODE)
    first.connected.add(NODE)
    before = store.reader.seq()
    for _ in range(5):
        await first.liveness.check()
        await second.liveness.check()
    assert await control_plane.status_of(NODE) == "online"
    assert store.reader.seq() == before
    # It goes over to the second, whose word holds from now on.
    first.connected.clear()
    await second.liveness.heard(NODE)
    for _ in range(5):
        await first.liveness.check()
    assert await control_plane.status_of(NODE) == "online"
    for _ in range(4):
        await second.liveness.check()
    assert await control_plane.status_of(NODE) == "offline"


async def test_a_node_of_a_control_plane_that_was_disabled_is_judged_by_the_others(control_plane: Any) -> None:
    first, second = World(control_plane.store), World(control_plane.store, SECOND)
    await control_plane.add_node(CONTROL, role="control-plane")
    await first.liveness.heard(NODE)
    for _ in range(4):
        await second.liveness.check()
    assert await control_plane.status_of(NODE) == "online"
    await control_plane.store.update(
        ids.node_document_id(CONTROL), lambda document: {**(document or {}), "status": "disabled"}
    )
    for _ in range(4):
        await second.liveness.check()
    assert await control_plane.status_of(NODE) == "offline"


async def test_the_machine_that_a_control_plane_runs_on_is_its_own(control_plane: Any) -> None:
    await control_plane.add_node("node-here", status="online")
    await control_plane.add_node(CONTROL, role="control-plane")
    await World(control_plane.store).liveness.check()
    second = World(control_plane.store, SECOND)
    second.liveness = Liveness(control_plane.store, second.connected.__contains__, SECOND)
    for _ in range(4):
        await second.liveness.check()
    assert await control_plane.status_of("node-here") == "online"
