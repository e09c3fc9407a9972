"""Protects packages that are installed in a virtual environment of their own and nowhere else: they are found, their
settings are checked, they process files with their own interpreter; and nothing is run that others could have put
there."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import entry_points
from tests.plugins_host.test_third_party import PIP, ROOT, Elsewhere, bare

from mosaicfs_core import children
from mosaicfs_core.agent import Agent
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import HOOK_API
from mosaicfs_core.plugins import environments
from mosaicfs_core.plugins.environments import plugins_elsewhere
from mosaicfs_core.plugins.running import child, kinds
from mosaicfs_core.server.instance_checks import checked_settings
from mosaicfs_core.testing.harness import Harness, plugin_at

NAME, MODULE = "words", "words_of_its_own"
PROJECT = f"""
[project]
name = "{MODULE}"
version = "3.1"
dependencies = ["mosaicfs-core"]
[project.entry-points.mosaicfs]
{NAME} = "{MODULE}"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
PACKAGE = """
import sys
from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl

print("a module that talks while it is imported")

@hookimpl
def mosaicfs_manifest():
    least = {"type": "integer", "minimum": 1, "default": 2}
    return PluginManifest(title="Words", description="Counts words.", version="3.1", hook_api=HOOK_API,
                          subscribed_events=("file.added", "file.modified"), mime_globs=("text/*",),
                          settings_schema={"type": "object", "properties": {"least": least}})

@hookimpl
async def mosaicfs_file_event(context, event):
    text = b"".join([part async for part in context.open_file(event.file)])
    return {"words": len(text.split()), "prefix": sys.prefix, "least": context.config["least"]}

@hookimpl
def mosaicfs_step_ops():
    return []
"""


def test_it_is_checked_by_its_own_interpreter(home: Path, made: Elsewhere) -> None:
    command = children.command(home, "plugin", "check", NAME, "--way", "package")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    checks = json.loads(done.stdout)
    assert [check["problem"] for check in checks if check["result"] == "failed"] == [
        "setting least has neither title nor description"
    ]
    assert {check["result"] for check in checks if check["way"]} == {"ok"}
    assert done.returncode == 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """A home with an environment that has the core and the package, built and installed as anybody's would be."""
    directory = tmp_path_factory.mktemp("home")
    environment = bare(directory, directory / "environments" / NAME)
    source, wheels = directory / "source", directory / "wheels"
    (source / MODULE).mkdir(parents=True)
    (source / "pyproject.toml").write_text(PROJECT)
    (source / MODULE / "__init__.py").write_text(PACKAGE)
    for one in (ROOT / "mosaicfs_core", source):
        environment.run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, one)
    environment.pip("install", "--no-deps", "--no-index", *sorted(wheels.glob("*.whl")))
    return environment


@pytest.fixture
def home(made: Elsewhere, tmp_path: Path) -> Path:
    """A new home that has this environment."""
    path = tmp_path / "home"
    path.mkdir()
    # An environment must lie where it was made, so it is the directory of environments that is lent.
    (path / "environments").symlink_to(made.directory / "environments")
    return path


async def test_a_package_of_an_environment_of_its_own_processes_files(home: Path, tmp_path: Path) -> None:
    assert importlib.util.find_spec(MODULE) is None
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("one two three")
    localfs = entry_points(group="mosaicfs", name="localfs")
    async with asyncio.timeout(50), Harness.start(home, plugins=[*localfs]) as harness:
        plugin = harness.host.get(NAME)
        assert (plugin.status, plugin.error, plugin.distribution_version) == ("ok", None, "3.1")
        assert plugin.manifest is not None
        assert plugin.manifest.title == "Words"
        assert plugin.hooks == {"mosaicfs_file_event"}  # what registers something is not for another process
        await harness.instance("localfs", {"paths": [str(tree)]})
        await harness.instance(NAME, {"least": 5})
        async with harness.agent() as agent:
            data = await _annotation(harness, str(tree / "a.txt"))
            assert data == {"words": 3, "prefix": str(home / "environments" / NAME), "least": 5}
            assert _told(agent, NAME) == {"name": NAME, "status": "ok", "error": None}


async def _annotation(harness: Harness, path: str) -> Any:
    while True:
        seq = harness.store.seq
        found = harness.store.reader.documents_of("annotation", (harness.core.node_id, path, NAME))
        if found:
            return found[0]["data"]
        await harness.store.wait(seq, 0.5)


def _told(agent: Agent, name: str) -> Any:
    return next(plugin for plugin in agent.status()["available_plugins"] if plugin["name"] == name)


