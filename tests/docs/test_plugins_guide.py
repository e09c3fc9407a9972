"""Protects the plugin author's guide: every hook, argument, field and method is in it, and its examples work."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import msgspec
import pytest
from quart import Quart

from mosaicfs_core import hooks, testing
from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.errors import ConfigError
from mosaicfs_core.hooks import (
    Create,
    DocumentQuery,
    FileOperation,
    HubAddress,
    PluginContext,
    PluginManifest,
    Stale,
    specs,
)
from mosaicfs_core.plugins.hooktable import HOOKS
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.routes_context import RoutesContextImpl
from mosaicfs_core.server.hub.link import hub_of
from mosaicfs_core.store.indexes import KEYS, KINDS
from mosaicfs_core.testing import CrawlModel, Harness, plugin_at

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "plugins.md").read_text("utf-8")
HEADING = re.compile(r"^### `(mosaicfs_\w+)\(([^)]*)\)`$", re.MULTILINE)


def sections() -> dict[str, str]:
    """The text of each hook's section."""
    parts = HEADING.split(GUIDE.partition("## Hooks\n")[2].partition("\n## ")[0])
    return dict(zip(parts[1::3], parts[3::3], strict=True))


def example(hook: str) -> str:
    """The one example of a hook's section."""
    (code,) = re.findall(r"```python\n(.*?)```", sections()[hook], re.DOTALL)
    return str(code)


def first_column(heading: str) -> set[str]:
    """The names in backticks in the first column of the table with that first heading."""
    table = GUIDE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`(\w+)", cell)}


@pytest.fixture
def weather(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin that all examples together are."""
    module = ModuleType("weather_of_the_guide")
    for hook in HOOKS:
        exec(compile(example(hook), f"docs/plugins.md, {hook}", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return plugin_at("weather", module.__name__)


def test_hooks_and_their_arguments_are_the_same_in_specs_and_guide() -> None:
    documented = {name: tuple(filter(None, arguments.split(", "))) for name, arguments in HEADING.findall(GUIDE)}
    assert documented == {hook.name: hook.arguments for hook in HOOKS.values()}


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_a_specification_that_says_when_and_how(hook: str) -> None:
    assert len(HOOKS[hook].doc.split()) >= 10
    assert f"{HOOKS[hook].kind.name.lower()}" in {"plain", "coroutine", "generator"}
    assert hasattr(specs, hook)


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_is_tested_and_used(hook: str) -> None:
    tests = "".join(file.read_text("utf-8") for file in (ROOT / "tests" / "plugins_host").glob("test_*.py"))
    assert hook in tests
    example_package = (ROOT / "tests/third_party_example/src/recipes_for_mosaicfs/__init__.py").read_text("utf-8")
    users = [plugin.name for plugin in PluginHost.discover().plugins.values() if hook in plugin.hooks]
    assert users or f"def {hook}(" in example_package


def test_manifest_operations_context_and_kit_are_documented_whole() -> None:
    assert first_column("field") == set(PluginManifest.__struct_fields__)
    assert first_column("operation") - {"Entry"} == {kind.__name__ for kind in FileOperation.__args__}
    members = {name for name in vars(PluginContext) if not name.startswith("_")}
    assert first_column("member") == members
    for name in testing.__all__:
        if name not in ("CrawlModel", "native", "written"):
            assert f"`{name}" in GUIDE, name


def test_every_index_is_told_to_authors_with_its_fields() -> None:
    open_to_plugins = {name: fields for name, fields in KEYS.items() if name != "credential"}
    assert set(KEYS) == set(KINDS)
    table = GUIDE.partition("| index |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`([a-z_.]+)`", line) for line in table.splitlines()[2:]]
    assert {row[0]: tuple(row[1:]) for row in rows} == open_to_plugins
    text = " ".join((DocumentQuery.__doc__ or "").replace(" (or ``*``)", "").split())
    for name, fields in open_to_plugins.items():
        assert f"``{name}``: {', '.join(fields)}" in text


