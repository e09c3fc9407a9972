"""Protects that failed jobs are seen: how many of how many, and whether it is the files or the plugin; at a cost that
does not grow with the queue."""

from __future__ import annotations

from typing import Any

import pytest
from job_bed import FILES, Bed

from mosaicfs_core.agent.jobs.failing import subsystem_of
from mosaicfs_core.jobs import Failures, Subscription
from mosaicfs_core.jobs import failures as failures_module


async def run(bed: Bed, outcomes: str, first: int = 0) -> None:
    """A file for each letter in turn: "." is done, "x" fails for good."""
    for number, outcome in enumerate(outcomes, first):
        await bed.write(f"/{number:03}")
        (job,) = await bed.take()
        await (bed.queue.done(job) if outcome == "." else bed.queue.failed(job, f"no {number}"))


async def found(bed: Bed, outcomes: str) -> Failures:
    await bed.subscribe(one=Subscription(events=FILES, max_attempts=1))
    await run(bed, outcomes)
    (one,) = bed.queue.failures()
    return one


async def test_what_failed_is_told_with_the_newest_reason_until_nothing_has(bed: Bed) -> None:
    one = await found(bed, ".x..x.")
    assert one == Failures(instance="one", failed=2, last_error="no 4", most=False)
    await bed.queue.retry("one")
    assert bed.queue.failures() == []
    for job in await bed.take():
        await bed.queue.done(job)
    assert bed.queue.failures() == []


async def test_of_what_is_switched_off_nothing_is_told(bed: Bed) -> None:
    await found(bed, "xxx")
    await bed.subscribe(one=Subscription(events=FILES, max_attempts=1, enabled=False))
    assert bed.queue.failures() == []


@pytest.mark.parametrize(
    ("outcomes", "most"),
    [
        ("xx", False),
        ("xxx", True),
        ("xxx...", False),
        ("x.xx.xx", True),
        ("." * 30 + "xxx", False),
        ("." * 30 + "xxxxx", True),
        ("." * 30 + "x.xx.x.xx", True),
        ("." * 30 + "x..x..x..x..x..x..x..x..x..x", False),
        ("." * 30 + "xxxxx" + "." * 30, False),
    ],
    ids=["too few", "all", "half", "most", "a few at last", "all at last", "most at last", "some", "it was mended"],
)
async def test_a_few_files_are_told_from_a_plugin_that_fails(bed: Bed, outcomes: str, most: bool) -> None:
    assert (await found(bed, outcomes)).most is most


async def test_what_waits_has_not_ended_well(bed: Bed) -> None:
    await bed.subscribe(one=Subscription(events=FILES, max_attempts=1))
    await run(bed, "." * 8)
    for number in range(100, 150):
        await bed.write(f"/{number}")
    for job in await bed.take(limit=6):
        await bed.queue.failed(job, "no")
    (one,) = bed.queue.failures()
    assert (one.failed, one.most) == (6, True)


async def test_a_file_that_was_done_before_it_failed_is_not_done(bed: Bed) -> None:
    await bed.subscribe(one=Subscription(events=FILES, max_attempts=1))
    await run(bed, "." * 9)
    for number in range(5):
        await bed.write(f"/{number:03}", size=9)
        (job,) = await bed.take()
        await bed.queue.failed(job, "no")
    assert [(one.failed, one.most) for one in bed.queue.failures()] == [(5, True)]


async def test_many_that_were_done_are_not_counted_to_the_end(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures_module, "COUNTED", 3)
    one = await found(bed, "......xxxx")
    assert (one.failed, one.most) == (4, False)


async def test_what_has_not_moved_is_not_looked_at_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    look = failures_module._of_instance

    def counted(reader: Any, number: int, name: str, *row: Any) -> Failures:
        looked.append(name)
        return look(reader, number, name, *row)

    monkeypatch.setattr(failures_module, "_of_instance", counted)
    await bed.subscribe(**{name: Subscription(events=FILES, max_attempts=1) for name in ("one", "two")})
    await bed.write("/a")
    for name in ("one", "two"):
        (job,) = await bed.take(name)
        await bed.queue.failed(job, "no")
    first = bed.queue.failures()
    assert [one.instance for one in first] == looked == ["one", "two"]
    assert bed.queue.failures() == first
    await bed.queue.retry("two")
    (job,) = await bed.take("two")
    await bed.queue.failed(job, "still no")
    assert [one.last_error for one in bed.queue.failures()] == ["no", "still no"]
    assert looked == ["one", "two", "two"]


def test_the_status_is_degraded_by_a_plugin_that_fails_and_not_by_a_few_files() -> None:
    few = Failures(instance="summarize", failed=3, last_error="exit code 1\n  cut", most=False)
    part: dict[str, Any] = subsystem_of([few])
    assert part["status"] == "healthy"
    assert part["detail"] == "summarize: 3 files failed, the last: exit code 1 cut"
    all_of_it = Failures(instance="tags", failed=1, last_error="x" * 500, most=True)
    part = subsystem_of([few, all_of_it])
    assert part["status"] == "degraded"
    assert part["detail"].endswith(f"; tags: 1 file failed, more than it was done with, the last: {'x' * 199}…")
    assert sorted(part["failed"]) == ["summarize", "tags"]
    assert subsystem_of([]) == {"status": "healthy", "detail": "", "failed": {}}
