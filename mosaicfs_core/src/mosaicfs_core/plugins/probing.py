"""Importing a stranger's package once in a process that may end, before one that must not end imports it.

A module that calls ``os._exit``, or a broken extension that crashes, takes whoever imports it along, and nobody can say
afterwards whose fault it was. What was imported once without that is remembered by version, so that a start costs
nothing more.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from mosaicfs_core.plugins.discovery import InstalledPlugin
from mosaicfs_core.plugins.loading import LOAD_S

_PROGRAM: Final = """
import importlib, os, sys
said = os.dup(1)
os.dup2(2, 1)
try:
    importlib.import_module(sys.argv[1])
except BaseException:
    pass
os.write(said, b"whole")
os._exit(0)
"""
_WHOLE: Final = b"whole"


def fatal_import(installed: InstalledPlugin) -> str | None:
    """Why importing the plugin ends a process, or has not ended itself after ``LOAD_S``; None when neither.
    Errors are for whoever imports it to meet: those can be contained."""
    known = _record(installed)
    if known.exists():
        return None
    command = [sys.executable, "-c", _PROGRAM, installed.entry_point.module]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LOAD_S
        )
    except subprocess.TimeoutExpired:
        return f"its import has not ended after {LOAD_S:g} s"
    except OSError:
        return None
    if done.stdout != _WHOLE:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        return f"importing it ends the process ({how})"
    with suppress(OSError):  # a cache that cannot be written costs the next start another look
        known.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        known.touch()
    return None


def _record(installed: InstalledPlugin) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    named = (sys.prefix, installed.distribution, installed.distribution_version, installed.entry_point.value)
    name = hashlib.sha1("\0".join(named).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return Path(base).expanduser() / "mosaicfs" / "imported" / name