def _methods(surface: Any) -> list[Any]:
    return [value for name, value in vars(surface).items() if inspect.isfunction(value) and not name.startswith("_")]


@pytest.mark.parametrize("method", [*_methods(PluginContext), *_methods(hooks.Api)], ids=lambda one: one.__qualname__)
def test_errors_that_a_docstring_names_are_public(method: Any) -> None:
    for name in re.findall(r"``([A-Z][A-Za-z]+)``", f"{method.__doc__} {hooks.Api.__doc__} {PluginContext.__doc__}"):
        assert name in hooks.__all__ or hasattr(builtins, name), f"{method.__qualname__} names {name}"


def test_every_public_name_of_the_hooks_can_be_imported() -> None:
    for name in hooks.__all__:
        assert getattr(hooks, name) is not None


async def test_the_examples_together_are_a_plugin_that_works(weather: Any, tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[weather]) as harness:
        harness.working("weather")
        context = await harness.instance("weather", {"cities": ["Oslo", "Lima"]})
        model = CrawlModel()
        await harness.crawl("weather", context, model)
        assert set(model.files) == {"/weather/Oslo.txt", "/weather/Lima.txt"}
        await harness.crawl("weather", context, model)
        assert model.changes == []
        assert await _first_emitted(harness, context) == "/weather/Lima.txt"
        assert await _reported(harness, context) == {"status": "healthy", "detail": "", "kept": 0}
        assert harness.host.failures == ()


async def _first_emitted(harness: Harness, context: Any) -> str:
    emitted: asyncio.Queue[Create] = asyncio.Queue()

    async def emit(operations: list[Create]) -> None:
        for operation in operations:
            emitted.put_nowait(operation)

    watching = asyncio.ensure_future(
        harness.host.call("weather", "mosaicfs_watch", timeout=None, context=context, emit=emit)
    )
    async with asyncio.timeout(10):
        first = await emitted.get()
    watching.cancel()
    await asyncio.wait({watching})
    return first.export_path


async def _reported(harness: Harness, context: Any) -> dict[str, Any]:
    running = asyncio.ensure_future(harness.host.call("weather", "mosaicfs_run", timeout=None, context=context))
    async with asyncio.timeout(10):
        while "weather" not in harness.core.reports:  # noqa: ASYNC110 - what is reported is there to be read
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait({running})
    return harness.core.reports["weather"]


async def test_the_registration_examples_work(weather: Any, tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[weather]) as harness:
        matches = harness.host.step_ops()["longer"].compile({"characters": 3})
        assert [matches(msgspec.defstruct("F", ["name"])(name)) for name in ("abc", "abcd")] == [False, True]
        group = click.Group()
        harness.host.register("weather", "mosaicfs_commands", cli=group, context=TerminalContext())
        assert list(group.commands) == ["weather"]
        app = Quart("guide")
        context = RoutesContextImpl(harness.core, "weather", dict)
        (blueprint,) = harness.host.register("weather", "mosaicfs_routes", app=app, context=context)
        app.register_blueprint(blueprint, url_prefix="/api/x/weather")
        assert "/api/x/weather/cities/<name>" in {rule.rule for rule in app.url_map.iter_rules()}


async def test_the_hub_of_the_examples_is_taken_for_its_address_and_swaps(weather: Any, tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", plugins=[weather]) as harness:
        _, hub = hub_of(harness.core, HubAddress("https://weather.example/mosaicfs"))
        with pytest.raises(ConfigError):
            hub_of(harness.core, HubAddress("https://elsewhere.example/mosaicfs"))
    assert (hub.access().base_url, hub.access().path) == ("https://weather.example", "/mosaicfs")
    await hub.prepare()
    rev = await hub.swap("note", {"n": 1}, None)
    with pytest.raises(Stale):
        await hub.swap("note", {"n": 2}, None)
    assert await hub.read("note") == (rev, {"n": 1})
    await hub.close()
