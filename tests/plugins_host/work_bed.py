"""A home whose agent watches a small tree, and a plugin that does with its files what a test says."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from importlib_metadata import entry_points

from mosaicfs_core.agent import Agent
from mosaicfs_core.documents import ids
from mosaicfs_core.hooks import (
    HOOK_API,
    DocumentQuery,
    Endpoint,
    FileEvent,
    HealthReport,
    PluginManifest,
    ResultEnvelope,
    hookimpl,
)
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


async def data_is(bed: Bed, name: str, data: Mapping[str, Any]) -> bool:
    return (await bed.annotations()).get(name, {}).get("data") == data


async def all_done(agent: Agent, annotator: Annotator, files: int) -> bool:
    standing = await agent.jobs.queue.standing("annotator")
    counts = standing.counts
    done = sum(event.startswith("file.") for event, _ in annotator.seen()) >= files
    return done and standing.sync is None and not counts.pending and not counts.in_flight


async def waiting(agent: Agent, count: int) -> bool:
    standing = await agent.jobs.queue.standing("annotator")
    return standing.counts.pending == count and standing.sync is None


async def paused(agent: Agent) -> bool:
    return (await agent.jobs.queue.standing("annotator")).paused


async def in_flight(agent: Agent, count: int) -> bool:
    return (await agent.jobs.queue.standing("annotator")).counts.in_flight == count
