"""Protects the tree of a fresh instance: it follows the watched folders, and never undoes what the user did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.content import ProvidedRoot, WatchedRoot
from mosaicfs_core.store import Store
from mosaicfs_vfs.directories import Directories
from mosaicfs_vfs.namespace.edits import new_directory
from mosaicfs_vfs.seeds import Seeder, plan

VIEWS = {"/documents", "/large", "/pictures", "/recent"}


class Garden:
    """A store with a seeder."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.directories = Directories(store, {})
        self.seeder = Seeder(store, self.directories)

    async def watch(self, *paths: str, node: str = "node-a", name: str | None = "Laptop") -> None:
        """Set the watched folders of a node, and let the seeder look."""
        plugin = {
            "_id": d.plugin_document_id(node, "localfs"),
            "type": "plugin",
            "node_id": node,
            "plugin_name": "localfs",
            "name": "Local files",
            "watches": "paths",
            "settings": {"paths": list(paths)},
            "created_at": d.format_time(0),
        }
        await self.store.update(plugin["_id"], lambda _: plugin)
        if name is not None:
            document = {"_id": d.node_document_id(node), "type": "node", "node_id": node, "friendly_name": name}
            await self.store.update(document["_id"], lambda _: document)
        await self.seeder.run()

    async def provide(self, name: str, node: str = "node-a", **fields: Any) -> None:
        """Let a node have an instance whose files are its own, and let the seeder look."""
        plugin = {
            "_id": d.plugin_document_id(node, name),
            "type": "plugin",
            "node_id": node,
            "plugin_name": name,
            "name": name.title(),
            "provides_filesystem": True,
            "file_path_prefix": f"/{name}",
            "created_at": d.format_time(0),
            **fields,
        }
        await self.store.update(plugin["_id"], lambda _: plugin)
        await self.seeder.run()

    async def tree(self) -> dict[str, list[tuple[str, str]]]:
        """Directories with the sources of their mounts."""
        documents = await self.store.read(lambda reader: reader.documents_of("virtual_directory"))
        return {
            one["virtual_path"]: [(m["source"]["node_id"], m["source"]["export_path"]) for m in one["mounts"]]
            for one in documents
        }

    async def change(self, path: str, **fields: Any) -> None:
        await self.directories.change(path, fields, lambda _: None)

    async def remove(self, path: str) -> None:
        await self.directories.remove(path, lambda _: None, force=True)


@pytest.fixture
async def garden(tmp_path: Path) -> AsyncIterator[Garden]:
    async with await Store.open(tmp_path / "replica.db") as store:
        yield Garden(store)


async def test_a_fresh_instance(garden: Garden) -> None:
    await garden.watch("/home/u/Documents", "/home/u/Pictures")
    both = [("node-a", "/home/u/Documents"), ("node-a", "/home/u/Pictures")]
    assert await garden.tree() == {
        "/": [],
        "/machines": [],
        "/machines/Laptop": [],
        "/machines/Laptop/Documents": both[:1],
        "/machines/Laptop/Pictures": both[1:],
        **dict.fromkeys(sorted(VIEWS), both),
    }
    recent = await garden.directories.get("/recent")
    assert recent["mounts"][0]["source_prefix"] == "/home/u"
    assert recent["mounts"][0]["steps"] == [{"op": "age", "max_days": 30}]
    seq = garden.store.seq
    await garden.seeder.run()
    assert garden.store.seq == seq


async def test_files_that_a_plugin_provides_have_a_place_until_it_is_removed(garden: Garden) -> None:
    await garden.watch("/a")
    await garden.provide("recipes")
    both = [("node-a", "/a"), ("node-a", "/recipes")]
    tree = await garden.tree()
    assert tree["/machines/Laptop/recipes"] == both[1:]
    assert {view: tree[view] for view in VIEWS} == dict.fromkeys(VIEWS, both)
    await garden.provide("recipes", enabled=False)
    assert await garden.tree() == tree
    await garden.provide("recipes", _deleted=True)
    tree = await garden.tree()
    assert "/machines/Laptop/recipes" not in tree
    assert tree["/recent"] == both[:1]


