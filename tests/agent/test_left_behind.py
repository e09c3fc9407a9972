"""Protects instances that only watch: one that will not be cancelled indexes nothing once it was stopped, and no crawl
is asked of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mosaicfs_core.agent.indexer import Report
from mosaicfs_core.agent.runner import Runner
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.hooks import HOOK_API, CrawlRequest, Create, PluginManifest, hookimpl
from mosaicfs_core.testing.faults import faulty
from mosaicfs_core.testing.harness import Harness, plugin_at


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[Callable[..., Any]]:
    """The ``emit`` of the module ``clinging``'s watcher, kept beyond its end."""
    module = ModuleType("clinging")
    emits: asyncio.Queue[Callable[..., Any]] = asyncio.Queue()

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(
            title="Clinging", description="Keeps on.", version="1", hook_api=HOOK_API, provides_filesystem=True
        )

    @hookimpl
    async def mosaicfs_watch(context: Any, emit: Any) -> None:
        await emits.put(emit)
        await asyncio.Event().wait()

    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_watch=mosaicfs_watch)
    monkeypatch.setitem(sys.modules, "clinging", module)
    return emits


async def test_the_nightly_crawl_asks_no_instance_that_only_watches(
    tmp_path: Path, kept: asyncio.Queue[Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Runner.crawl

    def crawl(self: Runner, request: CrawlRequest) -> asyncio.Future[Report]:
        asked.append(self.name)
        return real(self, request)

    monkeypatch.setattr(Runner, "crawl", crawl)
    plugins = [plugin_at("clinging", "clinging"), *faulty("restless")]
    async with Harness.start(tmp_path, plugins=plugins) as harness:
        for name in ("clinging", "restless"):
            await harness.instance(name)
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.tend()
        assert asked == ["restless"]


async def test_what_a_stopped_watcher_says_is_refused(tmp_path: Path, kept: asyncio.Queue[Callable[..., Any]]) -> None:
    async with Harness.start(tmp_path, plugins=[plugin_at("clinging", "clinging")]) as harness:
        await harness.instance("clinging")
        seen = Create(export_path="/clinging/a", size=1, mtime=0)
        async with asyncio.timeout(20), harness.agent():
            emit = await kept.get()
            await emit([seen])
        assert harness.store.reader.file_by_path(harness.core.node_id, "/clinging/a") is not None
        with pytest.raises(MosaicError, match="was stopped"):
            await emit([Create(export_path="/clinging/b", size=1, mtime=0)])
        assert harness.store.reader.file_by_path(harness.core.node_id, "/clinging/b") is None
