"""Protects what `plugin list` and `plugin describe` say of foreign programs: why one is never run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli
from mosaicfs_core.cli.plugin_instances import installed_type
from mosaicfs_core.documents import ids, times
from mosaicfs_core.errors import NotFound
from mosaicfs_core.home import Home
from mosaicfs_core.store import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with programs, good and bad."""
    monkeypatch.setenv("MOSAICFS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Home(tmp_path / "home").prepare()
    made.plugins_dir.mkdir(mode=0o700, exist_ok=True)
    for name, mode in {"good": 0o700, "plain": 0o600, "open": 0o777, "Wrong": 0o700, "idle": 0o700}.items():
        program = made.plugins_dir / name
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    (tmp_path / "elsewhere").write_text("#!/bin/sh\n")
    (tmp_path / "elsewhere").chmod(0o700)
    (made.plugins_dir / "link").symlink_to(tmp_path / "elsewhere")
    return made


async def use(home: Home, *names: str) -> None:
    """Instances of these programs."""
    async with await Store.open(home.replica) as store:
        for name in names:
            document = {"type": "plugin", "node_id": home.node_id(), "plugin_name": name, "name": name}
            document |= {"plugin_type": "executable", "enabled": True, "created_at": times.now_text()}
            await store.put({"_id": ids.plugin_document_id(home.node_id(), name), **document})


def listed() -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["plugin", "list", "--json"])
    assert done.exit_code == 0, done.output
    return {row["name"]: (row["status"], row["note"]) for row in json.loads(done.stdout)}


WHY = {
    "plain": "is not executable: chmod u+x",
    "open": "everybody may write to",
    "Wrong": "is no name of a program",
    "link": "is a link out of its directory",
}


async def test_the_list_says_why_a_program_is_not_run(home: Home) -> None:
    await use(home, "good", "open", "gone")
    rows = listed()
    for name, why in WHY.items():
        assert rows[name][0] == "failed"
        assert why in rows[name][1], rows[name]
    assert rows["good"] == ("on", "a program, executable")
    assert rows["idle"] == ("off", "a program, executable; `mosaicfs plugin enable idle` switches it on")
    assert rows["gone"] == ("failed", "there is no program gone")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_so_it_does_of_somebody_elses(home: Home) -> None:
    os.chown(home.plugins_dir / "idle", 4711, 4711)
    status, note = listed()["idle"]
    assert (status, "belongs neither to" in note) == ("failed", True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plain", "plain is a program (executable), which has no manifest; it cannot be run: "),
        ("good", "good is a program (executable), which has no manifest\n"),
        ("nothing", "no plugin nothing is installed"),
    ],
)
def test_a_program_is_not_described_as_a_package(home: Home, name: str, said: str) -> None:
    done = CliRunner().invoke(cli, ["plugin", "describe", name])
    assert done.exit_code == 1
    assert said in done.stderr


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("good", 0, ""),
        ("plain", 1, "plain is switched on and cannot run: plain is not executable: chmod u+x plain"),
        ("gone", 1, "gone is switched on and cannot run: there is no program gone in the plugin directories"),
        ("later", 0, ""),
        ("broken", 1, "broken is switched on and cannot run: its import fails"),
    ],
)
def test_enable_tells_what_cannot_run(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int, said: str, known: bool
) -> None:
    types = {"good": "executable", "plain": "executable", "gone": "executable", "later": "socket"}

    class Api:
        def get(self, path: str, **params: Any) -> Any:
            return {"items": [{"id": "node-a", "friendly_name": "Laptop"}], "total": 1}

        def send(self, method: str, path: str, body: Any = None) -> Any:
            if path.endswith("/rescan"):
                plain = {"name": "plain", "type": "executable", "error": "plain is not executable: chmod u+x plain"}
                broken = {"name": "broken", "error": "its import fails"}
                listed = [{"name": "gone"}, {"name": "later"}]  # packages of the same names are something else
                return {"items": [broken, {"name": "good", "type": "executable", "error": None}, plain, *listed]}
            if method == "PATCH" and not known and name in ("good", "plain", "broken"):
                raise NotFound(f"there is no instance {name}")
            return {"plugin_name": name, "plugin_type": types.get(name, "package"), "enabled": True}

    monkeypatch.setattr(TerminalContext, "api", Api())
    done = CliRunner().invoke(cli, ["plugin", "enable", name, "--node", "node-a"])
    assert done.exit_code == code
    assert said in done.stderr
    assert (done.stdout == f"{name} is on\n") == (code == 0)


async def test_a_name_is_listed_once_and_is_the_packages(home: Home) -> None:
    for name in ("summarize", "fulltext"):
        (home.plugins_dir / name).write_text("#!/bin/sh\n")
        (home.plugins_dir / name).chmod(0o700)
    await use(home, "fulltext")
    done = CliRunner().invoke(cli, ["plugin", "list", "--json"])
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert len(rows) == len(json.loads(done.stdout))
    assert rows["summarize"]["distribution"] == "mosaicfs-plugins"
    assert "a program of the same name is passed over" in rows["summarize"]["note"]
    assert rows["fulltext"]["status"] == "on"
    assert "`mosaicfs plugin remove fulltext` makes room" in rows["fulltext"]["note"]


def test_a_package_goes_before_a_program_of_its_name() -> None:
    told = [{"name": "twin", "status": "ok"}, {"name": "twin", "type": "executable"}]
    assert installed_type(TerminalContext(), "node-a", "twin", told) == "package"
