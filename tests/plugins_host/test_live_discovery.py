"""Protects packages that are installed, upgraded and taken away while MosaicFS runs: what comes is used without a
restart, and what only a restart can take over is said."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from importlib_metadata import EntryPoint, distributions
from tests.plugins_host.test_third_party import PIP, ROOT, Elsewhere, bare

from mosaicfs_core.agent import Agent
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.hooks import PluginManifest
from mosaicfs_core.plugins import discovery, loading
from mosaicfs_core.plugins.discovery import InstalledPlugin
from mosaicfs_core.plugins.instances import Instances
from mosaicfs_core.plugins.loading import LoadedPlugin
from mosaicfs_core.plugins.rescanning import rescanned
from mosaicfs_core.plugins.running.installed import rescan
from mosaicfs_core.testing.harness import Harness, plugin_at

READY_S = 60.0
PROJECT = """
[project]
name = "{module}"
version = "{version}"
dependencies = ["mosaicfs-core"]
[project.entry-points.mosaicfs]
{name} = "{module}"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
MODULE = """
from mosaicfs_core.hooks import HOOK_API, Endpoint, Hit, PluginManifest, ResultEnvelope, hookimpl

@hookimpl
def mosaicfs_manifest():
    return PluginManifest(title="Oracle", description="Answers.", version="{version}", hook_api=HOOK_API,
                          queries=(Endpoint(name="ask", capability="{name}"),))

@hookimpl
async def mosaicfs_query(context, request):
    return ResultEnvelope(results=(Hit(data={{"version": "{version}"}}),))

@hookimpl
def mosaicfs_step_ops():
    return []
"""


class Running:
    """A ``mosaicfs up`` in an environment of its own, which has the core alone."""

    def __init__(self, there: Elsewhere) -> None:
        self.there = there
        self.home = Path(there.environment["MOSAICFS_HOME"])
        command = [str(there.python.with_name("mosaicfs")), "--json", "up", "--no-mount", "--port", "0"]
        with open(there.directory / "log", "wb") as log:
            self.process = subprocess.Popen(command, env=there.environment, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], READY_S)
        line = self.process.stdout.readline() if readable else b""
        assert json.loads(line)["ready"], (there.directory / "log").read_text()[-3000:]

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)

    def source(self, name: str, version: str) -> Path:
        """The source of a plugin that answers with its version."""
        module = f"oracle_{name}"
        directory = self.there.directory / module
        (directory / module).mkdir(parents=True, exist_ok=True)
        (directory / "pyproject.toml").write_text(PROJECT.format(name=name, module=module, version=version))
        (directory / module / "__init__.py").write_text(MODULE.format(name=name, version=version))
        return directory

    def wheel(self, name: str, version: str) -> Path:
        """The same, built."""
        wheels = self.there.directory / "wheels" / version
        self.there.run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, self.source(name, version))
        return next(wheels.glob(f"oracle_{name}-{version}-*.whl"))

    def says(self, name: str, version: str) -> None:
        """Wait until a plugin answers with a version: what a node can be asked follows what runs there."""
        deadline = time.monotonic() + READY_S
        while True:
            answer = self.there.mosaicfs("query", name, "which?")
            said = [one["results"][0]["data"]["version"] for one in answer["results"]]
            if said == [version]:
                return
            assert time.monotonic() < deadline, answer

    def note(self, name: str) -> Any:
        """What the list says of a package."""
        return {one["name"]: one["note"] for one in self.there.mosaicfs("plugin", "list")}[name]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    there = bare(tmp_path_factory.mktemp("live"))
    wheels = there.directory / "core"
    there.run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT / "mosaicfs_core")
    there.pip("install", "--no-deps", "--no-index", *wheels.glob("*.whl"))
    made = Running(there)
    yield made
    made.end()


def test_a_package_is_used_as_soon_as_it_is_there(running: Running) -> None:
    early = running.there.mosaicfs("plugin", "enable", "built")  # on an empty environment, which has told of nothing
    assert ["no plugin built is installed" in text for text in early["warnings"]] == [True]
    running.there.pip("install", "--no-deps", "--no-index", running.wheel("built", "1.0"))
    made = running.there.mosaicfs("plugin", "enable", "built")
    assert made["enabled"] is True
    assert any("its step ops work once MosaicFS is started anew" in text for text in made["warnings"])
    running.says("built", "1.0")
    # Another version is not mixed with what is loaded.
    running.there.pip("install", "--no-deps", "--no-index", "--upgrade", running.wheel("built", "2.0"))
    assert "version 2.0 is installed and 1.0 loaded" in running.note("built")
    running.there.pip("uninstall", "-y", "oracle_built")
    assert {one["name"]: one["status"] for one in running.there.mosaicfs("plugin", "list")}["built"] == "not installed"


