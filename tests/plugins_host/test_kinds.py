"""Protects ``mosaicfs_plugin_kinds``: kinds are added once each, wrong ones are refused, and their instances run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mosaicfs_core.documents import times
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.errors import PluginError
from mosaicfs_core.hooks import HOOK_API, FileEvent, PluginManifest, hookimpl
from mosaicfs_core.plugins.running import kinds
from mosaicfs_core.testing.harness import Harness, plugin_at

HERE = "tests.plugins_host.test_kinds"


class Running:
    """Does what its kind was told."""

    hooks = frozenset({"mosaicfs_file_event"})
    problem: str | None = None
    window: int | None = None

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def configure(self) -> None: ...
    async def file_event(self, event: FileEvent) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def query(self, request: Any) -> Any: ...
    async def health(self) -> Any: ...
    def crawl(self, request: Any) -> Any: ...
    async def watch(self, emit: Any) -> None: ...
    async def run(self) -> None: ...


class Kind:
    def __init__(self, name: str, answer: Any = None) -> None:
        self.name, self._answer = name, answer

    def programs(self, plugin_dirs: Any, socket_dir: Any) -> list[Any]:
        return []

    def run(self, context: Any) -> Running:
        return Running(self._answer)


def adding(*added: Any) -> Any:
    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(title="Kinds", description="Adds kinds.", version="1", hook_api=HOOK_API)

    @hookimpl
    def mosaicfs_plugin_kinds() -> Any:
        return list(added)

    return SimpleNamespace(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_plugin_kinds=mosaicfs_plugin_kinds)


good = adding(Kind("robot", {"beep": 1}), Kind("broken", RuntimeError("no oil")), Kind("liar", [1]))
twin = adding(Kind("robot"))
nonsense = adding(object())
cheeky = adding(Kind("package"))
EVENT = FileEvent(event="file.added", sequence=1, timestamp="t", node_id="n")


async def instance_of(harness: Harness, kind: str) -> Any:
    document = instance_document(harness.core.node_id, kind, package=kind, created_at=times.now_text())
    await harness.store.put({**document, "plugin_type": kind, "subscribed_events": ["file.added"]})
    found = (await harness.instances.refresh())[kind]
    return found.problem or kinds.run(harness.core, harness.instances, found, lambda: None)


@pytest.mark.logs("there is a kind (robot|package) of plugins already|returned a list that holds object")
async def test_the_first_of_a_name_keeps_it_and_what_is_no_kind_is_refused(tmp_path: Path) -> None:
    names = ("good", "twin", "nonsense", "cheeky")
    plugins = [plugin_at(f"{number}-{name}", f"{HERE}:{name}") for number, name in enumerate(names)]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness:
        assert {name: who for name, (who, _) in harness.host.kinds().items()} == dict.fromkeys(
            ("robot", "broken", "liar"), "0-good"
        )
        assert {failure.plugin for failure in harness.host.failures} == {"1-twin", "2-nonsense", "3-cheeky"}


@pytest.mark.logs("mosaicfs_file_event")
async def test_instances_of_a_kind_run_and_what_they_do_wrong_is_theirs(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("good", f"{HERE}:good")]) as harness:
        assert await (await instance_of(harness, "robot")).file_event(EVENT) == {"beep": 1}
        with pytest.raises(PluginError, match="plugin broken: mosaicfs_file_event failed: RuntimeError: no oil"):
            await (await instance_of(harness, "broken")).file_event(EVENT)
        with pytest.raises(PluginError, match="plugin liar: mosaicfs_file_event returned list, not an object"):
            await (await instance_of(harness, "liar")).file_event(EVENT)
        assert await instance_of(harness, "unknown") == "no installed plugin runs plugins of type unknown"
