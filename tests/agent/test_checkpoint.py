"""Protects ``Checkpoint``: a crawl goes on after one only when all it has said is durable, deletions included."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mosaicfs_core.hooks import HOOK_API, Checkpoint, Complete, Create, Delete, PluginManifest, hookimpl
from mosaicfs_core.store import Reader
from mosaicfs_core.testing.harness import Harness, plugin_at


def names(replica: Path) -> set[str]:
    """The files that are durable now, as another process sees them."""
    reader = Reader.open(replica)
    try:
        docs = [doc for batch in reader.scan_files() for doc in batch.docs]
        return {row.name for row in reader.file_rows(docs)}
    finally:
        reader.close()


@pytest.fixture
def careful(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[set[str]]:
    """The module ``careful``, whose crawl looks at the replica after each checkpoint; what it found there."""
    module = ModuleType("careful")
    seen: list[set[str]] = []
    replica = tmp_path / "replica.db"

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(
            title="Careful", description="Looks.", version="1", hook_api=HOOK_API, provides_filesystem=True
        )

    @hookimpl
    async def mosaicfs_crawl(context: Any) -> AsyncIterator[Any]:
        yield [Create(export_path=f"/careful/{name}", size=1, mtime=1) for name in "abc"]
        yield Checkpoint()
        seen.append(names(replica))
        yield [Delete(export_path="/careful/a"), Checkpoint()]
        seen.append(names(replica))
        yield Create(export_path="/careful/d", size=1, mtime=1)
        yield Complete(prefix="/careful")

    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_crawl=mosaicfs_crawl)
    monkeypatch.setitem(sys.modules, "careful", module)
    return seen


async def test_what_was_said_before_a_checkpoint_is_durable_after_it(tmp_path: Path, careful: list[set[str]]) -> None:
    async with Harness.start(tmp_path, plugins=[plugin_at("careful", "careful")]) as harness:
        await harness.instance("careful")
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
        assert careful == [{"a", "b", "c"}, {"b", "c"}]
        assert names(harness.home.replica) == {"b", "c", "d"}, "what was named before a checkpoint was named"
