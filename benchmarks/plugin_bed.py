"""An agent in this process with one plugin to measure, whose files appear all at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from importlib_metadata import entry_points

from mosaicfs_core.agent import Agent
from mosaicfs_core.documents import ids
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.hooks import ENTRY_POINT_GROUP, RunningPlugin, now_text
from mosaicfs_core.testing.harness import Harness, plugin_at

PLUGIN = "annotator"
LOOK_S = 0.02
NEEDED = ("localfs", "external")


@dataclass(frozen=True)
class Bed:
    """A home, its agent, and the root that it crawls, which has no files at first."""

    harness: Harness
    agent: Agent
    root: Path

    async def change(self, **fields: Any) -> None:
        """Write these fields of the plugin's instance."""
        identifier = ids.plugin_document_id(self.harness.core.node_id, PLUGIN)
        await self.harness.store.update(identifier, lambda present: {**(present or {}), **fields})

    async def until_idle(self) -> None:
        """Until the plugin has nothing to do, and no full sync is under way. Raises ``RuntimeError`` when a job failed
        for good: what is measured then means nothing."""
        while True:
            standing = await self.agent.jobs.queue.standing(PLUGIN)
            if standing.counts.failed:
                page = await self.agent.jobs.queue.jobs(PLUGIN, "failed", limit=1)
                raise RuntimeError(f"a job failed: {page}")
            if standing.sync is None and not (standing.counts.pending or standing.counts.in_flight):
                return
            await asyncio.sleep(LOOK_S)

    async def until_connected(self) -> None:
        """Until the plugin is there."""
        while self.running.problem is not None:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(LOOK_S)

    async def pause(self) -> None:
        """Once its first full sync is over, have the plugin take no jobs until ``change(paused=False)``."""
        await self.until_idle()
        await self.change(paused=True)
        while not (await self.agent.jobs.queue.standing(PLUGIN)).paused:
            await self.harness.store.wait(self.harness.store.seq, 0.05)

    async def crawl_seconds(self, tree: Path) -> float:
        """Have the files of ``tree`` appear, and crawl them."""
        (self.root / tree.name).mkdir()
        for entry in sorted(tree.iterdir()):
            entry.rename(self.root / tree.name / entry.name)
        begun = time.perf_counter()
        await self.agent.crawl("localfs")
        taken = time.perf_counter() - begun
        for entry in sorted((self.root / tree.name).iterdir()):
            entry.rename(tree / entry.name)
        return taken

    async def jobs_per_second(self, tree: Path, files: int) -> float:
        """Enqueue a job for each of ``files`` files while the plugin is paused, and measure from when it may go on."""
        await self.pause()
        await self.crawl_seconds(tree)
        await self.expect_waiting(files)
        begun = time.perf_counter()
        await self.change(paused=False)
        await self.until_idle()
        return files / (time.perf_counter() - begun)

    async def expect_waiting(self, files: int) -> None:
        """Raise ``RuntimeError`` unless a job waits for each of ``files`` files."""
        pending = (await self.agent.jobs.queue.standing(PLUGIN)).counts.pending
        if pending != files:
            raise RuntimeError(f"{pending:,} jobs wait instead of {files:,}")

    @property
    def running(self) -> RunningPlugin:
        """What runs the plugin."""
        return self.agent.jobs.running(PLUGIN)[0]


@contextlib.asynccontextmanager
async def bed(base: Path, instance: Mapping[str, Any] | None, program: Path | None = None) -> AsyncIterator[Bed]:
    """An agent in ``base``, with an instance of the annotator that has these fields; None: without. ``program`` is put
    into the plugin directory."""
    root = base / "root"
    root.mkdir(parents=True)
    plugins = [next(iter(entry_points(group=ENTRY_POINT_GROUP, name=name))) for name in NEEDED]
    async with Harness.start(base / "home", plugins=[*plugins, plugin_at(PLUGIN, "benchmarks.annotator")]) as harness:
        await harness.instance("localfs", {"paths": [os.fspath(root)], "watch": False})
        if program is not None:
            harness.home.plugins_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            placed = harness.home.plugins_dir / PLUGIN
            placed.write_bytes(program.read_bytes())
            placed.chmod(0o700)
        if instance is not None:
            document = instance_document(harness.core.node_id, PLUGIN, created_at=now_text())
            await harness.store.put({**document, **instance})
            await harness.instances.refresh()
        async with harness.agent() as agent:
            await agent.first_crawl_done.wait()
            yield Bed(harness, agent, root)
