"""Protects long-lived tasks from ending unnoticed: one error is told and logged, and the work starts again."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mosaicfs_core.errors import NotFound
from mosaicfs_core.supervision import Standing, end_tasks, first_of, logged, supervised


@pytest.mark.logs("failed and starts again")
async def test_work_that_fails_starts_again_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    failing: dict[str, str] = {}
    seen: list[dict[str, str]] = []

    async def work() -> None:
        seen.append(dict(failing))
        if len(seen) < 3:
            raise ValueError("unforeseen")

    with caplog.at_level(logging.ERROR):
        await supervised("some work", work, failing, first_pause_s=0.001)
    assert seen == [{}, {"some work": "ValueError: unforeseen"}, {"some work": "ValueError: unforeseen"}]
    assert failing == {}
    assert caplog.text.count("Traceback") == 1


@pytest.mark.logs("failed and starts again")
async def test_cancelled_work_ends_and_leaves_nothing_behind() -> None:
    failing: dict[str, str] = {}
    failed = asyncio.Event()

    async def work() -> None:
        failed.set()
        raise KeyError("x")

    task = asyncio.create_task(supervised("w", work, failing))
    await failed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert failing == {}


async def test_ended_tasks_have_ended_whatever_they_raise() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0.01)
    await end_tasks(*tasks)
    assert all(task.done() for task in tasks)
    await end_tasks()


async def test_the_first_to_end_ends_the_others() -> None:
    never = asyncio.ensure_future(asyncio.Event().wait())
    async with asyncio.timeout(5):
        await first_of(never, asyncio.sleep(0))
    assert never.cancelled()


@pytest.mark.logs("it failed")
async def test_work_that_nobody_waits_for_leaves_its_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(error: Exception) -> None:
        raise error

    await logged("it", fails(NotFound("gone")))
    assert "ZeroDivisionError" not in caplog.text
    await logged("it", fails(ZeroDivisionError()))
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.logs("^full$|^empty$")
def test_a_standing_problem_is_said_once_until_it_changes_or_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    problem = Standing(logging.getLogger("mosaicfs.test"))

    def said(text: str) -> int:
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "mosaicfs.test"):
            problem.met(logging.WARNING, text)
        return caplog.records[0].levelno

    assert [said("full"), said("full"), said("empty"), said("full")] == [30, 10, 30, 30]
    problem.gone()
    assert said("full") == logging.WARNING
