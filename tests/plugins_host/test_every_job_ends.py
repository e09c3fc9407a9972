"""Protects the end of every job: whatever a plugin answers, raises or does, in whichever way it runs, its own file
alone pays for it, and nothing stays in flight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mosaicfs_core.agent.jobs import worker as worker_module
from mosaicfs_core.agent.jobs.worker import Worker
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.hooks import RunningPlugin
from mosaicfs_core.jobs import JobQueue, Subscription
from mosaicfs_core.testing.harness import Harness, plugin_at
from mosaicfs_core.testing.transports import TRANSPORTS, running

T = TypeVar("T")
PACKAGE = """
from mosaicfs_core.hooks import *

print("hello from an import")

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(title="Faulty", description="Answers oddly.", version="1", hook_api=HOOK_API,
                          subscribed_events=("file.added",))

def deep():
    value = {}
    for _ in range(3000):
        value = {"a": value}
    return value

@hookimpl
async def mosaicfs_file_event(context, event):
    name = event.file.name
    if name == "list":
        return [1]
    if name == "object":
        return {"x": object()}
    if name == "surrogate":
        return {"x": "\\ud800"}
    if name == "deep":
        return deep()
    if name == "digits":
        return {"n": 10 ** 5000}
    if name == "path":
        raise OSError(13, "Permission denied", "/caf\\udce9.txt")
    if name == "exit":
        raise SystemExit(3)
    return {"seen": name}
"""
GOOD = ("a", "b", "c")
BAD = ("list", "object", "surrogate", "deep", "digits", "path", "exit")


class Desk:
    """A queue, and a worker that has its jobs done by a plugin."""

    def __init__(self, harness: Harness, running: RunningPlugin) -> None:
        self.harness = harness
        self.queue = JobQueue(harness.store, harness.core.node_id)
        self.told: list[str] = []
        self.drained = asyncio.Event()
        self.worker = Worker(
            self.queue, running, lambda: harness.instances.current["faulty"], self._failed, self._drain
        )

    async def _failed(self, message: str) -> None:
        self.told.append(message)

    async def _drain(self) -> None:
        self.drained.set()

    async def index(self, directory: Path, *names: str) -> None:
        for name in names:
            (directory / name).write_text("x")
            await self.harness.index(directory / name)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.worker.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def counts(self) -> tuple[int, int, int]:
        counts = (await self.queue.standing("faulty")).counts
        return counts.pending, counts.in_flight, counts.failed

    def annotations(self) -> dict[str, Mapping[str, Any]]:
        found = self.harness.store.reader.documents_of("annotation", (self.harness.core.node_id,))
        return {document["export_path"].rpartition("/")[2]: document for document in found}


@asynccontextmanager
async def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str, attempts: int = 1
) -> AsyncIterator[Desk]:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "faulty_plugin.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    point = plugin_at("faulty", "faulty_plugin")
    async with asyncio.timeout(120), running(point, transport, tmp_path / "home") as (harness, made):
        at = Desk(harness, made)
        await at.queue.open()
        subscription = Subscription(events=("file.added", "file.modified"), workers=4, max_attempts=attempts)
        await at.queue.subscribe({"faulty": subscription})
        try:
            yield at
        finally:
            await at.queue.close()


@pytest.mark.logs("mosaicfs_file_event")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_odd_answer_is_an_attempt_of_its_own_file_alone(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(tmp_path, monkeypatch, transport) as at:
        await at.index(tmp_path, *GOOD, *BAD)
        async with at.at_work():
            await at.drained.wait()
        assert await at.counts() == (0, 0, len(BAD))
        found = at.annotations()
        assert {name: one["data"] for name, one in found.items() if one["status"] == "ok"} == {
            name: {"seen": name} for name in GOOD
        }
        errors = {name: one["error"] for name, one in found.items() if one["status"] == "failed"}
        assert errors.keys() == set(BAD)
        assert "returned list, not an object" in errors["list"]
        assert "Permission denied" in errors["path"]
        assert "udce9" in errors["path"]
        assert len(at.told) == len(BAD)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FIRST_PAUSE_S", 0.01)


class Full:
    """A store whose disk is full after so many more transactions, until it is emptied."""

    def __init__(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self.refused = asyncio.Event()
        real = harness.store.transaction

        async def transaction(work: Callable[[Any], T]) -> T:
            if self.room == 0:
                self.refused.set()
                raise Unavailable("database or disk is full")
            if self.room is not None:
                self.room -= 1
            return await real(work)

        monkeypatch.setattr(harness.store, "transaction", transaction)


@pytest.mark.logs("disk is full")
async def test_answers_survive_a_disk_that_is_full_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> None:
    async with desk(tmp_path, monkeypatch, "package") as at:
        await at.index(tmp_path, *GOOD)
        disk = Full(at.harness, monkeypatch)
        disk.room = 2  # what a former worker left is looked for, and jobs are taken
        async with at.at_work():
            await disk.refused.wait()
            asyncio.get_running_loop().call_later(0.1, setattr, disk, "room", None)
            await at.drained.wait()
            assert await at.counts() == (0, 0, 0)
            assert at.annotations().keys() == set(GOOD)


@pytest.mark.logs("disk is full")
async def test_a_worker_that_ends_while_the_disk_is_full_leaves_its_jobs_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> None:
    async with desk(tmp_path, monkeypatch, "package") as at:
        await at.index(tmp_path, "a", "b")
        disk = Full(at.harness, monkeypatch)
        disk.room = 2
        async with at.at_work():
            await disk.refused.wait()
        assert await at.counts() == (0, 2, 0)
        disk.room = None
        async with at.at_work():
            await at.drained.wait()
        assert await at.counts() == (0, 0, 0)
        assert at.annotations().keys() == {"a", "b"}


@pytest.mark.logs("^job 1 of faulty$")
async def test_what_nobody_foresaw_ends_the_job_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pauses: None
) -> None:
    async with desk(tmp_path, monkeypatch, "package") as at:
        await at.index(tmp_path, "a")

        async def odd(file: Any) -> None:
            raise LookupError("no such thing")

        monkeypatch.setattr(at.harness.instances.current["faulty"].context, "local_path", odd)
        async with at.at_work():
            await at.drained.wait()
        assert await at.counts() == (0, 0, 1)
        assert at.annotations()["a"]["error"].endswith("LookupError: no such thing")


async def test_an_answer_that_is_on_its_way_is_stored_though_its_worker_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(tmp_path, monkeypatch, "package") as at:
        await at.index(tmp_path, "a")
        (job,) = await at.queue.take("faulty", 1)
        answering = asyncio.create_task(at.queue.done(job, {"seen": "a"}))
        await asyncio.sleep(0)  # it has begun
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        assert await at.queue.released([job]) == 0
        assert at.annotations()["a"]["data"] == {"seen": "a"}
