"""Protects plugins at work: files become events, answers become annotations, and what goes wrong is told."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from importlib_metadata import entry_points

from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.jobs import health as health_module
from mosaicfs_core.agent.jobs import outage as outage_module
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.hooks import (
    HOOK_API,
    DocumentQuery,
    Endpoint,
    FileEvent,
    HealthReport,
    Notice,
    PluginManifest,
    ResultEnvelope,
    hookimpl,
)
from mosaicfs_core.jobs import Counts, JobQueue, finishing
from mosaicfs_core.plugins.running.in_process import InProcess
from mosaicfs_core.testing.harness import Harness, plugin_at

PATIENCE_S = 60.0
EVENTS = ("file.added", "file.modified", "file.deleted", "sync.started", "sync.completed")


class Annotator:
    """What the module ``annotator`` does, as a test says it; every event is kept."""

    def __init__(self) -> None:
        self.events: list[FileEvent] = []
        self.answer: Callable[[FileEvent], Any] = lambda event: {"size": event.file.size if event.file else 0}
        self.health: Callable[[], HealthReport] = HealthReport
        self.news = asyncio.Event()

    async def file_event(self, event: FileEvent) -> Any:
        self.events.append(event)
        self.news.set()
        answer = self.answer(event)
        return await answer if asyncio.iscoroutine(answer) else answer

    def seen(self) -> list[tuple[str, str]]:
        return [(event.event, event.file.name if event.file else "") for event in self.events]


@pytest.fixture
def annotator(monkeypatch: pytest.MonkeyPatch) -> Annotator:
    made, module = Annotator(), ModuleType("annotator")

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(
            title="Annotator",
            description="Annotates.",
            version="1",
            hook_api=HOOK_API,
            subscribed_events=EVENTS,
            mime_globs=("text/*",),
            queries=(Endpoint(name="ask", capability="asking"),),
            health_check_interval_s=0.01,
        )

    @hookimpl
    async def mosaicfs_file_event(context: Any, event: FileEvent) -> Any:
        return await made.file_event(event)

    @hookimpl
    async def mosaicfs_query(context: Any, request: Any) -> ResultEnvelope:
        return ResultEnvelope()

    @hookimpl
    async def mosaicfs_health(context: Any) -> HealthReport:
        return made.health()

    vars(module).update(
        mosaicfs_manifest=mosaicfs_manifest,
        mosaicfs_file_event=mosaicfs_file_event,
        mosaicfs_query=mosaicfs_query,
        mosaicfs_health=mosaicfs_health,
    )
    monkeypatch.setitem(sys.modules, "annotator", module)
    return made


class Bed:
    """A home whose agent watches ``tree``."""

    def __init__(self, harness: Harness, tree: Path) -> None:
        self.harness, self.tree = harness, tree

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        async with asyncio.timeout(PATIENCE_S), self.harness.agent() as agent:
            await agent.first_crawl_done.wait()
            yield agent

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Look after each write until ``holds`` answers something true."""
        while True:
            seq = self.harness.store.seq
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await self.harness.store.wait(seq, 0.2)

    async def annotations(self) -> dict[str, Mapping[str, Any]]:
        context = self.harness.instances.current["annotator"].context
        page = await context.find_documents(DocumentQuery(type="annotation"))
        return {document["export_path"].rpartition("/")[2]: document for document in page.items}

    def notification(self, key: str) -> Mapping[str, Any] | None:
        return self.harness.store.reader.get(ids.notification_document_id(self.harness.core.node_id, key))

    async def change(self, **fields: Any) -> None:
        identifier = ids.plugin_document_id(self.harness.core.node_id, "annotator")
        await self.harness.store.update(identifier, lambda present: {**(present or {}), **fields})