async def test_a_folder_in_the_home_is_seeded_where_its_files_are(
    garden: Garden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    await garden.watch("~/Documents", "/home/u/Documents/../Pictures/", "/home/u/Documents")
    tree = await garden.tree()
    assert tree["/recent"] == [("node-a", "/home/u/Documents"), ("node-a", "/home/u/Pictures")]
    assert {"/machines/Laptop/Documents", "/machines/Laptop/Pictures"} <= set(tree)


async def test_a_new_folder_is_added_and_a_dropped_one_goes(garden: Garden) -> None:
    await garden.watch("/a")
    await garden.watch("/b")
    tree = await garden.tree()
    assert tree["/recent"] == [("node-a", "/b")]
    assert "/machines/Laptop/a" not in tree
    assert tree["/machines/Laptop/b"] == [("node-a", "/b")]
    await garden.watch("/a", "/b")
    assert (await garden.tree())["/machines/Laptop/a"] == [("node-a", "/a")]


async def test_a_renamed_machine_leaves_no_empty_place_behind(garden: Garden) -> None:
    await garden.watch("/home/u/Documents", name="vm")
    await garden.watch("/home/u/Documents", name="laptop")
    assert {path for path in await garden.tree() if path.startswith("/machines/")} == {
        "/machines/laptop",
        "/machines/laptop/Documents",
    }
    await garden.store.transaction(lambda tx: tx.put(new_directory("/machines/laptop/mine", 0)))
    await garden.watch("/home/u/Documents", name="desk")
    assert {"/machines/laptop", "/machines/laptop/mine", "/machines/desk"} <= set(await garden.tree())


async def test_what_the_user_removed_stays_removed(garden: Garden) -> None:
    await garden.watch("/a")
    await garden.remove("/recent")
    await garden.remove("/machines/Laptop/a")
    await garden.change("/large", mounts=[])
    await garden.watch("/a", "/b")
    tree = await garden.tree()
    assert "/recent" not in tree
    assert "/machines/Laptop/a" not in tree
    assert tree["/large"] == [("node-a", "/b")]
    await garden.remove("/machines")
    await garden.watch("/a", "/b", "/c")
    assert "/machines" not in await garden.tree()


async def test_what_the_user_edited_is_left_alone(garden: Garden) -> None:
    await garden.watch("/a", "/b")
    pictures = await garden.directories.get("/pictures")
    edited = [{**pictures["mounts"][0], "strategy": "flatten"}, *pictures["mounts"][1:]]
    await garden.change("/pictures", mounts=edited)
    await garden.watch()
    tree = await garden.tree()
    assert tree["/pictures"] == [("node-a", "/a")]
    assert tree["/recent"] == []


async def test_what_was_there_before_is_taken_in(garden: Garden) -> None:
    own = new_directory("/recent", 0, {"mounts": [{"source": {"node_id": "*", "export_path": "/mine"}}]})
    await garden.store.put(own)
    await garden.watch("/a")
    assert (await garden.tree())["/recent"] == [("*", "/mine"), ("node-a", "/a")]


def test_the_plan_keeps_machines_and_folders_of_one_name_apart() -> None:
    roots = [
        WatchedRoot("node-a", "/home/u/Documents"),
        WatchedRoot("node-a", "/work/Documents"),
        WatchedRoot("node-b", "/"),
    ]
    places = [seed.path for seed in plan(roots, [], {"node-a": "A/B", "node-b": ".."}) if seed.path not in VIEWS]
    assert places[0] == "/machines/A-B/Documents"
    assert places[1].startswith("/machines/A-B/Documents (")
    assert places[2] == "/machines/machine/filesystem"
    assert len(set(places)) == 3


def test_a_plugin_gives_way_to_a_folder_of_its_name() -> None:
    for watched in ("/home/u/recipes", "/z/recipes"):
        roots, own = [WatchedRoot("node-a", watched)], [ProvidedRoot("node-a", "/recipes", "recipes")]
        places = [seed for seed in plan(roots, own, {"node-a": "A"}) if seed.path not in VIEWS]
        assert (places[0].path, places[0].mount["source"]["export_path"]) == ("/machines/A/recipes", watched)
        assert places[1].path.startswith("/machines/A/recipes (")
