"""Protects the wheels: each is installed from an empty environment, with what it depends on and nothing else, and does
what it can without the others."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
PACKAGES = ("mosaicfs_core", "mosaicfs_vfs", "mosaicfs_plugins", "mosaicfs_fulltext", "mosaicfs_bridge_email")

pytestmark = pytest.mark.skipif(not UV.exists(), reason="uv is not installed beside this Python")

Environment = Callable[..., Path]


def uv(*words: str | Path) -> None:
    """Run uv; its cache is the one that made this environment, so that little or nothing is fetched."""
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    done = subprocess.run([UV, "-q", *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"uv {words}: {done.stderr}"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each package."""
    folder = tmp_path_factory.mktemp("wheels")
    uv("build", "--all-packages", "--wheel", "--out-dir", folder)
    found = {wheel.name.partition("-")[0]: wheel for wheel in folder.glob("*.whl")}
    assert found.keys() == set(PACKAGES)
    # Siblings come from here, should anything of their names ever stand in a registry.
    pins = (f"{name.replace('_', '-')} @ {wheel.as_uri()}" for name, wheel in found.items())
    (folder / "pins.txt").write_text("\n".join(pins))
    return found


@pytest.fixture
def installed(wheels: dict[str, Path], tmp_path: Path) -> Environment:
    """``installed(package, …)``: the Python of an environment that has these wheels and their dependencies alone."""

    def install(*packages: str) -> Path:
        python = tmp_path / "venv" / "bin" / "python"
        uv("venv", "--python", sys.executable, tmp_path / "venv")
        chosen = [wheels[package] for package in packages]
        folder = chosen[0].parent
        uv("pip", "install", "-p", python, "--find-links", folder, "--constraint", folder / "pins.txt", *chosen)
        return python

    return install


def names(items: list[dict[str, Any]]) -> set[str]:
    return {str(item["name"]) for item in items}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_carries_its_typing_marker_and_no_tests(wheels: dict[str, Path], package: str) -> None:
    found = zipfile.ZipFile(wheels[package]).namelist()
    assert f"{package}/py.typed" in found
    assert not [name for name in found if name.startswith("tests/")]


def test_the_core_alone_is_a_host_without_plugins(installed: Environment, make_machine: Any) -> None:
    machine = make_machine(installed("mosaicfs_core"))
    assert machine.run("plugin", "list") == []
    up = machine.up("--no-mount")
    facts = up.wait_ready()
    assert machine.http(facts["url"] + "/api/health")[0] == 200
    assert machine.run("nodes", "list")["total"] >= 1
    assert all(row["status"] != "failed" for row in machine.run("doctor"))
    assert up.end() == 0


def test_the_namespace_alone_serves_a_tree(installed: Environment, make_machine: Any) -> None:
    machine = make_machine(installed("mosaicfs_vfs"))
    assert names(machine.run("plugin", "list")) == {"vfs"}
    up = machine.up("--no-mount")
    up.wait_ready()
    machine.run("vfs", "mkdir", "/mine")
    assert "mine" in names(machine.run("vfs", "ls", "/")["items"])
    assert "pyfuse3 is not installed" in machine.run("mount", str(machine.mount), code=2)["error"]["message"]
    assert up.end() == 0


def test_the_standard_plugins_alone_index_search_and_label(installed: Environment, make_machine: Any) -> None:
    machine = make_machine(installed("mosaicfs_plugins"))
    ours = {"couchdb", "external", "labels", "localfs", "pins", "search", "summarize"}
    assert names(machine.run("plugin", "list")) == ours
    up = machine.up("--no-mount", str(machine.tree))
    up.wait_ready()
    report = machine.tree / "Work" / "2025" / "report.txt"
    assert names(machine.run("search", "report")["items"]) == {"report.txt"}
    machine.run("labels", "add", str(report), "work")
    assert names(machine.run("search", "--label", "work")["items"]) == {"report.txt"}
    assert up.end() == 0


@pytest.mark.parametrize(
    ("package", "plugin", "status"),
    [("mosaicfs_fulltext", "fulltext", "off"), ("mosaicfs_bridge_email", "email", "announced")],
)
def test_a_package_alone_is_listed(
    installed: Environment, make_machine: Any, package: str, plugin: str, status: str
) -> None:
    (listed,) = make_machine(installed(package)).run("plugin", "list")
    assert (listed["name"], listed["status"]) == (plugin, status)


def test_full_text_search_alone_has_all_that_it_needs(installed: Environment) -> None:
    modules = ("registry", "opening", "meilisearch", "query.ask", "index.embedded", "extraction.documents", "language")
    imports = "; ".join(f"import mosaicfs_fulltext.{module}" for module in modules)
    program = f"{imports}; import kreuzberg, charset_normalizer, tantivy"
    subprocess.run([installed("mosaicfs_fulltext"), "-c", program], check=True)


def test_all_wheels_together_show_a_folder_in_the_tree(installed: Environment, make_machine: Any) -> None:
    machine = make_machine(installed(*PACKAGES))
    up = machine.up("--no-mount", str(machine.tree))
    node = up.wait_ready()["node_id"]
    machine.run("nodes", "rename", node, "attic")
    (name,) = names(machine.run("vfs", "ls", "/machines")["items"])
    found = machine.run("vfs", "ls", f"/machines/{name}/tree/Work/2025")["items"]
    assert names(found) == {"report.txt"}
    assert up.end() == 0