@pytest.fixture
async def bed(annotator: Annotator, tmp_path: Path) -> AsyncIterator[Bed]:
    tree = tmp_path / "tree"
    tree.mkdir()
    localfs = entry_points(group="mosaicfs", name="localfs")
    plugins = [*localfs, plugin_at("annotator", "annotator")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness:
        await harness.instance("localfs", {"paths": [str(tree)]})
        await harness.instance("annotator")
        yield Bed(harness, tree)


async def test_files_become_events_and_answers_become_annotations(bed: Bed, annotator: Annotator) -> None:
    (bed.tree / "a.txt").write_text("abc")
    (bed.tree / "b.bin").write_bytes(b"\0")
    async with bed.agent():
        found = await bed.until(bed.annotations)
        assert {name: one["data"] for name, one in found.items()} == {"a.txt": {"size": 3}}
        first = next(event for event in annotator.events if event.file)
        assert (first.event, first.local_path) == ("file.added", str(bed.tree / "a.txt"))
        (bed.tree / "a.txt").write_text("abcdef")
        await bed.until(lambda: _data(bed, "a.txt", {"size": 6}))
        (bed.tree / "a.txt").rename(bed.tree / "c.txt")
        await bed.until(lambda: _data(bed, "c.txt", {"size": 6}))
        (bed.tree / "c.txt").unlink()
        await bed.until(lambda: _none(bed))
        await bed.until(lambda: ("file.deleted", "c.txt") in annotator.seen())


@pytest.mark.logs("plugins cannot be given work yet")
async def test_an_agent_that_starts_on_a_full_disk_gives_plugins_their_work_later(
    bed: Bed, annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, real = 0, JobQueue.open

    async def full_at_first(queue: JobQueue) -> None:
        nonlocal opened
        opened += 1
        if opened == 1:
            raise Unavailable("database or disk is full")
        await real(queue)

    monkeypatch.setattr(JobQueue, "open", full_at_first)
    (bed.tree / "a.txt").write_text("abc")
    async with bed.agent():
        await bed.until(lambda: _data(bed, "a.txt", {"size": 3}))
    assert opened == 2
    assert ("file.added", "a.txt") in annotator.seen()


async def test_a_name_that_is_not_utf8_comes_without_a_path_for_no_json_can_hold_it(
    bed: Bed, annotator: Annotator
) -> None:
    (bed.tree / os.fsdecode(b"odd \xff.txt")).write_bytes(b"abc")
    async with bed.agent():
        await bed.until(bed.annotations)
        (event,) = [event for event in annotator.events if event.file]
        assert event.local_path is None
        assert event.file is not None
        chunks = [chunk async for chunk in bed.harness.instances.current["annotator"].context.open_file(event.file)]
        assert b"".join(chunks) == b"abc"


async def _data(bed: Bed, name: str, data: Mapping[str, Any]) -> bool:
    return (await bed.annotations()).get(name, {}).get("data") == data


async def _none(bed: Bed) -> bool:
    return not await bed.annotations()


async def test_what_changed_while_nobody_ran_is_processed_once(bed: Bed, annotator: Annotator) -> None:
    for number in range(5):
        (bed.tree / f"{number}.txt").write_text("x")
    async with bed.agent() as agent:
        await bed.until(lambda: _all_done(agent, annotator, 5))
    annotator.events.clear()
    for number in range(3):
        (bed.tree / f"{number}.txt").write_text("xx")
    async with bed.agent() as agent:
        await agent.jobs.sync("annotator")
        await bed.until(lambda: _all_done(agent, annotator, 3))
        assert await agent.jobs.sync("annotator") == {"annotator": True}
        await bed.until(lambda: _all_done(agent, annotator, 3))
    files = [name for event, name in annotator.seen() if event.startswith("file.")]
    assert sorted(files) == ["0.txt", "1.txt", "2.txt"]


@pytest.mark.logs("annotator")
@pytest.mark.parametrize("without", [{"disabled": ["annotator"]}, {"safe_mode": True}, {"only": ["localfs"]}])
async def test_a_start_without_its_package_costs_no_instance_what_it_has_done(
    annotator: Annotator, tmp_path: Path, without: dict[str, Any]
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.txt").write_text("abc")
    plugins = [*entry_points(group="mosaicfs", name="localfs"), plugin_at("annotator", "annotator")]

    @asynccontextmanager
    async def life(**limits: Any) -> AsyncIterator[tuple[Bed, Agent]]:
        async with Harness.start(tmp_path / "home", plugins=plugins, **limits) as harness:
            await harness.instances.refresh()
            bed = Bed(harness, tmp_path / "tree")
            if not harness.instances.current:
                await harness.instance("localfs", {"paths": [str(bed.tree)]})
                await harness.instance("annotator")
            async with bed.agent() as agent:
                yield bed, agent

    async def all_done(agent: Agent) -> bool:
        standing = await agent.jobs.queue.standing("annotator")
        return standing.sync is None and standing.last_sync is not None and standing.counts == Counts()

    async with life() as (bed, agent):
        await bed.until(bed.annotations)
        await bed.until(lambda: all_done(agent))
    async with life(**without) as (bed, agent):
        (standing,) = await agent.jobs.queue.standings()
        assert (standing.instance, standing.enabled) == ("annotator", False)
        (bed.tree / "b.txt").write_text("abcdef")
        await agent.crawl("localfs")
    annotator.events.clear()
    async with life() as (bed, agent):
        await bed.until(lambda: all_done(agent))
    assert annotator.seen() == [("sync.started", ""), ("file.added", "b.txt"), ("sync.completed", "")]


async def test_what_a_removed_instance_said_goes_with_it(bed: Bed) -> None:
    (bed.tree / "a.txt").write_text("abc")
    async with bed.agent():
        await bed.until(bed.annotations)
        node_id = bed.harness.core.node_id
        elsewhere = {
            **(await bed.annotations())["a.txt"],
            "_id": ids.annotation_id(node_id, str(bed.tree / "a.txt"), "annotator", "node-b"),
            "annotated_by": "node-b",
        }
        await bed.harness.store.put({name: value for name, value in elsewhere.items() if name != "_rev"})
        identifier = ids.plugin_document_id(node_id, "annotator")
        document = bed.harness.store.reader.get(identifier) or {}
        kept = {name: document[name] for name in ("_id", "_rev", "type", "node_id", "plugin_name")}
        await bed.harness.store.put({**kept, "_deleted": True})

        async def gone() -> bool:
            left = await bed.harness.store.read(lambda reader: reader.documents_of("annotation", ()))
            return [one["annotated_by"] for one in left] == ["node-b"]

        await bed.until(gone)


async def _all_done(agent: Agent, annotator: Annotator, files: int) -> bool:
    standing = await agent.jobs.queue.standing("annotator")
    counts = standing.counts
    done = sum(event.startswith("file.") for event, _ in annotator.seen()) >= files
    return done and standing.sync is None and not counts.pending and not counts.in_flight


@pytest.mark.logs("cannot be read")
async def test_a_file_that_always_fails_is_given_up_and_told_and_can_be_tried_again(
    bed: Bed, annotator: Annotator
) -> None:
    def fails(event: FileEvent) -> Any:
        if event.file:
            raise ValueError("cannot be read")

    annotator.answer = fails
    await bed.change(max_attempts=1)
    (bed.tree / "a.txt").write_text("abc")
    async with bed.agent() as agent:
        notification = await bed.until(lambda: bed.notification("plugin_jobs_failed:annotator"))
        assert "cannot be read" in notification["message"]
        assert (await bed.annotations())["a.txt"]["status"] == "failed"
        annotator.answer = lambda event: {"fine": True}
        assert await agent.jobs.queue.retry("annotator") == 1
        await bed.until(lambda: _data(bed, "a.txt", {"fine": True}))
        await bed.until(lambda: (bed.notification("plugin_jobs_failed:annotator") or {}).get("status") == "resolved")


@pytest.mark.logs("the server is away")
async def test_while_what_it_needs_is_away_nothing_fails_and_all_is_done_after(
    bed: Bed, annotator: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(finishing, "FIRST_PAUSE_S", 0.01)
    away = True

    def answer(event: FileEvent) -> dict[str, Any]:
        if away and event.file is not None:
            raise Unavailable("the server is away")
        return {"fine": True}

    annotator.answer = answer
    await bed.change(max_attempts=1)
    for number in range(5):
        (bed.tree / f"{number}.txt").write_text("abc")
    async with bed.agent() as agent:
        await bed.until(lambda: "the server is away" in agent.jobs.waits("annotator"))
        await bed.until(lambda: sum(event == "file.added" for event, _ in annotator.seen()) > 5)
        away = False
        await bed.until(lambda: _all_done(agent, annotator, 5))
        assert (await agent.jobs.queue.standing("annotator")).counts.failed == 0
    assert bed.notification("plugin_jobs_failed:annotator") is None


async def test_settings_take_effect_on_the_next_job_and_a_pause_holds_it(bed: Bed, annotator: Annotator) -> None:
    async with bed.agent() as agent:
        await bed.until(lambda: _all_done(agent, annotator, 0))
        await bed.change(paused=True)
        (bed.tree / "a.txt").write_text("abc")
        await bed.until(lambda: _waiting(agent, 1))
        assert not any(event.startswith("file.") for event, _ in annotator.seen())
        await bed.change(paused=False, mime_globs=["image/*"])
        await bed.until(lambda: _waiting(agent, 0))
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
        await bed.until(lambda: _all_done(agent, annotator, 0))
        for name in ("a.txt", "b.txt"):
            (bed.tree / name).write_text("abc")
        await bed.until(lambda: _in_flight(agent, 1))  # the other one has not been taken: nothing is known of files yet
        await bed.change(workers=2, timeout_s=30)
        await bed.until(lambda: _in_flight(agent, 2))
        await bed.change(paused=True)
        await bed.until(lambda: _paused(agent))
        finish.set()
        await bed.until(lambda: _all_done(agent, annotator, 2))
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
        await bed.until(lambda: _in_flight(agent, 1))
        await bed.change(enabled=False)
        await bed.until(stopping.is_set)
        standing = await agent.jobs.queue.standing("annotator")
        assert (standing.counts.pending, standing.counts.in_flight, standing.counts.failed) == (1, 0, 0)


async def _waiting(agent: Agent, count: int) -> bool:
    standing = await agent.jobs.queue.standing("annotator")
    return standing.counts.pending == count and standing.sync is None


async def test_a_pause_gives_back_what_a_quick_plugin_had_ahead(bed: Bed, annotator: Annotator) -> None:
    async with bed.agent() as agent:
        await bed.until(lambda: _all_done(agent, annotator, 0))
        await bed.change(paused=True)
        await bed.until(lambda: _paused(agent))
        for number in range(600):
            (bed.tree / f"{number}.txt").write_text("x")
        await bed.until(lambda: _waiting(agent, 600))
        go_on = asyncio.Event()

        async def slow_at_last(event: FileEvent) -> dict[str, int]:
            if len(annotator.seen()) > 100:
                await go_on.wait()
            return {"size": 1}

        annotator.answer = slow_at_last
        await bed.change(paused=False)
        await bed.until(lambda: len(annotator.seen()) > 101)
        await bed.change(paused=True)
        await bed.until(lambda: _in_flight(agent, 2))  # those that have begun
        go_on.set()
        await bed.until(lambda: _in_flight(agent, 0))
        await bed.change(paused=False)
        await bed.until(lambda: _all_done(agent, annotator, 600))
        files = [name for event, name in annotator.seen() if event.startswith("file.")]
        assert (len(files), len(set(files))) == (600, 600)


async def _paused(agent: Agent) -> bool:
    return (await agent.jobs.queue.standing("annotator")).paused


async def _in_flight(agent: Agent, count: int) -> bool:
    return (await agent.jobs.queue.standing("annotator")).counts.in_flight == count


async def test_a_full_budget_holds_the_rest_and_says_why(bed: Bed, annotator: Annotator) -> None:
    await bed.change(budget={"jobs_per_day": 2})
    for number in range(4):
        (bed.tree / f"{number}.txt").write_text("x")
    async with bed.agent() as agent:
        await bed.until(lambda: "2 jobs of today" in agent.jobs.waits("annotator"))
        assert sum(event.startswith("file.") for event, _ in annotator.seen()) == 2


async def test_what_it_can_be_asked_is_told_and_withdrawn(bed: Bed) -> None:
    def capabilities() -> Any:
        return (bed.harness.store.reader.get(f"node::{bed.harness.core.node_id}") or {}).get("capabilities")

    async with bed.agent() as agent:
        await bed.harness.store.put(_node(bed.harness.core.node_id))
        await bed.change(name="Stirred")
        await bed.until(lambda: capabilities() == ["asking"])
        context = bed.harness.instances.current["annotator"].context
        context.capability("asking", available=False)
        await bed.until(lambda: capabilities() == [])
        context.capability("asking", available=True)
        await bed.until(lambda: capabilities() == ["asking"])
        await bed.change(paused=True)
        await bed.until(lambda: _paused(agent))
        answers = await agent.job_methods.query({"capability": "asking", "query": "well?"})
        assert [one["plugin_name"] for one in answers["envelopes"]] == ["annotator"]
        assert capabilities() == ["asking"]
        await bed.change(enabled=False)
        await bed.until(lambda: capabilities() == [])


def _node(node_id: str) -> dict[str, Any]:
    return {"_id": f"node::{node_id}", "type": "node", "node_id": node_id, "friendly_name": "test"}


@pytest.mark.logs("no power")
async def test_its_health_is_asked_and_told(bed: Bed, annotator: Annotator) -> None:
    notice = Notice(key="battery", severity="warning", title="Low")
    annotator.health = lambda: HealthReport(status="degraded", detail="low", notices=(notice,))
    async with bed.agent() as agent:
        await bed.until(lambda: bed.notification("plugin:annotator:battery"))
        reports = agent.status()["subsystems"]["instances"]["reports"]
        assert reports["annotator"]["detail"] == "low"
        annotator.health = lambda: HealthReport(resolved=("battery",))
        await bed.until(lambda: (bed.notification("plugin:annotator:battery") or {}).get("status") == "resolved")

        def dead() -> HealthReport:
            raise RuntimeError("no power")

        annotator.health = dead
        key = "plugin_health_check_failed:annotator"
        await bed.until(lambda: bed.notification(key))
        annotator.health = HealthReport
        await bed.until(lambda: (bed.notification(key) or {}).get("status") == "resolved")
    assert health_module.MISSED == 3
