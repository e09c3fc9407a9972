"""Protects a machine that is cut off for long: it asks seldom, says how it stands, and catches up with what is new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mosaicfs_core.replication import ConflictResolver, Replicator, StorePeer
from mosaicfs_core.store import Store
from mosaicfs_core.testing.peers import Down, Time
from mosaicfs_core.testing.store import assignment, file_document, rule

HOUR_S = 3600.0


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event for what any condition looks at
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(*replicators: Replicator) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.run()) for one in replicators]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def state(store: Store) -> dict[str, Any]:
    """Every document with all its leaves."""
    changes = await store.read(lambda reader: reader.changes(0, 10_000))
    return {change.id: await store.open_revs(change.id) for change in changes}


async def test_an_hour_apart(near: Store, far: Store, time: Time) -> None:
    """Both sides go on, and one document is changed on both; then all of it meets, and nothing else is looked at."""
    await near.bulk([file_document(f"/{number}", size=1) for number in range(200)])
    await near.put(assignment("/1", "blue"))
    plane = Down(StorePeer(far), near=False)
    passing = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await passing.wait()
        await time.sleep(seconds)

    surroundings: dict[str, Any] = {"surroundings": replace(time.surroundings, sleep=sleep), "heartbeat": 0.02}
    push = Replicator(StorePeer(near), plane, direction="push", **surroundings)
    pull = Replicator(plane, StorePeer(near), direction="pull", **surroundings)
    async with running(push, pull):
        await eventually(lambda: push.status.lag_s == 0 and push.status.state == pull.status.state == "live")
        assert await state(far) == await state(near)
        before = (push.status.pushed, pull.status.pulled)

        plane.up, cut_at, told = False, time.now, []
        slept = len(time.slept)

        def later() -> None:
            told.append((push.status, pull.status))
            plane.up = time.now - cut_at >= HOUR_S

        time.on_sleep = later
        asked = len(plane.asked)
        await near.update(file_document("/1")["_id"], lambda _: file_document("/1", size=2))
        await near.update(file_document("/1")["_id"], lambda _: file_document("/1", size=3))
        await near.update(file_document("/2")["_id"], lambda found: {**(found or {}), "_deleted": True})
        await near.put(file_document("/new"))
        await near.update(assignment("/1")["_id"], lambda _: assignment("/1", "blue", "near"))
        await far.update(assignment("/1")["_id"], lambda _: assignment("/1", "blue", "far"))
        await far.put(rule("/", "everything"))
        await eventually(lambda: push.status.state == pull.status.state == "waiting")
        passing.set()
        await eventually(lambda: plane.up)

        # Seldom, and always with the truth at hand. Two wait here, each of whose pauses moves the one clock.
        pauses = time.slept[slept:]
        assert max(pauses) == 60.0
        assert len(pauses) < HOUR_S / 60 + 20
        assert {one.state for one in told[-1]} == {"waiting"}
        assert {one.last_error for one in told[-1]} == {"Nobody is there."}
        assert told[-1][0].pending == 5
        assert max(one.lag_s for one in told[-1]) > HOUR_S - 120

        async with asyncio.timeout(20):
            while await state(near) != await state(far) or push.status.lag_s or pull.status.lag_s:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        assert (push.status.last_error, pull.status.last_error) == (None, None)
        for store in (near, far):
            await ConflictResolver(store, lambda _: True).settle_all()
        async with asyncio.timeout(20):
            while await state(near) != await state(far):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        merged = await near.get(assignment("/1")["_id"]) or {}
        assert merged["labels"] == ["blue", "far", "near"]
        assert (await near.get(file_document("/1")["_id"]) or {})["size"] == 3
        assert await near.get(file_document("/2")["_id"]) is None
        assert await near.find({"type": "label_rule"})
        assert (await near.info()).conflicts == (await far.info()).conflicts == 0
        # What had met before was neither compared nor sent again.
        assert push.status.pushed - before[0] <= 7
        assert pull.status.pulled - before[1] <= 7
        assert plane.asked[asked:].count("revs_diff") <= 12
