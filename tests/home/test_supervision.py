"""Protects long-lived tasks from ending unnoticed: one error is told and logged, and the work starts again."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mosaicfs_core.supervision import supervised


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
    assert caplog.text.count("Traceback") == 2


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