async def test_its_settings_are_checked_by_its_schema(home: Path) -> None:
    async with Harness.start(home, plugins=[]) as harness:
        context = await harness.instance(NAME)
        assert context.config == {"least": 2}
        document = await harness.store.get(ids.plugin_document_id(harness.core.node_id, NAME))
        assert document is not None
        with pytest.raises(UserError, match=r"settings\.least"):
            checked_settings(harness.host, document, {"least": 0}, None)
        await harness.instance(NAME, {"least": "many"})
        assert "least" in str(harness.instances.current[NAME].problem)


async def test_it_takes_the_place_of_what_is_installed_beside_mosaicfs(home: Path) -> None:
    here = plugin_at(NAME, "no_such_module")
    async with Harness.start(home, plugins=[here]) as harness:
        assert harness.host.get(NAME).status == "ok"
    for left_out in ({"disabled": [NAME]}, {"safe_mode": True}):
        async with Harness.start(home, plugins=[here], **left_out) as harness:  # type: ignore[arg-type]  # either
            assert (harness.host.get(NAME).status, harness.host.get(NAME).python) == ("disabled", None)


def test_it_is_listed(home: Path, made: Elsewhere) -> None:
    command = (sys.executable, "-c", children.PROGRAM, "--json", "--home", home, "plugin", "list")
    listed = {plugin["name"]: plugin for plugin in json.loads(made.run(*command))}
    assert listed[NAME]["status"] == "off"
    place = f"in an environment of its own, {home / 'environments' / NAME}"
    assert listed[NAME]["note"] == f"`mosaicfs plugin enable {NAME}` switches it on; {place}"


def _script(text: str) -> Callable[[Path], None]:
    def make(environment: Path) -> None:
        python = environment / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\n{text}\n")
        python.chmod(0o755)

    return make


def _open_to_all(environment: Path) -> None:
    _script("touch ran")(environment)
    environment.chmod(0o777)


def _open_bin(environment: Path) -> None:
    _script("touch ran")(environment)
    (environment / "bin").chmod(0o777)


def _open_python(environment: Path) -> None:
    _script("touch ran")(environment)
    (environment / "bin" / "python").chmod(0o777)


def _linked_to_open(environment: Path) -> None:
    _linked(environment, _open_python)


def _linked_to_open_bin(environment: Path) -> None:
    _linked(environment, _open_bin)


def _linked(environment: Path, make: Callable[[Path], None]) -> None:
    elsewhere = environment.parents[2] / "elsewhere"
    make(elsewhere)
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(elsewhere / "bin" / "python")


def _link(environment: Path) -> None:
    elsewhere = environment.parents[2] / "elsewhere"
    _script("touch ran")(elsewhere)
    environment.symlink_to(elsewhere)


def _telling(hooks: tuple[str, ...] = (), **manifest: Any) -> Callable[[Path], None]:
    """An environment whose interpreter says this of its package, which would do if it said nothing more."""
    facts = {"title": "t", "description": "d", "version": "1", "hook_api": HOOK_API, **manifest}
    told = {"manifest": facts, "hooks": hooks, "entry_point": "m", "distribution": "d", "distribution_version": "1"}
    return _script(f"echo '{json.dumps(told)}'")


def _file(environment: Path) -> None:
    environment.write_text("")


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a", Path.mkdir, "it has no bin/python"),
        ("a", _file, "is no directory"),
        ("a", _link, "is no directory"),
        ("a", _open_to_all, "everybody may write to"),
        ("a", _open_bin, "everybody may write to"),
        ("a", _open_python, "everybody may write to"),
        ("a", _linked_to_open, "elsewhere/bin/python"),
        ("a", _linked_to_open_bin, "elsewhere/bin:"),
        ("A b", _script("touch ran"), "the name of its environment must match"),
        ("a", _script("echo No module named mosaicfs_core >&2; exit 1"), "No module named mosaicfs_core"),
        ("a", _script("echo '{}'"), "cannot be understood"),
        ("a", _script("exit 0"), "cannot be understood"),
        ("a", _script("sleep 600"), "has not said within"),
        ("a", _telling(hook_api=99), "is written for hook API 99"),
        ("a", _telling(hook_api=0), "is written for hook API 0"),
        ("a", _telling(workers=0), "workers is not above 0"),
        ("a", _telling(health_check_interval_s=-1), "health_check_interval_s is not above 0"),
        ("a", _telling(subscribed_events=["file.eaten"]), "there is no event file.eaten"),
        ("a", _telling(settings_schema={"type": "array"}), "its settings_schema is no schema of an object"),
        ("a", _telling(watches="folders"), "it watches the setting folders, which it lacks"),
        ("a", _telling(("mosaicfs_crawl",)), "does not say where its files lie"),
        ("a", _telling(("mosaicfs_watch",)), "does not say where its files lie"),
        ("a", _telling(title=7), "cannot be understood"),
    ],
)
def test_what_is_no_environment_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], None], reason: str
) -> None:
    monkeypatch.setattr(environments, "DESCRIBE_S", 0.2 if "within" in reason else 20.0)
    monkeypatch.chdir(tmp_path)
    home = Home(tmp_path / "home").prepare()
    home.environments_dir.mkdir()
    make(home.environments_dir / name)
    (plugin,) = plugins_elsewhere(home)
    assert (plugin.name, plugin.status, plugin.hooks) == (name, "failed", frozenset())
    assert reason in str(plugin.error)
    assert not (tmp_path / "ran").exists()


