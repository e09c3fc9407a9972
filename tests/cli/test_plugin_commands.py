"""Protects ``mosaicfs plugin``: what is listed, a new package that keeps the contract, checks with their reasons."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from importlib_metadata import EntryPoint

from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.cli.main import cli
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import Conflict, MosaicError, NotAllowed, NotFound, Unavailable, UserError
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.first_instances import seed_instances
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.instances import default_document
from mosaicfs_core.store import Store
from mosaicfs_core.testing.faults import faulty

discover = PluginHost.discover


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["plugin", *words])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MOSAICFS_HOME", str(tmp_path / "home"))


@pytest.mark.logs("^plugin fails_to_import ")
def test_list_shows_working_announced_failed_and_disabled_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    email = EntryPoint(name="email", value="mosaicfs_bridge_email", group="mosaicfs")
    points = [email, *faulty("fails_to_import", "restless")]
    monkeypatch.setattr(PluginHost, "discover", lambda *args, **kwargs: discover(*args, entry_points=points, **kwargs))
    listed = {row["name"]: row for row in json.loads(run("list", "--json", "--disable", "restless").stdout)}
    assert (listed["email"]["status"], listed["email"]["note"]) == ("announced", "not available in this release")
    assert (listed["fails_to_import"]["status"], listed["fails_to_import"]["note"]) == (
        "failed",
        "RuntimeError: boom at import",
    )
    assert listed["restless"]["note"] == "disabled by name"
    monkeypatch.setenv("MOSAICFS_AGENT_DISABLED_PLUGINS", "restless, email")
    configured = {row["name"]: row["status"] for row in json.loads(run("list", "--json").stdout)}
    assert configured == {"email": "disabled", "restless": "disabled", "fails_to_import": "failed"}
    human = run("list", "--verbose")
    assert "Traceback" in human.stderr
    assert "boom at import" in human.stdout


def gone(home: Home, name: str) -> dict[str, Any]:
    """The fields of an instance's document whose package is not installed."""
    return {"_id": ids.plugin_document_id(home.node_id(), name), "plugin_name": name, "package": name}


