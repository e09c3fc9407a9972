"""Protects work in the background (``mosaicfs_run``): it starts, starts again, and is seen in the node's status."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mosaicfs_core.agent import runner
from mosaicfs_core.content import Content
from mosaicfs_core.errors import PluginError, Unavailable, UserError
from mosaicfs_core.hooks import HOOK_API, FilePlace, FileRecord, Held, PluginManifest, hookimpl
from mosaicfs_core.testing.faults import faulty
from mosaicfs_core.testing.harness import Harness, plugin_at

FILE = FileRecord(file_id="n.u", node_id="n", export_path="/a", name="a", size=1, mtime=1, inode=1000)


class Worker:
    """What the module ``diligent`` does: each start is told by ``started``, with the context."""

    def __init__(self) -> None:
        self.started: asyncio.Queue[Any] = asyncio.Queue()
        self.ended = 0
        self.fails = False

    async def run(self, context: Any) -> None:
        await self.started.put(context)
        if self.fails:
            raise RuntimeError("no power")
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made, module = Worker(), ModuleType("diligent")

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(title="Diligent", description="Works on.", version="1", hook_api=HOOK_API)

    @hookimpl
    async def mosaicfs_run(context: Any) -> None:
        await made.run(context)

    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_run=mosaicfs_run)
    monkeypatch.setitem(sys.modules, "diligent", module)
    monkeypatch.setattr(runner, "FIRST_PAUSE_S", 0.01)
    return made


@pytest.fixture
async def harness(tmp_path: Path, worker: Worker) -> AsyncIterator[Harness]:
    async with Harness.start(tmp_path, plugins=[plugin_at("diligent", "diligent")]) as made:
        await made.instance("diligent")
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what the agent tells, it tells when asked
            await asyncio.sleep(0.01)


async def test_it_runs_while_the_instance_is_on_and_starts_anew_with_new_settings(
    harness: Harness, worker: Worker
) -> None:
    async with harness.agent() as agent:
        await worker.started.get()
        assert agent.first_crawl_done.is_set() or agent.awaited() == []
        await harness.instance("diligent", {"speed": 3})
        context = await worker.started.get()
        assert (context.config["speed"], worker.ended) == (3, 1)
        identifier = f"plugin::{harness.core.node_id}::diligent"
        await context.report("degraded", "it is slow", {"done": 5})
        assert agent.status()["subsystems"]["instances"] == {
            "status": "degraded",
            "detail": "diligent: it is slow",
            "reports": {"diligent": {"status": "degraded", "detail": "it is slow", "done": 5}},
        }
        await harness.store.update(identifier, lambda document: {**(document or {}), "enabled": False})
        await until(lambda: worker.ended == 2)
        await until(lambda: agent.status()["subsystems"]["instances"]["reports"] == {})
    assert worker.started.empty()


@pytest.mark.logs("no power")
async def test_what_fails_is_started_again_and_named_in_the_status(harness: Harness, worker: Worker) -> None:
    worker.fails = True
    async with harness.agent() as agent:
        for _ in range(3):
            await worker.started.get()
        await until(lambda: agent.status()["subsystems"]["instances"]["status"] == "degraded")
        assert "no power" in agent.status()["subsystems"]["instances"]["detail"]
        worker.fails = False
        await worker.started.get()
        await until(lambda: agent.status()["subsystems"]["instances"]["status"] == "healthy")
        told = [error["message"] for error in agent.status()["recent_errors"]]
        assert "no power" in told[-1]
        assert len(told) == len(set(told)) == 1
    assert worker.ended == 1


@pytest.mark.logs("step op boom failed")
async def test_a_step_op_that_fails_is_among_the_recent_errors_once(tmp_path: Path) -> None:
    async with Harness.start(tmp_path, plugins=faulty("step_raises")) as harness, harness.agent() as agent:
        assert agent.status()["recent_errors"] == []
        for _ in range(2):
            predicate = harness.core.step_ops()["boom"].compile({})
            for _ in range(2):
                with pytest.raises(PluginError):
                    predicate(FILE)
        (error,) = agent.status()["recent_errors"]
        assert (error["subsystem"], error["level"]) == ("plugins", "error")
        assert error["message"] == "plugin step_raises: step op boom failed: RuntimeError: boom"


async def test_a_pin_stands_before_its_bytes_are_there(harness: Harness) -> None:
    context = await harness.instance("diligent")
    with pytest.raises(Unavailable, match="no way to n"):
        await context.pin(FILE)
    assert await context.pinned() == [FilePlace("n", "/a")]
    assert await context.held([FILE]) == [Held(0, 1, False)]
    await context.unpin(FILE)
    assert await context.pinned() == []


async def test_pins_go_with_their_instance_and_not_when_it_is_switched_off(harness: Harness) -> None:
    context = await harness.instance("diligent")
    with pytest.raises(Unavailable):
        await context.pin(FILE)
    identifier = f"plugin::{harness.core.node_id}::diligent"
    await harness.store.update(identifier, lambda document: {**(document or {}), "enabled": False})
    async with harness.agent():
        assert await context.pinned() == [FilePlace("n", "/a")]
        await harness.store.update(identifier, lambda document: {**(document or {}), "_deleted": True})
        keeper = harness.core.content.keeper
        assert keeper is not None
        async with asyncio.timeout(10):
            while await keeper.pinned("diligent"):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)


async def test_what_a_context_cannot_do_it_says(harness: Harness) -> None:
    context = await harness.instance("diligent")
    harness.core.content = Content([])
    with pytest.raises(Unavailable, match="agent"):
        await context.pin(FILE)
    with pytest.raises(UserError):
        await context.report("splendid")
