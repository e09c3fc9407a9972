"""Protects every process from packages whose import ends it: they are imported in another one first, and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core import children

HARMLESS = "from pathlib import Path; open(r'{told}', 'a').write('imported ')\n"
KINDS = {
    "exits": ("import os; os._exit(0)", "importing it ends the process (exit code 0)"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "importing it ends the process (signal 11)"),
    "raises": ("raise RuntimeError('no')", "RuntimeError: no"),
}


def install(packages: Path, name: str, source: str, version: str = "1") -> None:
    facts = packages / f"{name}-{version}.dist-info"
    facts.mkdir(parents=True)
    (packages / f"{name}.py").write_text(source)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (facts / "entry_points.txt").write_text(f"[mosaicfs]\n{name} = {name}\n")


def listed(tmp_path: Path) -> dict[str, Any]:
    """What ``plugin list`` shows with the packages of ``tmp_path``."""
    command = (sys.executable, "-c", children.PROGRAM, "--json", "--home", tmp_path / "home", "plugin", "list")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "packages"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {plugin["name"]: plugin for plugin in json.loads(done.stdout)}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_it_is_named_and_the_rest_works(kind: str, tmp_path: Path) -> None:
    source, said = KINDS[kind]
    install(tmp_path / "packages", "fatal", source)
    found = listed(tmp_path)
    assert found["fatal"]["status"] == "failed"
    assert said in found["fatal"]["note"]
    assert found["localfs"]["status"] == "ok"


def test_what_was_imported_once_is_not_tried_again_until_it_is_another_version(tmp_path: Path) -> None:
    told = tmp_path / "told"
    source = HARMLESS.format(told=told)
    install(tmp_path / "packages", "harmless", source)
    listed(tmp_path)
    first = told.read_text().split()
    told.unlink()
    listed(tmp_path)
    assert len(told.read_text().split()) == len(first) - 1
    told.unlink()
    (tmp_path / "packages" / "harmless-1.dist-info").rename(tmp_path / "old")
    install(tmp_path / "packages", "harmless", source, "2")
    listed(tmp_path)
    assert len(told.read_text().split()) == len(first)