async def test_list_tells_which_plugins_are_switched_off_here(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    store = await Store.open(home.replica)
    host = discover(only=("localfs", "search"))
    for name, enabled in (("localfs", False), ("search", True)):
        await store.put({**default_document(home.node_id(), host.get(name)), "enabled": enabled})
    await store.put({**default_document(home.node_id(), host.get("search")), **gone(home, "xhan")})
    await store.close()
    listed = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert (listed["localfs"]["status"], listed["search"]["status"], listed["labels"]["status"]) == ("off", "ok", "ok")
    assert "`mosaicfs plugin enable localfs`" in listed["localfs"]["note"]
    for name in ("fulltext", "summarize"):  # nobody switched them on yet
        assert (listed[name]["status"], listed[name]["note"]) == (
            "off",
            f"`mosaicfs plugin enable {name}` switches it on",
        )
    assert (listed["couchdb"]["status"], "`[hub]`" in listed["couchdb"]["note"]) == ("off", True)
    assert (listed["pins"]["status"], listed["vfs"]["status"]) == ("ok", "ok")
    assert listed["xhan"]["status"] == "not installed"
    assert "`mosaicfs plugin remove xhan`" in listed["xhan"]["note"]


async def test_list_tells_of_a_default_plugin_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home").prepare()
    store = await Store.open(home.replica)
    host = discover(only=("labels",))
    await seed_instances(store, home.node_id(), [default_document(home.node_id(), host.get("labels"))])
    document = await store.get(ids.plugin_document_id(home.node_id(), "labels"))
    assert document is not None
    await store.put({**document, "_deleted": True})
    await store.close()
    monkeypatch.setenv("MOSAICFS_HUB_URL", "http://127.0.0.1:5984/mosaicfs")
    listed = {row["name"]: row["status"] for row in json.loads(run("list", "--json").stdout)}
    assert (listed["labels"], listed["localfs"], listed["couchdb"]) == ("off", "ok", "ok")


def test_check_names_what_is_wrong_and_fails() -> None:
    assert run("check", "search").exit_code == 0
    bad = run("check", "leaks=mosaicfs_core.testing.faults:leaks")
    assert bad.exit_code == 1
    assert "left behind after stopping: tasks" in bad.stderr
    assert bad.stderr.splitlines()[-1] == "mosaicfs: leaks fails 1 of 6 checks"
    rows = json.loads(run("check", "--json", "leaks=mosaicfs_core.testing.faults:leaks").stdout)
    assert [row["result"] for row in rows][:6] == ["ok", "ok", "ok", "ok", "failed", "ok"]
    assert {row["result"] for row in rows[6:]} == {"skipped"}
    assert "no plugin absent is installed" in run("check", "absent").stderr


@pytest.mark.logs("mosaicfs_file_event failed: FileNotFoundError")
def test_a_new_package_is_complete_and_passes_the_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = run("new", "my-notes", "--in", str(tmp_path), "--json")
    made = json.loads(answer.stdout)
    directory = tmp_path / "mosaicfs-x-my-notes"
    assert made["directory"] == str(directory)
    project = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["mosaicfs"] == {"my-notes": "mosaicfs_x_my_notes"}
    for file in made["files"]:
        if file.endswith(".py"):
            compile((directory / file).read_text(), file, "exec")
    monkeypatch.syspath_prepend(str(directory / "src"))
    checked = run("check", "my-notes=mosaicfs_x_my_notes", "--way", "package")
    assert checked.exit_code == 0, checked.stderr


async def test_the_crawl_of_a_new_package_keeps_its_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mosaicfs_core.cli.plugin_template import write_package
    from mosaicfs_core.testing import CrawlContract, plugin_at

    directory = write_package("other_notes", tmp_path).directory
    monkeypatch.syspath_prepend(str(directory / "src"))
    test: dict[str, Any] = {}
    exec((directory / "tests" / "test_mosaicfs_x_other_notes.py").read_text(), test)
    source = test["Source"](tmp_path / "home" / "bridge-data" / "files" / "other_notes")
    source.plugin = plugin_at("other_notes", "mosaicfs_x_other_notes")
    await CrawlContract().test_a_removed_file_is_gone_and_the_others_stay(source, tmp_path)
    sys.modules.pop("mosaicfs_x_other_notes", None)


def test_a_name_that_cannot_be_or_a_directory_that_exists_is_refused(tmp_path: Path) -> None:
    from mosaicfs_core.cli.plugin_template import write_package

    for name in ("Upper", "9lives", "../x", ""):
        with pytest.raises(UserError, match="cannot be a plugin's"):
            write_package(name, tmp_path)
    write_package("notes", tmp_path)
    with pytest.raises(Conflict, match="exists already"):
        write_package("notes", tmp_path)
    assert run("new", "Upper").exit_code == 2
    with pytest.raises(Conflict, match="a plugin labels is installed already, by mosaicfs-plugins"):
        write_package("labels", tmp_path)


class Api:
    """Remembers what was sent; has the packages ``notes`` and ``search``, and no instances but ``mail``."""

    def __init__(self, unasked: MosaicError | None = None) -> None:
        self.sent: list[tuple[str, str, Any]] = []
        self.unasked = unasked or Unavailable("node-a is not connected")

    def send(self, method: str, path: str, body: Any = None) -> Any:
        if path == "nodes/node-a/rescan":
            raise self.unasked
        self.sent.append((method, path, body))
        if method == "DELETE":
            return {"removed": path.rpartition("/")[2]}
        if method == "PATCH" and body == {"enabled": True}:
            raise NotFound("no such instance")
        return {"enabled": body["enabled"], "warnings": ["it is heavy"]}

    def get(self, path: str, **params: Any) -> Any:
        if path == "nodes":
            return {"items": [{"id": "node-a", "friendly_name": "Laptop"}], "total": 1}
        if path == "nodes/node-a/status":  # what it told before it went away
            return {"available_plugins": [{"name": "notes"}, {"name": "search"}]}
        assert path == "nodes/node-a/plugins"
        return {"items": [{"id": "mail"}]}


def test_enable_refuses_what_is_not_there_and_says_what_may_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    monkeypatch.setattr(TerminalContext, "api", api)
    for name, hint in {
        "note": "did you mean notes?",
        "mai": "did you mean mail?",
        "x": "installed are notes, search",
    }.items():
        answer = run("enable", name, "--node", "node-a")
        assert answer.exit_code == 1
        assert f"node-a has no plugin {name}" in answer.stderr
        assert hint in answer.stderr
    assert {method for method, _, _ in api.sent} == {"PATCH"}


def test_remove_takes_an_instance_away(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    monkeypatch.setattr(TerminalContext, "api", api)
    assert run("remove", "notes", "--node", "Laptop").stdout == "notes is removed\n"
    assert api.sent == [("DELETE", "nodes/node-a/plugins/notes", None)]


@pytest.mark.parametrize(
    "unasked", [Unavailable("not connected"), NotAllowed("disabled"), NotFound("there is no method rescan")]
)
def test_enable_makes_an_instance_and_disable_switches_it_off(
    monkeypatch: pytest.MonkeyPatch, unasked: MosaicError
) -> None:
    api = Api(unasked)
    monkeypatch.setattr(TerminalContext, "api", api)
    answer = run("enable", "notes", "--node", "node-a")
    assert answer.stdout == "notes is on\nwarning: it is heavy\n"
    assert run("disable", "notes", "--node", "node-a", "--quiet").stdout == ""
    assert api.sent == [
        ("PATCH", "nodes/node-a/plugins/notes", {"enabled": True}),
        ("POST", "nodes/node-a/plugins", {"plugin_name": "notes", "plugin_type": "package", "enabled": True}),
        ("PATCH", "nodes/node-a/plugins/notes", {"enabled": False}),
    ]
