"""Protects the promise that a plugin goes without a trace: what a removed instance indexed, provided and kept is gone,
whether its package is still there or not, and nothing of anybody else is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent.indexer import Indexer
from mosaicfs_core.agent.removed import Removals
from mosaicfs_core.documents import ids
from mosaicfs_core.hooks import Notice
from mosaicfs_core.plugins.prefixes import tombstone_of
from mosaicfs_core.replication import recovery
from mosaicfs_core.testing.harness import Harness, plugin_at
from mosaicfs_core.testing.store import assignment

SOURCE = Path(__file__).resolve().parents[1] / "third_party_example" / "src"
Write = Callable[[Path, Mapping[str, str]], None]


@pytest.fixture(autouse=True)
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SOURCE))


def is_indexed(harness: Harness) -> bool:
    return harness.store.reader.file_by_path(harness.core.node_id, "/recipes/Soup.txt") is not None


async def remove(harness: Harness, name: str, *, told: bool = True) -> None:
    """Remove an instance as the API does, or (not ``told``) as releases did that did not say where its files were."""

    def bury(present: dict[str, Any] | None) -> dict[str, Any]:
        tombstone = tombstone_of(present or {}, None)
        return tombstone if told else {key: value for key, value in tombstone.items() if key != "places"}

    await harness.store.update(ids.plugin_document_id(harness.core.node_id, name), bury)


async def gone(harness: Harness) -> None:
    kept = harness.home.state_dir / "recipes", harness.core.bridge_files / "recipes"
    while is_indexed(harness) or any(directory.exists() for directory in kept):
        await harness.store.wait(harness.store.seq, 0.05)


async def test_what_it_indexed_provided_and_kept_goes_at_once(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("recipes", "recipes_for_mosaicfs")]) as harness:
        context = await harness.instance("recipes", {"recipes": {"Soup": "Boil water."}})
        (context.state_dir / "cursor").touch()
        await context.raise_notification(Notice(key="stale", severity="info", title="Old recipes"))
        stranger = context.files_dir / "recipes-not" / "file"
        stranger.parent.mkdir()
        stranger.touch()
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
            assert is_indexed(harness)
            await remove(harness, "recipes")
            await gone(harness)
            key = ids.notification_document_id(harness.core.node_id, "plugin:recipes:stale")
            assert (harness.store.reader.get(key) or {})["status"] == "resolved"
        assert stranger.exists()


@pytest.mark.parametrize("told", [True, False])
async def test_a_removal_while_nothing_ran_is_heeded_without_the_package(tmp_path: Path, told: bool) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("recipes", "recipes_for_mosaicfs")]) as harness:
        await harness.instance("recipes", {"recipes": {"Soup": "Boil water."}})
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
        await remove(harness, "recipes", told=told)
        assert is_indexed(harness)
    async with Harness.start(tmp_path / "home", plugins=[]) as harness, asyncio.timeout(20), harness.agent():
        await gone(harness)


async def test_an_instance_without_a_document_keeps_what_it_has(tmp_path: Path) -> None:
    """Its document may only not have come yet."""
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("recipes", "recipes_for_mosaicfs")]) as harness:
        await harness.instance("recipes", {"recipes": {"Soup": "Boil water."}})
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
            await agent._removals.sweep({})
        assert is_indexed(harness)
        assert (harness.core.bridge_files / "recipes" / "Soup.txt").exists()


async def test_one_that_a_control_plane_has_forgotten_keeps_what_it_has(tmp_path: Path) -> None:
    """Nobody has removed it: the control plane was set back to before it."""
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("recipes", "recipes_for_mosaicfs")]) as harness:
        await harness.instance("recipes", {"recipes": {"Soup": "Boil water."}})
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
        name = ids.plugin_document_id(harness.core.node_id, "recipes")
        removal = {"_id": name, "_rev": recovery.gone(name), "_deleted": True, "type": "plugin"}
        removal["node_id"] = harness.core.node_id
        await harness.store.transaction(lambda tx: tx.replace([removal]))
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
            await agent._removals.sweep({})
        assert is_indexed(harness)
        assert (harness.core.bridge_files / "recipes" / "Soup.txt").exists()


async def test_folders_that_it_only_watched_leave_the_index_and_stay_on_disk(node: Any, write: Write) -> None:
    write(node.tree, {"f": "", "deep/g": ""})
    await node.start()
    assert set(node.rows()) == {"f", "deep/g"}
    document = ids.plugin_document_id(node.core.node_id, "localfs")
    await node.core.store.update(document, lambda present: tombstone_of(present or {}, None))
    await node.settled(lambda: not node.rows())
    assert (node.tree / "deep" / "g").exists()


async def test_one_that_came_back_keeps_its_files(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("recipes", "recipes_for_mosaicfs")]) as harness:
        await harness.instance("recipes", {"recipes": {"Soup": "Boil water."}})
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
        await remove(harness, "recipes")
        await harness.instance("recipes", {"recipes": {"Soup": "Boil water."}})
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
            await agent._removals.sweep(harness.instances.current)
            assert is_indexed(harness)
            assert (harness.core.bridge_files / "recipes" / "Soup.txt").exists()


@pytest.mark.parametrize("name", ["", "..", "../..", "../precious", "recipes/../../precious", "/etc"])
async def test_a_name_that_no_instance_can_have_removes_nothing(tmp_path: Path, name: str) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("recipes", "recipes_for_mosaicfs")]) as harness:
        context = await harness.instance("recipes", {"recipes": {"Soup": "Boil water."}})
        precious = tmp_path / "home" / "precious" / "file"
        precious.parent.mkdir()
        kept = [precious, context.state_dir / "cursor"]
        for file in kept:
            file.touch()
        identifier = f"plugin::{harness.core.node_id}::{name}"
        tombstone = {"_id": identifier, "_rev": "2-aa", "_deleted": True, "type": "plugin"}
        # As a hub, or a release that did not look, might hand it over.
        await harness.store.bulk([{**tombstone, "_revisions": {"start": 2, "ids": ["aa", "bb"]}}], new_edits=False)
        async with asyncio.timeout(20), harness.agent() as agent:
            await agent.first_crawl_done.wait()
            while await harness.store.local_get("removed-instances") is None:
                await harness.store.wait(harness.store.seq, 0.05)
        assert all(file.exists() for file in kept)


async def test_what_was_looked_at_for_long_in_vain_is_not_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaicfs_core.agent.removed.FAR", 3)
    async with Harness.start(tmp_path / "home", plugins=[]) as harness:
        store, removals = harness.store, Removals(harness.core, Indexer(harness.store))

        async def looked_up_to() -> int:
            await removals.sweep({})
            return int((await store.local_get("removed-instances") or {})["seq"])

        begun = await looked_up_to()
        assert begun == store.seq
        noted = []
        for number in range(5):
            await store.bulk([assignment(f"/file{number}", "label")])
            noted.append(await looked_up_to() - begun)
        assert noted == [0, 0, 3, 3, 3]