def test_so_is_a_checkout(running: Running) -> None:
    # As `pip install -e` leaves one.
    (site,) = running.there.python.parents[1].glob("lib/python*/site-packages")
    (site / "_oracle_edited.pth").write_text(f"{running.source('edited', '1.0')}\n")
    (site / "oracle_edited-1.0.dist-info").mkdir()
    (site / "oracle_edited-1.0.dist-info" / "METADATA").write_text("Name: oracle_edited\nVersion: 1.0\n")
    (site / "oracle_edited-1.0.dist-info" / "entry_points.txt").write_text("[mosaicfs]\nedited = oracle_edited\n")
    running.there.mosaicfs("plugin", "enable", "edited")
    running.says("edited", "1.0")


def test_so_is_an_environment_of_its_own_and_what_it_is_upgraded_to(running: Running) -> None:
    apart = bare(running.home, running.home / "environments" / "apart")
    core = next((running.there.directory / "core").glob("*.whl"))
    apart.pip("install", "--no-deps", "--no-index", core, running.wheel("apart", "1.0"))
    running.there.mosaicfs("plugin", "enable", "apart")
    running.says("apart", "1.0")
    apart.pip("install", "--no-deps", "--no-index", "--upgrade", running.wheel("apart", "2.0"))
    running.there.mosaicfs("plugin", "list")
    running.says("apart", "2.0")


class Gate:
    """What waits until it is opened, and counts who comes."""

    def __init__(self) -> None:
        self.open, self.reached, self.tried = threading.Event(), threading.Event(), 0

    def passed(self) -> None:
        self.tried += 1
        self.reached.set()
        self.open.wait()


