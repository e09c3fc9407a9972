"""Protects the frame of the command line: options anywhere, lazy loading, one clear line and an exit code per error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from mosaicfs_core.cli import frame, plugin_cache
from mosaicfs_core.cli.client import Unreachable
from mosaicfs_core.cli.frame import CoreCommand, RootGroup, root_group
from mosaicfs_core.cli.main import COMMANDS
from mosaicfs_core.errors import MosaicError, NotAllowed, NotFound, NotSignedIn, PluginError, Unavailable, UserError

ERRORS: dict[str, Exception] = {
    "user": UserError("limit: expected a number", field="limit"),
    "missing": NotFound("no such file"),
    "forbidden": NotAllowed("not yours"),
    "unknown": NotSignedIn("sign in first"),
    "unreachable": Unreachable("http://x cannot be reached"),
    "busy": Unavailable("later"),
    "plugin": PluginError("plugin x failed", "x", "mosaicfs_crawl"),
    "bug": ValueError("two\nlines"),
}


def register(cli: click.Group, context: Any) -> None:
    """This module is a command module, as those of the core are."""

    @cli.command("say", short_help="Say what was asked for.")
    @click.argument("words", nargs=-1)
    def say(words: tuple[str, ...]) -> None:
        context.say(" ".join(words))
        context.show(
            {"words": list(words), "verbose": context.verbose, "quiet": context.quiet, "home": str(context.home_path)}
        )

    @cli.command("fail", short_help="Fail.")
    @click.argument("how")
    def fail(how: str) -> None:
        raise ERRORS[how]


@pytest.fixture(autouse=True)
def _quiet_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MOSAICFS_HOME", raising=False)
    monkeypatch.setattr(plugin_cache, "_ask_plugins", lambda disabled: {})
    plugin_cache._memory.cache_clear()


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> RootGroup:
    monkeypatch.setitem(sys.modules, "commands_of_this_test", sys.modules[__name__])
    commands = {name: CoreCommand("commands_of_this_test", f"{name}s.") for name in ("say", "fail")}
    return root_group({**commands, "absent": CoreCommand("a_module_that_is_not_there", "Never imported.")})


def run(cli: RootGroup, *words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.mark.parametrize(
    "line",
    [
        ["--json", "--verbose", "--home", "/h", "say", "a", "b"],
        ["say", "--json", "a", "--verbose", "b", "--home", "/h"],
        ["say", "a", "--home=/h", "b", "--json", "--verbose"],
    ],
)
def test_global_options_are_accepted_anywhere(cli: RootGroup, line: list[str]) -> None:
    answer = run(cli, *line)
    assert json.loads(answer.stdout) == {"words": ["a", "b"], "verbose": True, "quiet": False, "home": "/h"}


def test_words_after_two_dashes_are_left_alone(cli: RootGroup) -> None:
    answer = run(cli, "say", "--json", "--", "--verbose", "--home")
    assert json.loads(answer.stdout)["words"] == ["--verbose", "--home"]
    assert json.loads(answer.stdout)["verbose"] is False


def test_the_home_comes_from_the_environment_too(cli: RootGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOSAICFS_HOME", "/from/environment")
    assert json.loads(run(cli, "say", "--json").stdout)["home"] == "/from/environment"
    assert json.loads(run(cli, "say", "--json", "--home", "/h").stdout)["home"] == "/h"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("user", 2),
        ("missing", 1),
        ("forbidden", 4),
        ("unknown", 4),
        ("unreachable", 3),
        ("busy", 1),
        ("plugin", 1),
        ("bug", 1),
    ],
)
def test_each_error_is_one_line_and_an_exit_code(cli: RootGroup, how: str, code: int) -> None:
    answer = run(cli, "fail", how)
    assert answer.exit_code == code
    assert answer.stdout == ""
    first, *rest = answer.stderr.splitlines()
    assert first == ("mosaicfs: ValueError: two lines" if how == "bug" else f"mosaicfs: {ERRORS[how].message}")
    assert rest == (["This is unexpected; --verbose shows where it happened."] if how == "bug" else [])
    assert "Traceback" in run(cli, "fail", how, "--verbose").stderr


def test_with_json_an_error_is_json(cli: RootGroup) -> None:
    answer = run(cli, "--json", "fail", "user")
    assert json.loads(answer.stderr) == {
        "error": {"code": "invalid", "message": "limit: expected a number", "details": {"field": "limit"}}
    }


def test_wrong_usage_ends_with_two(cli: RootGroup) -> None:
    for line in (["nonsense"], ["fail"], ["--nonsense"], ["say", "--nonsense"]):
        assert run(cli, *line).exit_code == 2


def test_a_misspelt_command_is_guessed_without_asking_the_plugins(
    cli: RootGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listing(_disabled: Any, refresh: bool = False) -> Any:
        return pytest.fail("asked") if refresh else {}

    monkeypatch.setattr(plugin_cache, "_listing", listing)
    assert "Did you mean absent?" in run(cli, "abzent").stderr


def test_only_the_module_that_is_needed_is_imported(cli: RootGroup) -> None:
    answer = run(cli, "--help")
    assert answer.exit_code == 0
    assert "absent" in answer.stdout
    assert run(cli, "say", "x").exit_code == 0
    assert run(cli, "absent").exit_code == 1


def test_quiet_and_json_say_nothing_beside_the_result(cli: RootGroup) -> None:
    assert run(cli, "say", "hello").stdout.startswith("hello\n")
    assert not run(cli, "--quiet", "say", "hello").stdout.startswith("hello\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_map_exists_and_has_the_help_that_the_map_says(name: str) -> None:
    from mosaicfs_core.cli.main import cli as real

    command = real.get_command(click.Context(real), name)
    assert command is not None
    assert command.get_short_help_str(200) == COMMANDS[name].help


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str) -> None:
    from mosaicfs_core.cli.main import cli as real

    answer = run(real, "completion", shell)
    assert answer.exit_code == 0
    assert "_MOSAICFS_COMPLETE" in answer.stdout


def test_completion_completes_commands(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "_MOSAICFS_COMPLETE": "bash_complete",
        "COMP_WORDS": "mosaicfs --json comp",
        "COMP_CWORD": "2",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("mosaicfs")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["plain,completion"]
    assert done.stderr == ""


def test_the_overview_and_a_call_import_no_plugin_and_no_web_framework(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['mosaicfs', *sys.argv[1:]]\n"
        "from mosaicfs_core.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'quart', 'rich', 'pluggy', 'jsonschema', 'aiohttp', 'asyncio', 'sqlite3', 'cryptography'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    home = str(tmp_path / "home")
    for line in (["--help"], ["--help"], ["--home", home, "status"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *line], env=environment, capture_output=True, text=True, check=False
        )
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout + done.stderr
    assert "MosaicFS is not running" in done.stderr


def test_exit_codes_of_unknown_errors_are_one() -> None:
    assert frame.exit_code(MosaicError("x")) == 1
    assert frame.exit_code(OSError("x")) == 1
