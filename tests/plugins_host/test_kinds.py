"""Protects ``mosaicfs_plugin_kinds``: kinds are added once each, wrong ones are refused, and their instances run."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mosaicfs_core.documents import times
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.hooks import HOOK_API, FileEvent, PluginManifest, Program, hookimpl
from mosaicfs_core.plugins import discovery, host
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


class Clumsy(Running):
    """Raises wherever it is asked at once, or to begin and end."""

    def __init__(self, what: str) -> None:
        super().__init__({"beep": 1})
        self._what = what

    def _oil(self, what: str) -> None:
        if what == self._what:
            raise RuntimeError("no oil")

    @property
    def problem(self) -> str | None:  # type: ignore[override]  # read only
        self._oil("problem")
        return None

    @property
    def window(self) -> int | None:  # type: ignore[override]  # read only
        self._oil("window")
        return None

    async def start(self) -> None:
        self._oil("start")

    async def stop(self) -> None:
        self._oil("stop")

    def configure(self) -> None:
        self._oil("configure")


class ClumsyKind(Kind):
    def run(self, context: Any) -> Any:
        if self.name == "void":
            return None
        if self.name == "run":
            raise RuntimeError("no oil")
        return Clumsy(self.name)

    def programs(self, plugin_dirs: Any, socket_dir: Any) -> Any:
        if self.name == "run":
            raise RuntimeError("no oil")
        return ["no program"] if self.name == "void" else [Program(name="fine", plugin_type=self.name)]


CLUMSY = ("run", "void", "problem", "window", "start", "configure", "stop")
clumsy = adding(*map(ClumsyKind, CLUMSY))
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


@pytest.mark.logs("plugin hangs: mosaicfs_plugin_kinds has not returned after 0.2 s")
async def test_kinds_that_come_are_asked_for_aside_and_those_that_hang_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, asked, askers = threading.Event(), threading.Event(), []

    @hookimpl
    def mosaicfs_plugin_kinds() -> Any:
        askers.append(threading.current_thread())
        asked.set()
        go_on.wait()
        return []

    hanging = SimpleNamespace(mosaicfs_manifest=good.mosaicfs_manifest, mosaicfs_plugin_kinds=mosaicfs_plugin_kinds)
    monkeypatch.setattr(host, "LOAD_S", 0.2)
    plugins: list[Any] = [plugin_at("good", f"{HERE}:good")]
    monkeypatch.setattr(discovery, "entry_points", lambda group: plugins)
    async with Harness.start(tmp_path / "home") as harness:
        assert "robot" in harness.host.kinds()
        monkeypatch.setattr(sys.modules[HERE], "hanging", hanging, raising=False)
        plugins.append(plugin_at("hangs", f"{HERE}:hanging"))
        try:
            assert harness.host.rescan(()) == {"hangs"}
            assert asked.wait(30)
            assert (len(askers), "robot" in harness.host.kinds(), len(askers)) == (1, True, 1)
            assert "has not returned" in harness.host.failures[-1].message
        finally:
            go_on.set()


@pytest.mark.logs("mosaicfs_file_event")
async def test_instances_of_a_kind_run_and_what_they_do_wrong_is_theirs(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("good", f"{HERE}:good")]) as harness:
        assert await (await instance_of(harness, "robot")).file_event(EVENT) == {"beep": 1}
        with pytest.raises(PluginError, match="plugin broken: mosaicfs_file_event failed: RuntimeError: no oil"):
            await (await instance_of(harness, "broken")).file_event(EVENT)
        with pytest.raises(PluginError, match="plugin liar: mosaicfs_file_event returned list, not an object"):
            await (await instance_of(harness, "liar")).file_event(EVENT)
        assert await instance_of(harness, "unknown") == "no installed plugin runs plugins of type unknown"


@pytest.mark.logs("no oil|is no RunningPlugin")
@pytest.mark.parametrize("name", CLUMSY)
async def test_a_kind_that_raises_stops_nobody_and_its_instance_says_so(name: str, tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("clumsy", f"{HERE}:clumsy")]) as harness:
        running = await instance_of(harness, name)
        await running.start()
        running.configure()
        assert running.window is None
        wrong = {"void": "it made a NoneType, which is no RunningPlugin", "stop": ""}.get(name, "no oil")
        assert wrong in (running.problem or "")
        assert running.problem or name == "stop"
        if name in ("run", "void"):
            with pytest.raises(Unavailable, match=r"it does not run: plugin clumsy: mosaicfs_plugin_kinds failed"):
                await running.file_event(EVENT)
        await running.stop()
        assert "clumsy" in {failure.plugin for failure in harness.host.failures} or name not in ("run", "void")


async def test_a_kind_that_cannot_list_its_programs_is_listed_in_their_place(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("clumsy", f"{HERE}:clumsy")]) as harness:
        found = kinds.programs(harness.home, harness.host)
        problems = {one.plugin_type: one.problem for one in found}
        assert "no oil" in (problems.pop("run") or "")
        assert "it lists a str, which is no Program" in (problems.pop("void") or "")
        assert set(problems.values()) == {None}


@pytest.mark.logs("no oil")
async def test_an_agent_starts_and_tells_of_a_kind_that_raises(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("clumsy", f"{HERE}:clumsy")]) as harness:
        await instance_of(harness, "run")
        async with harness.agent() as agent:
            assert "no oil" in agent.status()["subsystems"]["plugins"]["detail"]