def packaged(directory: Path, **modules: str) -> list[EntryPoint]:
    """The entry points of one package, ours by its name, whose plugins are these modules in the directory."""
    told = directory / "mosaicfs_plugins-1.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Name: mosaicfs-plugins\nVersion: 1\n")
    lines = "".join(f"{name} = {module}\n" for name, module in modules.items())
    (told / "entry_points.txt").write_text(f"[mosaicfs]\n{lines}")
    return [point for found in distributions(path=[str(directory)]) for point in found.entry_points]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where modules of plugins may lie; what is imported from there is forgotten in the end."""
    directory = tmp_path / "lib"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    yield directory
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(directory)):
            del sys.modules[name]


# What becomes of the plugins of a process, without any.


def loaded(name: str, version: str = "1", **fields: Any) -> LoadedPlugin:
    found = LoadedPlugin(name, name, None, f"x-{name}", version, first_party=False, status="ok")
    return dataclasses.replace(found, **fields)


def installed(name: str, version: str = "1", distribution: str = "") -> InstalledPlugin:
    return InstalledPlugin(name, plugin_at(name, name), distribution or f"x-{name}", version)


def load(one: InstalledPlugin) -> LoadedPlugin:
    if one.problem is not None:
        return loaded(one.name, distribution=one.distribution, status="failed", error=one.problem)
    hooks = frozenset({"mosaicfs_routes", "mosaicfs_crawl"})
    return loaded(one.name, one.distribution_version, distribution=one.distribution, hooks=hooks)


def again(before: list[LoadedPlugin], found: list[InstalledPlugin], *apart: LoadedPlugin) -> dict[str, LoadedPlugin]:
    return rescanned({one.name: one for one in before}, found, apart, load)


def test_what_is_loaded_stays_and_says_what_is_installed_instead() -> None:
    here = PluginManifest(title="", description="", version="1", hook_api=1, isolate=False)
    before = [loaded("same"), loaded("newer"), loaded("gone"), loaded("newer-here", manifest=here)]
    before.append(loaded("gone-here", manifest=here))
    now = again(before, [installed("same"), installed("newer", "2"), installed("newer-here", "2")])
    said = {name: one.restart or "" for name, one in now.items()}
    assert (now["same"], said["same"]) == (before[0], "")
    assert said["newer-here"] == (
        "version 2 is installed and 1 loaded: the new one is used once MosaicFS is started anew"
    )
    assert said["gone-here"].startswith("it is not installed any more: it goes on as it is loaded")
    # Its process imports it anew whenever it starts.
    assert said["newer"].startswith("version 2 is installed and 1 loaded: a process of its own that starts from now on")
    assert "a process of its own goes on, and cannot start again" in said["gone"]
    # It is taken back once things are as before.
    assert again(list(now.values()), [installed(one.name) for one in before])["gone"].restart is None


def test_what_comes_is_loaded_and_says_what_is_asked_for_at_the_start_alone() -> None:
    now = again([], [installed("new")])
    assert (now["new"].status, now["new"].restart) == ("ok", "its routes work once MosaicFS is started anew")
    assert again(list(now.values()), [installed("new")]) == now


def test_a_new_name_of_an_upgraded_package_is_not_mixed_with_what_is_loaded_of_it() -> None:
    now = again([loaded("one", distribution="x")], [installed("one", "2", "x"), installed("two", "2", "x")])
    assert now["two"].status == "failed"
    assert "version 2 is installed and 1 loaded" in (now["two"].error or "")


def test_one_of_an_environment_is_what_that_says_and_gone_with_it() -> None:
    works, refused = loaded("apart", python=Path("/x/bin/python")), loaded("apart", status="failed", error="no")
    assert again([works], [], refused) == {"apart": refused}
    assert again([works], []) == {}


@pytest.mark.logs("not yet")
async def test_one_that_failed_is_tried_again_with_what_lies_there_now(tmp_path: Path, library: Path) -> None:
    module = library / "mended_later.py"
    module.write_text("raise RuntimeError('not yet')\n")
    plugins = [plugin_at("mended", "mended_later")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness:
        assert "not yet" in (harness.host.get("mended").error or "")
        module.write_text(MODULE.format(name="mended", version="1 + mended"))
        assert harness.host.rescan(()) == {"mended"}
        assert harness.host.get("mended").status == "ok"
        assert harness.host.rescan(()) == frozenset()


@pytest.mark.logs("nothing here")
async def test_what_of_a_package_is_not_loaded_stays_what_it_is(tmp_path: Path, library: Path) -> None:
    (library / "several.py").write_text(MODULE.format(name="several", version="1"))
    (library / "several_broken.py").write_text("raise RuntimeError('nothing here')\n")
    plugins = packaged(library, disabled="several", loaded="several", wrong="several_broken")
    async with Harness.start(tmp_path / "home", plugins=plugins, disabled=["disabled"]) as harness:
        before = harness.host.plugins
        assert {one.name: one.status for one in before.values()} == {
            "disabled": "disabled",
            "loaded": "ok",
            "wrong": "failed",
        }
        assert harness.host.rescan(()) == frozenset()
        assert harness.host.plugins == before
        # What failed is tried again all the same.
        (library / "several_broken.py").write_text(MODULE.format(name="wrong", version="1 + mended"))
        assert harness.host.rescan(()) == {"wrong"}
        assert harness.host.get("wrong").status == "ok"


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.logs("has not ended after")
async def test_one_whose_import_hangs_is_not_tried_again(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    gate = Gate()
    monkeypatch.setitem(sys.modules, "gate", gate)  # type: ignore[arg-type]  # found by name, like a module
    monkeypatch.setattr(loading, "LOAD_S", 0.2)
    (library / "hangs_once.py").write_text("import gate\ngate.passed()\n")
    hanging = plugin_at("hangs", "hangs_once")
    points = [] if late else [hanging]
    monkeypatch.setattr(discovery, "entry_points", lambda group: points)
    async with Harness.start(tmp_path / "home") as harness:
        try:
            if late:
                points.append(hanging)
                assert harness.host.rescan(()) == {"hangs"}
            assert gate.reached.wait(30)
            assert "has not ended after 0.2 s" in (harness.host.get("hangs").error or "")
            assert harness.host.get("hangs").restart == "it is tried again once MosaicFS is started anew"
            (library / "hangs_once.py").write_text(MODULE.format(name="hangs", version="1"))
            assert harness.host.rescan(()) == frozenset()
            assert gate.tried == 1
        finally:
            gate.open.set()


@pytest.mark.logs("gave up")
async def test_a_time_out_of_its_own_is_no_hanging_import(tmp_path: Path, library: Path) -> None:
    (library / "gives_up.py").write_text("raise TimeoutError('gave up')\n")
    async with Harness.start(tmp_path / "home", plugins=[plugin_at("gives-up", "gives_up")]) as harness:
        assert "gave up" in (harness.host.get("gives-up").error or "")
        assert harness.host.get("gives-up").restart is None


@pytest.mark.logs("not yet")
async def test_what_it_took_from_its_package_is_taken_anew(tmp_path: Path, library: Path) -> None:
    package = library / "beside"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "works.py").write_text(MODULE.format(name="works", version="1"))
    (package / "wrong.py").write_text("from . import helper\nif not helper.READY: raise RuntimeError('not yet')\n")
    (package / "helper.py").write_text("READY = False\n")
    plugins = [plugin_at("works", "beside.works"), plugin_at("wrong", "beside.wrong")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness:
        assert {name: one.status for name, one in harness.host.plugins.items()} == {"works": "ok", "wrong": "failed"}
        (package / "helper.py").write_text("READY = True  # by now\n")
        with (package / "wrong.py").open("a") as source:
            source.write(MODULE.format(name="wrong", version="1"))
        assert harness.host.rescan(()) == {"wrong"}
        assert harness.host.get("wrong").error is None


@pytest.mark.logs("cannot be used")
async def test_what_others_hold_of_one_that_failed_is_left_to_them(tmp_path: Path, library: Path) -> None:
    (library / "shared").mkdir()
    (library / "shared" / "__init__.py").write_text("")
    (library / "shared" / "works.py").write_text(MODULE.format(name="works", version="1"))
    (library / "shared" / "wrong.py").write_text("import shared.help\nshared.help.nothing_yet\n")
    (library / "shared" / "help.py").write_text("")
    plugins = [plugin_at("works", "shared.works"), plugin_at("wrong", "shared.wrong")]
    # Neither of these is a plugin, and both are there already.
    plugins += [plugin_at("json", "json"), plugin_at("parent", "shared")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness:
        assert [one.name for one in harness.host.plugins.values() if one.status == "failed"] == [
            "json",
            "parent",
            "wrong",
        ]
        held = {name: sys.modules[name] for name in ("json", "json.decoder", "shared.works")}
        harness.host.rescan(())
        assert {name: sys.modules.get(name) for name in held} == held
        # What it alone had imported is imported anew.
        (library / "shared" / "help.py").write_text("nothing_yet = 1  # now")
        mended = MODULE.format(name="wrong", version="1")
        (library / "shared" / "wrong.py").write_text(f"from shared.help import nothing_yet\n{mended}")
        assert harness.host.rescan(()) == {"wrong"}
        assert harness.host.get("wrong").error is None


def test_what_is_not_to_be_imported_is_nothing_else_once_its_package_is_upgraded() -> None:
    def left_out(one: InstalledPlugin) -> LoadedPlugin:
        return loaded(one.name, one.distribution_version, distribution=one.distribution, status="disabled")

    before = {"one": loaded("one", distribution="x"), "two": left_out(installed("two", "1", "x"))}
    now = rescanned(before, [installed("one", "2", "x"), installed("two", "2", "x")], (), left_out)
    assert (now["two"].status, now["two"].error) == ("disabled", None)


def test_one_that_is_not_tried_again_is_listed_as_it_is_installed() -> None:
    hung = loaded("hung", status="failed", error="its import has not ended", restart="it is tried again later")
    assert again([hung], [installed("hung", "2")]) == {"hung": dataclasses.replace(hung, distribution_version="2")}


def test_another_entry_point_is_told_of_as_one() -> None:
    (now,) = again([loaded("one", entry_point="one_before")], [installed("one")]).values()
    assert (now.restart or "").startswith("one is installed and one_before loaded")


@pytest.mark.logs("no room")
async def test_what_could_not_be_written_when_a_package_came_is_with_the_next_look(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points: list[EntryPoint] = []
    monkeypatch.setattr(discovery, "entry_points", lambda group: points)
    module = MODULE.format(name="late", version="1").replace("queries=", "default_enabled=True, queries=")
    (library / "comes_late.py").write_text(module)
    async with Harness.start(tmp_path / "home") as harness, harness.agent():
        points.append(plugin_at("late", "comes_late"))
        with monkeypatch.context() as full:
            full.setattr(Instances, "ensure_defaults", AsyncMock(side_effect=Unavailable("no room")))
            assert (await rescan(harness.core)).changed == ["late"]
        assert harness.store.reader.documents_of("plugin", (harness.core.node_id,)) == []
        assert (await rescan(harness.core)).changed == ["late"]
        assert [one["plugin_name"] for one in harness.store.reader.documents_of("plugin")] == ["late"]
        assert (await rescan(harness.core)).changed == []


async def test_an_agent_that_is_left_meanwhile_begins_nothing_more(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points: list[EntryPoint] = []
    monkeypatch.setattr(discovery, "entry_points", lambda group: points)
    (library / "comes_at_the_end.py").write_text(MODULE.format(name="late", version="1"))
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held(_instances: Instances) -> None:
        reached.set()
        await go_on.wait()

    async with asyncio.timeout(50), Harness.start(tmp_path / "home") as harness:
        async with harness.agent():
            points.append(plugin_at("late", "comes_at_the_end"))
            monkeypatch.setattr(Instances, "ensure_defaults", held)
            adapted = AsyncMock()
            monkeypatch.setattr(Agent, "_adapt", adapted)
            looking = asyncio.create_task(rescan(harness.core))
            await reached.wait()
        go_on.set()
        assert (await looking).changed == ["late"]
        adapted.assert_not_awaited()
