"""Protects a stranger's crawl source inside the real agent: its files are indexed, read back, changed by settings."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import Complete, Create, FileQuery, Rename
from mosaicfs_core.plugins.operations import check_yielded
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.testing import Harness, plugin_at
from mosaicfs_core.testing.faults import faulty

pytestmark = pytest.mark.logs("^plugin ")

SOURCE = Path(__file__).resolve().parents[1] / "third_party_example" / "src"


async def names(harness: Harness) -> dict[str, bytes]:
    """What is indexed, with the bytes that come back."""
    context = harness.instances.current["recipes"].context
    page = await context.find_files(FileQuery())
    return {file.export_path: b"".join([part async for part in context.open_file(file)]) for file in page.items}


async def test_its_files_are_indexed_and_readable_beside_plugins_that_misbehave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SOURCE))
    plugins = [plugin_at("recipes", "recipes_for_mosaicfs"), *faulty("raises", "lies", "fails_to_import")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness:
        await harness.instance("recipes", {"recipes": {"Soup": "Boil water."}})
        for bad in ("raises", "lies"):
            await harness.instance(bad)
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
            context = harness.instances.current["recipes"].context
            page = await context.find_files(FileQuery(path_prefix="/recipes"))
            (soup,) = page.items
            assert b"".join([part async for part in context.open_file(soup)]) == b"Boil water."
            assert await context.local_path(soup) == harness.home.path / "bridge-data/files/recipes/Soup.txt"
            failed = {failure.plugin for failure in harness.host.failures}
            assert failed == {"raises", "lies"}
            with pytest.raises(PluginError, match="boom"):
                await agent.crawl("raises")


async def test_new_settings_are_crawled_while_the_agent_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SOURCE))
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("recipes", "recipes_for_mosaicfs")]) as harness:
        await harness.instance("recipes", {"recipes": {}})
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
            await harness.store.update(
                ids.plugin_document_id(harness.core.node_id, "recipes"),
                lambda present: {**(present or {}), "settings": {"recipes": {"Tea": "Boil water."}}},
            )
            async for change in harness.store.changes(0, live=True, types={"file"}):
                assert change.id.startswith("file::")
                break
            await harness.instances.refresh()
            assert await names(harness) == {"/recipes/Tea.txt": b"Boil water."}


def test_a_filesystem_may_not_name_or_complete_what_is_not_its_own() -> None:
    own = Places(("/recipes",), on_disk=False)
    mine = Create(export_path="/recipes/a", size=1, mtime=1)
    assert check_yielded([mine, Complete(prefix="/recipes")], own) is None
    for foreign in (
        Complete(prefix="/"),
        Create(export_path="/recipes-not/a", size=1, mtime=1),
        Rename(export_path="/recipes/a", previous_export_path="/home/a"),
    ):
        assert "does not lie beneath its own /recipes" in (check_yielded(foreign, own) or "")
        assert check_yielded(foreign) is None
