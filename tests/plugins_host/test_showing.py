"""Protects that who changed the tree waits until all mounts show it, and for no mount that is gone or lags."""

from __future__ import annotations

import asyncio

import pytest

from mosaicfs_core.plugins import showing
from mosaicfs_core.plugins.showing import Showing


async def begun(work: asyncio.Task[None]) -> asyncio.Task[None]:
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return work


async def test_all_mounts_are_waited_for() -> None:
    mounts = Showing()
    mounts.tell("one", 3)
    mounts.tell("two", 3)
    await mounts.wait(3)
    waiting = await begun(asyncio.create_task(mounts.wait(5)))
    mounts.tell("one", 6)
    await begun(waiting)
    assert not waiting.done()
    mounts.tell("two", 5)
    await asyncio.wait_for(waiting, 5)


async def test_nobody_waits_without_mounts_or_for_one_that_is_gone() -> None:
    mounts = Showing()
    await mounts.wait(5)
    mounts.tell("one", 3)
    waiting = await begun(asyncio.create_task(mounts.wait(5)))
    assert not waiting.done()
    mounts.gone("one")
    await asyncio.wait_for(waiting, 5)


async def test_a_mount_that_lags_keeps_nobody_waiting_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "PATIENCE_S", 0.01)
    mounts = Showing()
    mounts.tell("one", 3)
    await mounts.wait(5)
    await mounts.wait(3)
