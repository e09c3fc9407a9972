"""Protects the machine from plugins whose MosaicFS was killed: their processes end, whatever they are at, with what
they have started themselves."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from processes import ended

from mosaicfs_core import children

PACKAGE = """
import os, pathlib, subprocess, sys, time
from mosaicfs_core.hooks import HOOK_API, PluginManifest, hookimpl

@hookimpl
def mosaicfs_manifest():
    sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
    started = subprocess.Popen(sleep, stdin=subprocess.DEVNULL)
    pathlib.Path(__file__).with_name("told").write_text(f"{{os.getpid()}} {{started.pid}}")
    time.sleep({loads_s})
    return PluginManifest(title="Tied", description="Is tied.", version="1", hook_api=HOOK_API)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
if sys.argv[1] == "serves":
    print(child.stdout.readline(), flush=True)
child.wait()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells of the end of any process")
@pytest.mark.parametrize("at", ["serves", "does not return"])
async def test_a_served_plugin_ends_with_whoever_started_it(tmp_path: Path, at: str) -> None:
    (tmp_path / "tied_plugin.py").write_text(PACKAGE.format(loads_s=0 if at == "serves" else 3600))
    os.mkfifo(tmp_path / "told")
    words = children.command(tmp_path / "home", "plugin", "serve", "tied=tied_plugin", "--socket", str(tmp_path / "s"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, at, *words, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    told = await asyncio.to_thread((tmp_path / "told").read_text)
    processes = [os.pidfd_open(int(pid)) for pid in told.split()]
    if at == "serves":
        assert b"listening" in await parent.stdout.readline()
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(40):
        await asyncio.gather(*map(ended, processes))
