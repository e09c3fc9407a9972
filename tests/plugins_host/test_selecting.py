"""Selections: what they hold at first, and every way in which that may change, without looking at everything again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks import SelectedFile, Selection
from mosaicfs_core.plugins import selecting
from mosaicfs_core.store import Store

NOW = 1_780_000_000_000_000
PDF = {"op": "glob", "pattern": "**/*.pdf"}


class World:
    """A replica, and selections over it: ``held`` is what they hold, kept up by what is told alone."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = NOW
        self.held: dict[str, tuple[str, ...]] = {}
        self.followed: selecting.Followed

    async def begin(self, **selections: Selection) -> dict[str, tuple[str, ...]]:
        self.followed = selecting.Followed({}, selections, lambda: self.now)
        return self._take(await self.store.read(self.followed.begin))

    async def advance(self, *, ages: bool = False) -> dict[str, tuple[str, ...]]:
        """What was told, by name of file; gone ones by their id."""
        told = self._take(await self.store.read(lambda reader: self.followed.advance(reader, ages=ages)))
        fresh = selecting.Followed({}, self.followed._selections, lambda: self.now)
        found = {file.file_id: file.selections for file in await self.store.read(fresh.begin)}
        assert self.held == found, "what was told does not add up to what is so"
        return told

    def _take(self, files: list[SelectedFile]) -> dict[str, tuple[str, ...]]:
        for file in files:
            if file.selections:
                self.held[file.file_id] = file.selections
            else:
                self.held.pop(file.file_id, None)
        return {file.file.name if file.file else file.file_id: file.selections for file in files}

    async def put(self, document: Mapping[str, Any]) -> dict[str, Any]:
        written = await self.store.update(document["_id"], lambda _: dict(document))
        assert written is not None
        return {key: value for key, value in written.items() if key != "_rev"}

    async def file(self, path: str, node: str = "node-a", *, age_days: float = 1, **more: Any) -> dict[str, Any]:
        identifier = d.file_document_id(node, d.first_file_uuid(node, path))
        return await self.put(
            {
                "_id": identifier,
                "type": "file",
                "inode": d.derived_inode(identifier),
                "name": d.name_of(path),
                "source": {"node_id": node, "export_path": path, "export_parent": d.parent_of(path)},
                "size": 1,
                "mtime": d.format_time(int(NOW - age_days * d.MICROS_PER_DAY)),
                "status": "active",
                **more,
            }
        )

    async def directory(self, path: str, *mounts: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        identifier = d.directory_document_id(path)
        return await self.put(
            {
                "_id": identifier,
                "type": "virtual_directory",
                "inode": d.derived_inode(identifier),
                "virtual_path": path,
                "name": d.name_of(path),
                "parent_path": d.parent_of(path),
                "created_at": d.format_time(NOW),
                "mounts": [{"mount_id": str(number), **mount} for number, mount in enumerate(mounts)],
                **fields,
            }
        )


def mount(source: str, node: str = "*", **fields: Any) -> dict[str, Any]:
    return {"source": {"node_id": node, "export_path": source}, **fields}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with await Store.open(tmp_path / "replica.db") as store:
        yield World(store)


async def test_files_by_steps_come_change_and_go(world: World) -> None:
    first = await world.file("/d/a.pdf")
    await world.file("/d/a.txt")
    assert await world.begin(papers=Selection(steps=(PDF,))) == {"a.pdf": ("papers",)}
    assert await world.advance() == {}
    await world.file("/d/b.pdf", "node-b")
    await world.file("/d/b.txt")
    assert await world.advance() == {"b.pdf": ("papers",)}
    await world.put({**first, "size": 7})
    assert await world.advance() == {"a.pdf": ("papers",)}
    moved = {**first["source"], "export_path": "/d/a.txt2"}
    await world.put({**first, "name": "a.txt2", "source": moved})
    assert await world.advance() == {"a.txt2": ()}
    await world.put(first)
    assert await world.advance() == {"a.pdf": ("papers",)}
    await world.put({**first, "status": "deleted", "deleted_at": d.format_time(NOW)})
    assert await world.advance() == {d.short_file_id(first["_id"]): ()}


async def test_what_a_directory_shows_at_any_depth(world: World) -> None:
    for path in ("/src/docs/a", "/src/docs/deep/er/b", "/src/other/c", "/elsewhere/d"):
        await world.file(path)
    await world.file("/src/docs/e", "node-b")
    await world.directory("/work", mount("/src", "node-a"))
    await world.directory("/work/flat", mount("/elsewhere", strategy="flatten", steps=[{**PDF, "invert": True}]))
    held = await world.begin(
        docs=Selection(directory="/work/docs"), all=Selection(directory="/work"), none=Selection(directory="/nowhere")
    )
    assert held == {"a": ("docs", "all"), "b": ("docs", "all"), "c": ("all",), "d": ("all",)}
    assert list(world.followed.warnings) == ["none"]
    await world.file("/src/docs/deep/new")
    await world.file("/elsewhere/x.pdf")
    assert await world.advance() == {"new": ("docs", "all")}
    await world.directory("/work/flat", mount("/elsewhere", strategy="flatten"))
    assert await world.advance() == {"x.pdf": ("all",)}
    await world.directory("/work", mount("/src", "node-b"))
    assert set(await world.advance()) == {"a", "b", "c", "new", "e"}
    await world.directory("/nowhere", mount("/src", "node-b"))
    assert await world.advance() == {"e": ("docs", "all", "none")}


async def test_chains_that_a_directory_inherits_narrow_it(world: World) -> None:
    for path in ("/s/a.pdf", "/s/a.txt"):
        await world.file(path)
    await world.directory("/top", steps=[PDF], enforce_steps_on_children=True)
    await world.directory("/top/in", mount("/s"))
    assert await world.begin(it=Selection(directory="/top/in")) == {"a.pdf": ("it",)}
    await world.directory("/top")
    assert await world.advance() == {"a.txt": ("it",)}
    narrower = Selection(directory="/top/in", steps=(PDF,))
    world.held.clear()
    assert await world.begin(it=narrower) == {"a.pdf": ("it",)}


async def test_labels_and_annotations(world: World) -> None:
    await world.file("/d/a")
    await world.file("/d/b")
    label = Selection(steps=({"op": "label", "labels": ["trip"]},))
    noted = Selection(steps=({"op": "annotation", "plugin_name": "seen", "key": "by", "value": "me"},))
    assert await world.begin(label=label, noted=noted) == {}
    assignment = {
        "_id": d.label_assignment_id("node-a", "/d/a"),
        "type": "label_assignment",
        "node_id": "node-a",
        "export_path": "/d/a",
        "labels": ["trip"],
        "updated_at": d.format_time(NOW),
    }
    await world.put(assignment)
    assert await world.advance() == {"a": ("label",)}
    rule = {
        "_id": d.label_rule_id("00000000-0000-4000-8000-000000000001"),
        "type": "label_rule",
        "node_id": "*",
        "path_prefix": "/d/",
        "labels": ["trip"],
        "name": "rule",
        "enabled": True,
        "created_at": d.format_time(NOW),
    }
    await world.put(rule)
    assert await world.advance() == {"b": ("label",)}
    await world.put({"_id": assignment["_id"], "type": "label_assignment", "node_id": "node-a", "_deleted": True})
    assert await world.advance() == {}
    time = d.format_time(NOW)
    await world.put(
        {
            "_id": d.annotation_id("node-a", "/d/b", "seen"),
            "type": "annotation",
            "node_id": "node-a",
            "export_path": "/d/b",
            "plugin_name": "seen",
            "annotated_by": "node-a",
            "data": {"by": "me"},
            "annotated_at": time,
            "updated_at": time,
            "source_mtime": time,
            "source_size": 1,
        }
    )
    assert await world.advance() == {"b": ("label", "noted")}
    await world.put({**rule, "enabled": False})
    assert await world.advance() == {"a": (), "b": ("noted",)}


async def test_time_alone_changes_what_is_recent(world: World) -> None:
    await world.file("/d/old", age_days=2.5)
    await world.file("/d/new", age_days=1)
    assert await world.begin(recent=Selection(steps=({"op": "age", "max_days": 3},))) == {
        "old": ("recent",),
        "new": ("recent",),
    }
    assert world.followed.expires_at == NOW + d.MICROS_PER_DAY // 2 + 1
    world.now += d.MICROS_PER_DAY
    assert await world.advance(ages=True) == {"old": ()}
    assert world.followed.expires_at == NOW + 2 * d.MICROS_PER_DAY + 1


async def test_a_chain_that_includes_nothing_by_itself(world: World) -> None:
    await world.file("/d/a")
    assert await world.begin(nothing=Selection(default_result="exclude"), all=Selection()) == {"a": ("all",)}


async def test_wrong_selections_are_refused_and_odd_ones_warned_of(world: World) -> None:
    async def checked(**fields: Any) -> tuple[str, ...]:
        return await world.store.read(lambda reader: selecting.check(reader, {}, Selection(**fields)))

    for fields, field in (
        ({"directory": "work"}, "directory"),
        ({"directory": "/work/"}, "directory"),
        ({"steps": ({"op": "glob"},)}, r"steps\[0\]"),
    ):
        with pytest.raises(UserError, match=f"^{field}"):
            await checked(**fields)
    (warning,) = await checked(steps=({"op": "phase_of_moon"},))
    assert "phase_of_moon" in warning
    assert await checked(steps=(PDF,)) == ()
    with pytest.raises(UserError):
        await world.begin(bad=Selection(directory="work"))


async def test_it_is_told_as_it_happens_and_ends_with_the_store(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "replica.db")
    world = World(store)
    await world.file("/d/a.pdf")
    await world.file("/d/soon.pdf", age_days=-1)
    selections = {"papers": Selection(steps=(PDF,)), "old": Selection(steps=({"op": "age", "min_days": 2},))}
    told: list[Any] = []
    clock = NOW
    async with (
        asyncio.timeout(20),
        aclosing(selecting.follow(store, {}, selections, now=lambda: clock, ages_every_s=0.01)) as follow,
    ):
        told.append(await anext(follow))
        told.append(await anext(follow))
        await world.file("/d/b.pdf")
        told.append(await anext(follow))
        clock = NOW + d.MICROS_PER_DAY + 1
        await world.file("/d/c.txt", age_days=0)
        told.append(await anext(follow))
        closing = asyncio.create_task(store.close())
        with pytest.raises(StopAsyncIteration):
            await anext(follow)
        await closing
    named = [[(file.file and file.file.name, file.selections) for file in files.files] for files in told]
    assert named[0] == [("a.pdf", ("papers",)), ("soon.pdf", ("papers",))]
    assert (named[1], told[1].complete, told[0].complete) == ([], True, False)
    assert named[2] == [("b.pdf", ("papers",))]
    assert sorted(named[3]) == [("a.pdf", ("papers", "old")), ("b.pdf", ("papers", "old"))]
