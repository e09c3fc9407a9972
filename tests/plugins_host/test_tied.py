"""Protects the machine from plugins whose MosaicFS was killed: their processes end, whatever they are at, with what they
have started themselves."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mosaicfs_core import children

PACKAGE = """
import subprocess, sys, time
from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl

@hookimpl
def mosaicfs_manifest():
    {at_load}
    return PluginManifest(title="Tied", description="Is tied.", version="1", hook_api=HOOK_API)
"""
STARTS = 'subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], stdin=subprocess.DEVNULL)'
PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
print(child.pid, flush=True)
print(child.stdout.readline() if {waits} else "", flush=True)
child.wait()
"""


def members(group: int) -> list[int]:
    """The processes of a group that are not only waiting to be buried."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(its_group) == group and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed by /proc")
@pytest.mark.parametrize(
    ("at_load", "waits"),
    [(STARTS, True), (f"{STARTS}; time.sleep(3600)", False)],
    ids=["serves", "does not return"],
)
async def test_a_served_plugin_ends_with_whoever_started_it(tmp_path: Path, at_load: str, waits: bool) -> None:
    (tmp_path / "tied_plugin.py").write_text(PACKAGE.format(at_load=at_load))
    words = children.command(tmp_path / "home", "plugin", "serve", "tied=tied_plugin", "--socket")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(waits=waits), *words, str(tmp_path / "s")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    assert parent.stdout.readline()
    async with asyncio.timeout(40):
        while len(members(group)) < 2:  # it, and what it started
            await asyncio.sleep(0.01)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        while members(group):
            await asyncio.sleep(0.01)
