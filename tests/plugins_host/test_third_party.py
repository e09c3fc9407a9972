"""Protects strangers' packages: installed into another environment one is found, works, can be disabled, and goes
without a trace. The example package is built, and so is the core; everything else comes from this environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "tests" / "third_party_example"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")

SCRIPT = """
import asyncio, json, sys
from pathlib import Path
from mosaicfs_core.rules import FileFacts, compile_chain
from mosaicfs_core.testing import CrawlModel, Harness

async def main():
    async with Harness.start(Path(sys.argv[1])) as harness:
        steps = [{"op": "vowels", "at_least": 3}]
        chain = compile_chain(steps, "include", harness.host.step_ops())
        facts = [FileFacts("node-a", f"/x/{name}", name, 1, 1, None) for name in ("banana", "rhythm")]
        context = await harness.instance("recipes", {"recipes": {"Soup": "Boil water.", "Tea": "Boil water."}})
        model = CrawlModel()
        await harness.crawl("recipes", context, model)
        text = (context.files_dir / "recipes" / "Soup.txt").read_text()
        verdicts = [chain.verdict(one, None, 0) for one in facts]
        print(json.dumps({"verdicts": verdicts, "files": sorted(model.files), "soup": text}))

asyncio.run(main())
"""


class Elsewhere:
    """A virtual environment that has the built core and, after ``install``, the example."""

    def __init__(self, directory: Path, venv: Path) -> None:
        self.directory = directory
        self.python = venv / "bin" / "python"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "XDG_CONFIG_HOME": str(directory / "config"),
            "MOSAICFS_HOME": str(directory / "home"),
        }

    def run(self, *command: str | Path, code: int = 0) -> str:
        """Run a program of that environment; returns its standard output."""
        done = subprocess.run(
            [str(word) for word in command],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def mosaicfs(self, *words: str, code: int = 0) -> Any:
        """Run ``mosaicfs --json`` there."""
        text = self.run(self.python.with_name("mosaicfs"), "--json", *words, code=code)
        return json.loads(text) if text else None

    def pip(self, *words: str | Path) -> None:
        """Run pip upon that environment; it never reaches for the network."""
        self.run(*PIP, "--python", self.python, *words)


def bare(directory: Path, venv: Path | None = None) -> Elsewhere:
    """An environment that has nothing of MosaicFS, and all that it depends on; it lies at ``venv``, by default in
    ``directory``."""
    directory.mkdir(exist_ok=True)
    where = venv or directory / "venv"
    made = Elsewhere(directory, where)
    made.run(sys.executable, "-m", "venv", "--without-pip", where)
    # What the core depends on is this environment's, but none of MosaicFS itself.
    dependencies = made.directory / "dependencies"
    dependencies.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "mosaicfs" not in entry.name:
            (dependencies / entry.name).symlink_to(entry)
    site = next((where / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return made


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    made = bare(tmp_path_factory.mktemp("elsewhere"))
    wheels = made.directory / "wheels"
    for source in (ROOT / "mosaicfs_core", EXAMPLE):
        made.run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source)
    made.pip("install", "--no-deps", "--no-index", *sorted(wheels.glob("*.whl")))
    return made


def test_it_is_listed_as_a_strangers_plugin(elsewhere: Elsewhere) -> None:
    (plugin,) = elsewhere.mosaicfs("plugin", "list")
    assert (plugin["name"], plugin["status"], plugin["version"]) == ("recipes", "off", "1.2.0")
    assert (plugin["distribution"], plugin["first_party"]) == ("recipes-for-mosaicfs", False)


def test_its_command_its_step_op_and_its_crawl_work(elsewhere: Elsewhere) -> None:
    assert elsewhere.mosaicfs("recipes", "count", "banana", "soup") == {"words": ["banana", "soup"], "vowels": 5}
    assert "recipes" in elsewhere.run(elsewhere.python.with_name("mosaicfs"), "--help")
    answer = json.loads(elsewhere.run(elsewhere.python, "-c", SCRIPT, elsewhere.directory / "script-home"))
    assert answer["verdicts"] == [True, False]
    assert answer["files"] == ["/recipes/Soup.txt", "/recipes/Tea.txt"]
    assert answer["soup"] == "Boil water."


def test_its_own_tests_pass_there_with_the_kit(elsewhere: Elsewhere) -> None:
    pytest_there = (elsewhere.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", EXAMPLE / "pyproject.toml")
    output = elsewhere.run(*pytest_there, EXAMPLE / "tests")
    assert "10 passed, 1 skipped" in output, output


def test_it_is_disabled_by_name_and_in_safe_mode(elsewhere: Elsewhere) -> None:
    (disabled,) = elsewhere.mosaicfs("plugin", "list", "--disable", "recipes")
    assert (disabled["status"], disabled["hooks"], disabled["note"]) == ("disabled", [], "disabled by name")
    (safe,) = elsewhere.mosaicfs("plugin", "list", "--safe-mode")
    assert (safe["status"], safe["note"]) == ("disabled", "not loaded in safe mode")


def test_it_goes_without_a_trace(elsewhere: Elsewhere) -> None:
    elsewhere.pip("uninstall", "-y", "recipes-for-mosaicfs")
    assert elsewhere.mosaicfs("plugin", "list") == []
    elsewhere.mosaicfs("recipes", "count", "banana", code=2)
    assert "recipes" not in elsewhere.run(elsewhere.python.with_name("mosaicfs"), "--help")
