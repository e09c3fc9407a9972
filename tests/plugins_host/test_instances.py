"""Protects instances: what runs on a node follows its plugin documents, and defaults are made once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import Agent
from mosaicfs_core.documents import ids, times
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.instances import Instances
from mosaicfs_core.plugins.prefixes import clashes, places_of
from mosaicfs_core.testing import Harness, plugin_at
from mosaicfs_core.testing.faults import faulty

pytestmark = pytest.mark.logs("^plugin fails_to_import ")

HERE = "mosaicfs_core.testing.faults"


def document(harness: Harness, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "_id": ids.plugin_document_id(harness.core.node_id, name),
        "type": "plugin",
        "node_id": harness.core.node_id,
        "plugin_name": name,
        "name": name,
        "enabled": True,
        "created_at": times.format_time(times.now_micros()),
        **fields,
    }


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    plugins = [*faulty("restless", "needs_settings", "fails_to_import"), plugin_at("default", f"{HERE}:default_on")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as made:
        yield made


async def test_default_instances_are_made_once_and_stay_deleted(harness: Harness) -> None:
    instances = Instances(harness.core)
    assert await instances.ensure_defaults({"default": {"folder": "/x"}}) == ["default"]
    made = (await instances.refresh())["default"]
    assert (made.enabled, made.problem, made.settings) == (True, None, {"folder": "/x"})
    assert await instances.ensure_defaults() == []
    await harness.store.update(made.document["_id"], lambda present: {**(present or {}), "_deleted": True})
    assert await instances.ensure_defaults() == []
    assert await instances.refresh() == {}


async def test_documents_keep_of_their_packages_what_the_installed_ones_say(harness: Harness) -> None:
    context = await harness.instance("needs_settings", {"folder": "/x"})
    place = ids.plugin_document_id(context.node_id, "needs_settings")
    whole = await harness.store.get(place)
    assert whole is not None

    def forget(present: dict[str, Any] | None) -> dict[str, Any]:
        facts = {**(present or {}), "watches": "folder"}
        del facts["settings_schema"]
        return facts

    await harness.store.update(place, forget)
    await Instances(harness.core).ensure_defaults()
    again = await harness.store.get(place)
    assert again is not None
    assert {**again, "_rev": ""} == {**whole, "_rev": ""}
    assert await Instances(harness.core).ensure_defaults() == []
    assert await harness.store.get(place) == again


async def test_an_instance_that_cannot_run_says_why(harness: Harness) -> None:
    for name, fields in {
        "gone": {},
        "fails_to_import": {},
        "program": {"plugin_type": "executable"},
        "needs_settings": {"settings": {"depth": "deep"}},
        "restless": {"paused": True},
    }.items():
        await harness.store.put(document(harness, name, **fields))
    found = await harness.instances.refresh()
    assert found["gone"].problem == "no plugin gone is installed"
    assert [name for name, one in sorted(found.items()) if one.uninstalled] == ["gone"]
    assert "boom at import" in (found["fails_to_import"].problem or "")
    assert "executable" in (found["program"].problem or "")
    assert found["needs_settings"].problem == (
        "setting depth: 'deep' is not of type 'integer'; setting folder: is required"
    )
    assert not found["needs_settings"].runs("mosaicfs_crawl")
    assert found["restless"].problem is None
    assert not found["restless"].runs("mosaicfs_crawl")


async def test_the_status_tells_what_failed_to_load_and_what_is_not_to_run(harness: Harness) -> None:
    await harness.store.put(document(harness, "restless", enabled=False))
    await harness.store.put(document(harness, "default", paused=True))
    async with Agent(harness.core) as agent:
        part = agent.status()["subsystems"]["plugins"]
    assert part["status"] == "degraded"
    assert "fails_to_import: RuntimeError: boom at import" in part["detail"]
    assert "default: paused; restless: switched off" in part["detail"]
    assert part["held_back"] == {"default": "paused", "restless": "switched off"}


async def test_what_is_left_out_by_name_is_no_failure(harness: Harness) -> None:
    await harness.store.put(document(harness, "restless"))
    host = PluginHost.discover(only={"restless"}, disabled={"restless"}, entry_points=faulty("restless"))
    async with Agent(dataclasses.replace(harness.core, host=host)) as agent:
        status = agent.status()
    assert status["subsystems"]["plugins"]["held_back"] == {"restless": "disabled by name"}
    assert (status["subsystems"]["plugins"]["status"], status["overall"]) == ("healthy", "healthy")


@pytest.mark.parametrize("told", ["nothing", "at first", "later"])
async def test_a_default_instance_goes_with_its_package_unless_it_was_told_anything(tmp_path: Path, told: str) -> None:
    changed, first = told != "nothing", {"default": {"folder": "/x"}} if told == "at first" else None
    plugins = [plugin_at("default", f"{HERE}:default_on")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as made:
        assert await Instances(made.core).ensure_defaults(first) == ["default"]
        place = ids.plugin_document_id(made.core.node_id, "default")
        if told == "later":
            await made.store.update(place, lambda present: {**(present or {}), "name": "Mine"})
    async with Harness.start(tmp_path / "home", plugins=faulty("restless")) as without:
        await Instances(without.core).ensure_defaults()
        assert (await without.store.get(place) is not None) is changed
        async with Agent(without.core) as agent:
            part = agent.status()["subsystems"]["plugins"]
        assert (part["status"], part["detail"]) == ("healthy", "default: not installed" if changed else "")
    async with Harness.start(tmp_path / "home", plugins=plugins) as again:
        assert await Instances(again.core).ensure_defaults() == ([] if changed else ["default"])
        assert await again.store.get(place) is not None


async def test_two_instances_of_one_package_have_their_own_settings_with_defaults(harness: Harness) -> None:
    for name in ("left", "right"):
        settings = {"folder": name}
        await harness.store.put(
            document(harness, name, package="needs_settings", config={"depth": 1}, settings=settings)
        )
    await harness.store.put(document(harness, "right2", package="needs_settings", settings={"folder": "r"}))
    found = await harness.instances.refresh()
    assert found["left"].context.config == {"folder": "left", "depth": 1}
    assert found["right2"].context.config == {"folder": "r", "depth": 3}
    assert found["left"].runs("mosaicfs_crawl")
    assert found["left"].context.state_dir != found["right"].context.state_dir


def made(second: int) -> str:
    return times.format_time(1_700_000_000_000_000 + second * 1_000_000)


async def test_files_of_an_instance_may_not_lie_among_those_of_another(harness: Harness) -> None:
    def place(prefix: str) -> dict[str, Any]:
        return {"package": "restless", "provides_filesystem": True, "file_path_prefix": prefix}

    for name, fields in {
        "first": {**place("/mail"), "created_at": made(1)},
        "beneath": {**place("/mail/work"), "created_at": made(2)},
        "above": {**place("/"), "created_at": made(3)},
        "beside": {**place("/mailbox"), "enabled": False, "created_at": made(4)},
        "equal": {**place("/mailbox"), "created_at": made(5)},
        "watched": {**place("/srv"), "created_at": made(0)},
        "localfs": {"watches": "paths", "settings": {"paths": ["/srv/data"]}, "created_at": made(9)},
    }.items():
        await harness.store.put(document(harness, name, **fields))
    found = await harness.instances.refresh()
    wrong = {name: found[name].problem for name in found if found[name].package == "restless" and found[name].problem}
    assert set(wrong) == {"beneath", "above", "equal", "watched"}
    assert "overlaps /mail, where the files of first are" in str(wrong["beneath"])
    assert "overlaps the watched folder /srv/data" in str(wrong["watched"])
    assert not found["equal"].runs("mosaicfs_crawl")


async def test_no_two_instances_watch_one_folder(harness: Harness) -> None:
    def watching(second: int, *folders: str) -> dict[str, Any]:
        settings = {"paths": list(folders)}
        return {"package": "restless", "watches": "paths", "settings": settings, "created_at": made(second)}

    for name, fields in {
        "first": watching(1, "/srv/data", "/srv/data/beneath", "/home"),
        "beneath": watching(2, "/mnt", "/srv/data/x"),
        "above": watching(3, "/srv"),
        "beside": watching(4, "/srv/database") | {"enabled": False},
        "equal": watching(5, "/srv/database/"),
    }.items():
        await harness.store.put(document(harness, name, **fields))
    documents = harness.store.reader.documents_of("plugin", (harness.core.node_id,))
    wrong = clashes(documents, lambda package: None)
    assert set(wrong) == {"beneath", "above", "equal"}
    assert "would be at /srv/data/x, which overlaps the watched folder /srv/data of first" in wrong["beneath"]
    places = places_of(documents, lambda package: None)
    assert places["first"].own == ("/srv/data", "/srv/data/beneath", "/home")
    assert set(places["equal"].others) >= {"/srv/database", "/home", "/mnt"}


async def test_an_instance_runs_once_what_was_in_its_way_is_gone(harness: Harness) -> None:
    place = {"package": "restless", "provides_filesystem": True, "file_path_prefix": "/srv"}
    await harness.store.put(document(harness, "localfs", watches="paths", settings={"paths": ["/srv"]}))
    await harness.store.put(document(harness, "provider", **place))
    assert not (await harness.instances.refresh())["provider"].runs("mosaicfs_crawl")
    followed = harness.instances.follow()
    changed = asyncio.ensure_future(anext(followed))
    await harness.store.update(
        ids.plugin_document_id(harness.core.node_id, "localfs"),
        lambda present: {**(present or {}), "settings": {"paths": ["/home"]}},
    )
    async with asyncio.timeout(10):
        assert await changed == {"localfs", "provider"}
    assert harness.instances.current["provider"].runs("mosaicfs_crawl")
    await followed.aclose()


async def test_the_reserved_instance_and_other_nodes_are_passed_over(harness: Harness) -> None:
    await harness.store.put(document(harness, "agent"))
    other = document(harness, "restless", node_id="node-other-aaaa")
    await harness.store.put({**other, "_id": ids.plugin_document_id("node-other-aaaa", "restless")})
    assert await harness.instances.refresh() == {}


async def test_changes_are_seen_live_and_a_running_context_sees_the_new_settings(harness: Harness) -> None:
    await harness.store.put(document(harness, "restless", settings={"depth": 1}))
    context = (await harness.instances.refresh())["restless"].context
    followed = harness.instances.follow()
    changed = asyncio.ensure_future(anext(followed))
    await harness.store.update(
        ids.plugin_document_id(harness.core.node_id, "restless"),
        lambda present: {**(present or {}), "settings": {"depth": 2}},
    )
    async with asyncio.timeout(10):
        assert await changed == {"restless"}
    assert context.config == {"depth": 2}
    assert harness.instances.current["restless"].context is context
    await followed.aclose()
