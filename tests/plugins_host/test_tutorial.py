"""Protects the way from nothing to a plugin, as the guide tells it, step by step, in an environment of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.plugins_host.test_third_party import PIP, ROOT, Elsewhere, bare

GUIDE = (ROOT / "docs" / "plugins.md").read_text("utf-8")
NAME = "recipes"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    """What a plugin author has: MosaicFS with its standard plugins, and nothing else of ours."""
    made = bare(tmp_path / "elsewhere")
    wheels = made.directory / "wheels"
    for source in ("mosaicfs_core", "mosaicfs_plugins"):
        made.run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, ROOT / source)
    made.pip("install", "--no-deps", "--no-index", *sorted(wheels.glob("*.whl")))
    return made


def steps() -> list[str]:
    """The commands at the beginning of the guide, without what they are commented with."""
    block = GUIDE.partition("    mosaicfs plugin new")[1:]
    lines = "".join(block).partition("\n\n")[0].splitlines()
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def test_a_new_plugin_keeps_its_contracts_in_every_way_to_run_it(elsewhere: Elsewhere) -> None:
    told = steps()
    assert told[:4] == [
        f"mosaicfs plugin new {NAME}",
        f"pip install -e './mosaicfs-x-{NAME}[test]'",
        "mosaicfs plugin list",
        f"mosaicfs plugin check {NAME}",
    ]
    elsewhere.mosaicfs("plugin", "new", NAME)
    package = elsewhere.directory / f"mosaicfs-x-{NAME}"
    # What it needs is there, so nothing is fetched; the guide's -e would want one more tool for building.
    elsewhere.pip("install", "--no-deps", "--no-index", "--no-build-isolation", package)
    listed = {plugin["name"]: plugin["status"] for plugin in elsewhere.mosaicfs("plugin", "list")}
    assert listed[NAME] == "off"
    checks = elsewhere.mosaicfs("plugin", "check", NAME)
    # Files are put where a crawl finds them by the package's own tests alone.
    assert {check["result"] for check in checks if check["way"]} == {"ok"}
    assert {check["result"] for check in checks} == {"ok", "skipped"}
    output = elsewhere.run(
        elsewhere.python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        package / "pyproject.toml",
        package / "tests",
    )
    summary = output.splitlines()[-1]
    # Five of a plugin, six of a crawl, of which this source cannot do one, and three of events in four ways.
    assert "22 passed, 1 skipped" in summary, output
