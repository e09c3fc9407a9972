"""Protects the files of one source on disk from another one, with the whole agent between them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from importlib_metadata import entry_points

from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import (
    HOOK_API,
    Complete,
    Create,
    Delete,
    Directory,
    FileOperation,
    PluginManifest,
    Rename,
    hookimpl,
)
from mosaicfs_core.testing.harness import Harness, plugin_at

FOLDERS = {"type": "array", "title": "Places", "items": {"type": "string"}, "default": []}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[FileOperation]:
    """What the plugin ``stranger``, which watches the folders of its setting ``places``, says in a crawl."""
    operations: list[FileOperation] = []

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(
            title="Stranger",
            description="Says anything.",
            version="1",
            hook_api=HOOK_API,
            settings_schema={"type": "object", "properties": {"places": FOLDERS}},
            watches="places",
        )

    @hookimpl
    async def mosaicfs_crawl(context: Any) -> AsyncIterator[Sequence[FileOperation]]:
        yield list(operations)

    module = ModuleType("stranger")
    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_crawl=mosaicfs_crawl)
    monkeypatch.setitem(sys.modules, "stranger", module)
    return operations


@pytest.mark.logs("stranger: mosaicfs_crawl yielded .* does not lie beneath its watched folders")
async def test_a_source_on_disk_takes_nothing_from_localfs(said: list[FileOperation], tmp_path: Path) -> None:
    localfs = entry_points(group="mosaicfs", name="localfs")
    tree, place = tmp_path / "tree", tmp_path / "place"
    for folder in (tree, place):
        folder.mkdir()
        (folder / "file").write_text("x")
    named = Create(export_path=f"{place}/file", size=1, mtime=1)
    said.append(named)
    async with Harness.start(tmp_path / "home", plugins=[*localfs, plugin_at("stranger", "stranger")]) as harness:
        await harness.instance("localfs", {"paths": [str(tree)], "watch": False})
        await harness.instance("stranger", {"places": [str(place)]})

        def indexed() -> set[str]:
            reader = harness.store.reader
            docs = [doc for batch in reader.scan_files() for doc in batch.docs]
            return {row.export_path for row in reader.file_rows(docs)}

        async with harness.agent() as agent:
            await agent.first_crawl_done.wait()
            both = {f"{tree}/file", f"{place}/file"}
            assert indexed() == both
            for refused in (
                Complete(prefix="/"),
                Create(export_path=f"{tree}/file", size=7, mtime=7),
                Rename(export_path=f"{place}/other", previous_export_path=f"{tree}/file"),
            ):
                said[:] = [named, refused]
                with pytest.raises(PluginError, match="does not lie beneath its watched folders"):
                    await agent.crawl("stranger")
                assert indexed() == both
            for vain in (
                Delete(export_path=str(tree)),
                Directory(export_path=str(tmp_path), files=(), directories=(place.name,)),
            ):
                said[:] = [named, vain]
                await agent.crawl("stranger")
                assert indexed() == both
            said[:] = [Complete(prefix=str(place))]
            await agent.crawl("stranger")
            assert indexed() == {f"{tree}/file"}
