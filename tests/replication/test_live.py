"""Protects replication that goes on: changes follow at once, whoever goes away is waited for, and its status says how
it stands."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from tests.replication.replication_bed import eventually

from mosaicfs_core.replication import Replicator, Status, StorePeer, Surroundings
from mosaicfs_core.store import Store
from mosaicfs_core.testing.peers import Down, PeerAround, Time
from mosaicfs_core.testing.store import NODE, file_document


async def test_live_changes_follow_at_once(near: Store, far: Store) -> None:
    await near.bulk([file_document(f"/{number}") for number in range(5)])
    replicator = Replicator(StorePeer(near), StorePeer(far), direction="pull")
    assert replicator.status.state == "idle"
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    assert (replicator.status.pulled, replicator.status.pending, replicator.status.lag_s) == (5, 0, 0.0)
    await near.put(file_document("/later"))
    await eventually(lambda: far.reader.file_by_path(NODE, "/later") is not None)
    await eventually(lambda: replicator.status == Status("live", pulled=6))
    replicator.stop()
    await running
    assert replicator.status.state == "stopped"
    target = PeerAround(StorePeer(far))
    await Replicator(StorePeer(near), target, direction="pull").run_once()
    assert "revs_diff" not in target.asked  # stopping recorded how far it was
    assert far.reader.seq() == 6


async def test_positions_are_recorded_when_the_source_is_silent(near: Store, far: Store) -> None:
    source, target = PeerAround(StorePeer(near)), StorePeer(far)
    replicator = Replicator(source, target, direction="push", heartbeat=0.02)
    running = asyncio.create_task(replicator.run())
    await near.put(file_document("/a"))
    await eventually(lambda: source.asked.count("save") == 1)
    await asyncio.sleep(0.1)
    assert source.asked.count("save") == 1  # nothing happened since
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_peer_that_is_away_is_tried_again_ever_more_seldom(near: Store, far: Store, time: Time) -> None:
    target = Down(StorePeer(far))
    target.up = False
    replicator = Replicator(StorePeer(near), target, direction="push", surroundings=time.surroundings)
    await near.bulk([file_document(f"/{number}") for number in range(3)])
    statuses: list[Status] = []

    def asleep() -> None:
        statuses.append(replicator.status)
        target.up = len(statuses) >= 10

    time.on_sleep = asleep
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    assert time.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert {(one.state, one.pending, one.last_error) for one in statuses} == {("waiting", 3, "Nobody is there.")}
    assert statuses[-1].lag_s == pytest.approx(sum(time.slept))
    assert (replicator.status.last_error, replicator.status.pushed) == (None, 3)
    target.up = False
    await near.put(file_document("/again"))
    await eventually(lambda: len(time.slept) == 11)
    assert time.slept[10] == 0.5  # it had worked in between
    replicator.stop()
    await running


async def test_the_lag_counts_from_when_both_were_last_known_to_be_level(near: Store, far: Store, time: Time) -> None:
    class Beating(PeerAround):
        beats = 0

        async def live(self, since: Any, limit: int, chosen: Any, heartbeat: float) -> Any:
            async with aclosing(self.inner.live(since, limit, chosen, heartbeat)) as feed:
                async for page in feed:
                    self.beats += page is None
                    yield page

    source, target = Beating(StorePeer(near)), Down(StorePeer(far))
    replicator = Replicator(source, target, direction="push", heartbeat=0.02, surroundings=time.surroundings)
    running = asyncio.create_task(replicator.run())
    await near.put(file_document("/a"))
    await eventually(lambda: replicator.status == Status("live", pushed=1))
    time.now += 3_600.0  # an hour in which nothing happened
    seen = source.beats
    await eventually(lambda: source.beats >= seen + 2)
    target.up = False
    await near.put(file_document("/b"))
    await eventually(lambda: replicator.status.state == "waiting")
    assert replicator.status.lag_s == pytest.approx(sum(time.slept))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_feed_that_the_other_side_ends_is_no_live_one(near: Store, far: Store, time: Time) -> None:
    """A server that is shut down ends its feed in an orderly way: nothing follows until it is asked again."""

    class Ending(PeerAround):
        ends = asyncio.Event()

        async def live(self, since: Any, limit: int, chosen: Any, heartbeat: float) -> Any:
            yield None
            await self.ends.wait()

    source = Ending(StorePeer(near))
    woken = asyncio.Event()

    async def sleep(seconds: float) -> None:
        time.slept.append(seconds)
        await woken.wait()

    surroundings = Surroundings(monotonic=lambda: time.now, sleep=sleep, random=lambda: 1.0)
    replicator = Replicator(source, StorePeer(far), direction="pull", surroundings=surroundings)
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    source.ends.set()
    await eventually(lambda: replicator.status.state == "waiting")
    assert replicator.status.last_error == "the other side ended its feed of changes"
    source.ends.clear()
    replicator.wake()
    await eventually(lambda: replicator.status == Status("live"))
    for _ in range(4):  # it stands for hours each time: that it ends is no reason to come back ever more seldom
        time.now += 10_000.0
        source.ends.set()
        await eventually(lambda: replicator.status.state == "waiting")
        source.ends.clear()
        replicator.wake()
        await eventually(lambda: replicator.status.state == "live")
    assert time.slept == [0.5] * 5
    replicator.stop()
    await running


async def test_it_can_be_woken(near: Store, far: Store) -> None:
    target = Down(StorePeer(far))
    target.up = False
    replicator = Replicator(StorePeer(near), target, direction="push")
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "waiting")
    target.up = True
    replicator.wake()
    await eventually(lambda: replicator.status.state == "live")
    replicator.stop()
    await running


@pytest.mark.logs("replication failed unexpectedly")
async def test_an_unforeseen_error_is_told_and_survived(
    near: Store, far: Store, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(PeerAround):
        async def info(self) -> Any:
            return None

        async def identity(self) -> str:
            if not time.slept:
                raise ZeroDivisionError("surprise")
            return await super().identity()

    replicator = Replicator(Broken(StorePeer(near)), StorePeer(far), direction="push", surroundings=time.surroundings)
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    assert "surprise" in caplog.text
    replicator.stop()
    await running


@pytest.mark.parametrize("closed", ["source", "target"])
async def test_a_store_that_closes_is_a_peer_that_went_away(
    near: Store, far: Store, caplog: pytest.LogCaptureFixture, closed: str
) -> None:
    replicator = Replicator(StorePeer(near), StorePeer(far), direction="push")
    running = asyncio.create_task(replicator.run())
    await eventually(lambda: replicator.status.state == "live")
    await (near if closed == "source" else far).close()
    if closed == "target":
        await near.put(file_document("/a"))
    await eventually(lambda: replicator.status.state == "waiting")
    replicator.stop()
    await running
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
