"""Protects plugins at work: files become events, and answers become annotations, once, whatever happens meanwhile."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import entry_points
from tests.plugins_host.work_bed import Annotator, Bed, all_done, annotator, bed, data_is

from mosaicfs_core.agent import Agent
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.jobs import Counts, JobQueue
from mosaicfs_core.testing.harness import Harness, plugin_at

__all__ = ["annotator", "bed"]


async def test_files_become_events_and_answers_become_annotations(bed: Bed, annotator: Annotator) -> None:
    (bed.tree / "a.txt").write_text("abc")
    (bed.tree / "b.bin").write_bytes(b"\0")
    async with bed.agent():
        found = await bed.until(bed.annotations)
        assert {name: one["data"] for name, one in found.items()} == {"a.txt": {"size": 3}}
        first = next(event for event in annotator.events if event.file)
        assert (first.event, first.local_path) == ("file.added", str(bed.tree / "a.txt"))
        (bed.tree / "a.txt").write_text("abcdef")
        await bed.until(lambda: data_is(bed, "a.txt", {"size": 6}))
        (bed.tree / "a.txt").rename(bed.tree / "c.txt")
        await bed.until(lambda: data_is(bed, "c.txt", {"size": 6}))
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
        await bed.until(lambda: data_is(bed, "a.txt", {"size": 3}))
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


async def _none(bed: Bed) -> bool:
    return not await bed.annotations()


async def test_what_changed_while_nobody_ran_is_processed_once(bed: Bed, annotator: Annotator) -> None:
    for number in range(5):
        (bed.tree / f"{number}.txt").write_text("x")
    async with bed.agent() as agent:
        await bed.until(lambda: all_done(agent, annotator, 5))
    annotator.events.clear()
    for number in range(3):
        (bed.tree / f"{number}.txt").write_text("xx")
    async with bed.agent() as agent:
        await agent.jobs.sync("annotator")
        await bed.until(lambda: all_done(agent, annotator, 3))
        assert await agent.jobs.sync("annotator") == {"annotator": True}
        await bed.until(lambda: all_done(agent, annotator, 3))
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
