"""Protects the plugins' commands: found without imports, made anew when needed, and never breaking the program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from importlib_metadata import EntryPoint

from mosaicfs_core.cli import plugin_cache
from mosaicfs_core.cli.frame import root_group
from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.errors import ConfigError
from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.testing.faults import faulty

pytestmark = pytest.mark.logs("^plugin fails_to_import ")

original = PluginHost.discover


def module_with(*names: str) -> ModuleType:
    """A plugin module that adds these commands."""
    module = ModuleType("plugin_with_commands")

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        return PluginManifest(title="T", description="D", version="1", hook_api=HOOK_API)

    @hookimpl
    def mosaicfs_commands(cli: click.Group, context: Any) -> None:
        for name in names:

            def command(name: str = name) -> None:
                """Greet."""
                context.say(f"hello from {name}")

            cli.command(name)(command)

    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_commands=mosaicfs_commands)
    return module


@pytest.fixture
def discoveries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replaces what is installed by one good plugin and the faulty ones; returns what was asked to be imported."""
    asked: list[Any] = []
    points = [EntryPoint(name="good", value="plugin_with_commands", group="mosaicfs")]
    points += faulty("raises", "fails_to_import")

    def discover(disabled: Any = (), safe_mode: bool = False, *, entry_points: Any = None) -> PluginHost:
        asked.append([point.name for point in entry_points] if entry_points else "ours" if safe_mode else "all")
        return original(disabled, safe_mode, entry_points=entry_points or points)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MOSAICFS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(PluginHost, "discover", discover)
    monkeypatch.setitem(sys.modules, "plugin_with_commands", module_with("greet"))
    plugin_cache._memory.cache_clear()
    return asked


def forget() -> None:
    """As a new process begins."""
    plugin_cache._memory.cache_clear()


def test_the_list_is_made_once_and_kept(discoveries: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert plugin_cache.helps(TerminalContext()) == {"greet": "Greet."}
    said = capsys.readouterr().err
    assert "plugin raises: mosaicfs_commands failed: RuntimeError: boom" in said
    assert "plugin fails_to_import cannot be used: RuntimeError: boom at import" in said
    forget()
    assert plugin_cache.names(TerminalContext()) == ["greet"]
    assert discoveries == ["all"]
    assert capsys.readouterr().err == ""


def test_in_safe_mode_no_stranger_is_imported_to_find_a_command(discoveries: list[Any]) -> None:
    from click.testing import CliRunner

    answer = CliRunner().invoke(root_group({}), ["greet", "--safe-mode"])
    assert (answer.exit_code, set(discoveries)) == (2, {"ours"})
    assert CliRunner().invoke(root_group({}), ["greet"]).exit_code == 0
    assert "all" in discoveries


def test_running_a_command_imports_its_plugin_alone(discoveries: list[Any]) -> None:
    from click.testing import CliRunner

    plugin_cache.names(TerminalContext())
    answer = CliRunner().invoke(root_group({}), ["greet"])
    assert (answer.exit_code, answer.stdout) == (0, "hello from greet\n")
    assert discoveries == ["all", ["good"]]


def test_a_command_the_list_does_not_hold_makes_it_anew(
    discoveries: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_cache.names(TerminalContext())
    monkeypatch.setitem(sys.modules, "plugin_with_commands", module_with("greet", "wave"))
    forget()
    assert plugin_cache.load("wave", TerminalContext()) is not None
    assert plugin_cache.load("nothing", TerminalContext()) is None


def test_a_command_that_went_says_so(discoveries: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_cache.names(TerminalContext())
    monkeypatch.setitem(sys.modules, "plugin_with_commands", module_with("wave"))
    forget()
    with pytest.raises(click.ClickException, match="the plugin good no longer offers greet"):
        plugin_cache.load("greet", TerminalContext())
    assert plugin_cache.names(TerminalContext()) == ["wave"]


def test_an_installed_package_or_a_damaged_cache_makes_it_anew(
    discoveries: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin_cache.names(TerminalContext())
    (kept,) = (tmp_path / "mosaicfs").iterdir()
    kept.write_text("{ damaged")
    forget()
    assert plugin_cache.names(TerminalContext()) == ["greet"]
    place = tmp_path / "site-packages"
    place.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    forget()
    assert plugin_cache.names(TerminalContext()) == ["greet"]
    assert discoveries == ["all", "all", "all"]
    assert json.loads(kept.read_text())["commands"]["greet"]["plugin"] == "good"


def test_without_a_cache_directory_it_works_too(discoveries: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert plugin_cache.names(TerminalContext()) == ["greet"]


def home_with(path: Path, configuration: str) -> TerminalContext:
    """The context of an invocation on a home with this configuration."""
    path.mkdir()
    (path / "mosaicfs.toml").write_text(configuration)
    context = TerminalContext()
    context.home_path = path
    return context


def test_a_disabled_plugin_is_not_imported_and_has_no_commands(
    discoveries: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from click.testing import CliRunner

    assert plugin_cache.names(TerminalContext()) == ["greet"]
    context = home_with(tmp_path / "other", '[agent]\ndisabled_plugins = ["good", "raises", "fails_to_import"]')
    monkeypatch.setitem(sys.modules, "plugin_with_commands", None)  # importing it fails
    capsys.readouterr()
    assert plugin_cache.names(context) == []
    assert plugin_cache.load("greet", context) is None
    assert capsys.readouterr().err == ""
    overview = CliRunner().invoke(root_group({}), ["--help", "--home", str(tmp_path / "other")])
    assert "greet" not in overview.output
    forget()
    assert plugin_cache.names(TerminalContext()) == ["greet"], "the other home's list is kept"
    assert discoveries == ["all", "all", "all"]


def test_a_wrong_configuration_imports_no_plugin(
    discoveries: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = home_with(tmp_path / "other", "[agent]\ndisabled_plugins = 7")
    assert (plugin_cache.names(context), plugin_cache.helps(context)) == ([], {})
    assert "line 2, agent.disabled_plugins" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        plugin_cache.load("greet", context)
    assert discoveries == []