def test_what_is_said_rightly_is_taken(tmp_path: Path) -> None:
    """The same words without the fault, which is what those above are refused for."""
    home = Home(tmp_path / "home").prepare()
    hooks = ("mosaicfs_crawl", "mosaicfs_step_ops", "mosaicfs_of_tomorrow")
    _telling(hooks, provides_filesystem=True)(home.environments_dir / "a")
    (plugin,) = plugins_elsewhere(home)
    assert (plugin.status, plugin.error, plugin.hooks) == ("ok", None, {"mosaicfs_crawl"})


def test_nothing_of_a_directory_that_is_open_to_others_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = Home(tmp_path / "home").prepare()
    _script("touch ran")(home.environments_dir / "a")
    os.chmod(home.environments_dir, 0o777)
    assert "everybody may write" in str(plugins_elsewhere(home)[0].error)
    assert not (tmp_path / "ran").exists()


@pytest.mark.logs("plugin a cannot be used: ")
def test_one_that_has_worked_is_kept_when_it_does_not_answer_and_not_when_it_must_not_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home").prepare()
    host = environments.host_of(home)
    environment, python = home.environments_dir / "a", home.environments_dir / "a" / "bin" / "python"
    _telling()(environment)
    assert environments.rescan(home, host) == {"a"}

    def now(reason: str) -> tuple[str, bool]:
        environments.rescan(home, host)
        plugin = host.get("a")
        assert reason in f"{plugin.restart} {plugin.error}"
        return plugin.status, plugin.python == python

    told = python.read_text()
    python.write_text("#!/no/such/interpreter\n")
    assert now("cannot be run") == ("ok", True)
    monkeypatch.setattr(environments, "DESCRIBE_S", 0.2)
    python.write_text("#!/bin/sh\nexec sleep 600\n")
    assert now("has not said within") == ("ok", True)
    monkeypatch.setattr(environments, "DESCRIBE_S", 20.0)
    # For want of memory, half through an upgrade, on a full disk.
    for script, reason in (
        ("kill -9 $$", "it ended with -9"),
        ("echo No module named words >&2; exit 1", "No module named words"),
        ("echo '{\"manifest\": {'", "cannot be understood"),
    ):
        python.write_text(f"#!/bin/sh\n{script}\n")
        assert now(reason) == ("ok", True)
    python.write_text(told)
    assert now("None None") == ("ok", True)
    # Of these the old manifest says nothing any more, or nobody may ask.
    python.write_text(told.replace(f'"hook_api": {HOOK_API}', '"hook_api": 99'))
    assert now("is written for hook API 99") == ("failed", False)
    python.write_text(told)
    assert now("None None") == ("ok", True)
    environment.chmod(0o777)
    assert now("everybody may write to") == ("failed", False)


@pytest.mark.logs("its process will be started again")
async def test_it_is_looked_at_before_each_start_of_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(child, "FIRST_PAUSE_S", 0.01)
    environment = tmp_path / "home" / "environments" / "a"
    _telling(("mosaicfs_file_event",))(environment)
    async with asyncio.timeout(50), Harness.start(tmp_path / "home", plugins=[]) as harness:
        await harness.instance("a")
        (environment / "bin" / "python").write_text("#!/bin/sh\ntouch ran\n")
        news = asyncio.Event()
        running = kinds.run(harness.core, harness.instances, harness.instances.current["a"], news.set)
        environment.chmod(0o777)
        await running.start()
        await news.wait()
        assert "everybody may write to" in (running.problem or "")
        assert not (tmp_path / "ran").exists()
        environment.chmod(0o755)
        while "everybody may write to" in (running.problem or ""):
            news.clear()
            await news.wait()
        assert (tmp_path / "ran").exists()
        await running.stop()
