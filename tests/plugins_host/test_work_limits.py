"""Protects what holds plugins at work: settings, limits, pauses and budgets take effect at once, and disturb nothing
that is under way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.plugins_host.work_bed import Annotator, Bed, all_done, annotator, bed, in_flight, paused, waiting

from mosaicfs_core.hooks import FileEvent
from mosaicfs_core.plugins.running.in_process import InProcess

__all__ = ["annotator", "bed"]


async def test_settings_take_effect_on_the_next_job_and_a_pause_holds_it(bed: Bed, annotator: Annotator) -> None:
    async with bed.agent() as agent:
        await bed.until(lambda: all_done(agent, annotator, 0))
        await bed.change(paused=True)
        (bed.tree / "a.txt").write_text("abc")
        await bed.until(lambda: waiting(agent, 1))
        assert not any(event.startswith("file.") for event, _ in annotator.seen())
        await bed.change(paused=False, mime_globs=["image/*"])
        await bed.until(lambda: waiting(agent, 0))
        (bed.tree / "b.txt").write_text("abc")
        (bed.tree / "c.png").write_text("abc")
        await bed.until(lambda: ("file.added", "c.png") in annotator.seen())
        assert ("file.added", "b.txt") not in annotator.seen()


async def test_new_limits_and_a_pause_disturb_no_event_that_is_under_way(bed: Bed, annotator: Annotator) -> None:
    finish = asyncio.Event()

    async def slow(event: FileEvent) -> dict[str, Any]:
        if event.file is not None:
            await finish.wait()
        return {}

    annotator.answer = slow
    await bed.change(workers=1, max_attempts=1)
    async with bed.agent() as agent:
        await bed.until(lambda: all_done(agent, annotator, 0))
        for name in ("a.txt", "b.txt"):
            (bed.tree / name).write_text("abc")
        await bed.until(lambda: in_flight(agent, 1))  # the other one has not been taken: nothing is known of files yet
        running = agent._running.get("annotator")
        await bed.change(workers=2, timeout_s=30)
        await bed.until(lambda: in_flight(agent, 2))
        assert agent._running.get("annotator") is running
        await bed.change(paused=True)
        await bed.until(lambda: paused(agent))
        finish.set()
        await bed.until(lambda: all_done(agent, annotator, 2))
    assert sorted(name for event, name in annotator.seen() if event.startswith("file.")) == ["a.txt", "b.txt"]


async def test_an_event_at_an_instance_that_is_switched_off_is_given_back(
    bed: Bed, annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = asyncio.Event()

    async def until_it_ends(event: FileEvent) -> dict[str, Any]:
        if event.file is not None:
            await stopping.wait()
            raise ValueError("it ended under it")
        return {}

    async def stop(running: InProcess) -> None:
        stopping.set()
        await asyncio.sleep(0)

    monkeypatch.setattr(InProcess, "stop", stop)
    annotator.answer = until_it_ends
    await bed.change(max_attempts=1)
    (bed.tree / "a.txt").write_text("abc")
    async with bed.agent() as agent:
        await bed.until(lambda: in_flight(agent, 1))
        await bed.change(enabled=False)
        await bed.until(stopping.is_set)
        standing = await agent.jobs.queue.standing("annotator")
        assert (standing.counts.pending, standing.counts.in_flight, standing.counts.failed) == (1, 0, 0)


async def test_a_pause_gives_back_what_a_quick_plugin_had_ahead(bed: Bed, annotator: Annotator) -> None:
    async with bed.agent() as agent:
        await bed.until(lambda: all_done(agent, annotator, 0))
        await bed.change(paused=True)
        await bed.until(lambda: paused(agent))
        for number in range(600):
            (bed.tree / f"{number}.txt").write_text("x")
        await bed.until(lambda: waiting(agent, 600))
        go_on = asyncio.Event()

        async def slow_at_last(event: FileEvent) -> dict[str, int]:
            if len(annotator.seen()) > 100:
                await go_on.wait()
            return {"size": 1}

        annotator.answer = slow_at_last
        await bed.change(paused=False)
        await bed.until(lambda: len(annotator.seen()) > 101)
        await bed.change(paused=True)
        await bed.until(lambda: in_flight(agent, 2))  # those that have begun
        go_on.set()
        await bed.until(lambda: in_flight(agent, 0))
        await bed.change(paused=False)
        await bed.until(lambda: all_done(agent, annotator, 600))
        files = [name for event, name in annotator.seen() if event.startswith("file.")]
        assert (len(files), len(set(files))) == (600, 600)


async def test_a_full_budget_holds_the_rest_and_says_why(bed: Bed, annotator: Annotator) -> None:
    await bed.change(budget={"jobs_per_day": 2})
    for number in range(4):
        (bed.tree / f"{number}.txt").write_text("x")
    async with bed.agent() as agent:
        await bed.until(lambda: "2 jobs of today" in agent.jobs.waits("annotator"))
        assert sum(event.startswith("file.") for event, _ in annotator.seen()) == 2
