"""Importing a stranger's package once in a process that may end, before one that must not end imports it.

A module that calls ``os._exit``, a broken extension that crashes, or one that closes what others write to takes whoever
imports it along, and nobody can say afterwards whose fault it was. What was imported once without that is remembered
by its version and its files, so that a start costs nothing more; that one hangs is remembered for a while, since each
look would take as long.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mosaicfs_core.children import hear_out
from mosaicfs_core.plugins.discovery import InstalledPlugin
from mosaicfs_core.plugins.loading import LOAD_S

MOST_PRINTED: Final = 1 << 20
"""Bytes that an import may print: the host's log is not for floods."""
HANG_KNOWN_S: Final = 3600.0
"""How long an import that did not end is not tried again, unless something else is installed or it was changed: it may
have waited for something that is there by now."""

_PROGRAM: Final = """
import importlib, os, sys
_, module = sys.argv
said, forked = os.dup(1), []
os.dup2(2, 1)
os.register_at_fork(before=lambda: forked.append(True))
streams, this = (sys.stdin, sys.stdout, sys.stderr), os.getpid()
files = [os.fstat(at)[:3] for at in (0, 1, 2, said)]
try:
    importlib.import_module(module)
except BaseException:
    pass
if os.getpid() != this:
    os._exit(0)
try:
    if forked:
        os.write(said, b"importing it forks the process; it has to leave that to its hooks")
    elif any(one.closed for one in streams) or [os.fstat(at)[:3] for at in (0, 1, 2, said)] != files:
        os.write(said, b"importing it closes the streams that the process prints to")
    else:
        os.write(said, b"whole")
except OSError:
    os._exit(97)
os._exit(0)
"""
_WHOLE: Final = "whole"
_DEAF: Final = 97
_MOST_FILES: Final = 500


def fatal_import(installed: InstalledPlugin) -> str | None:
    """Why no process that others need may import the plugin: that ends or forks it, closes its streams, floods them, or
    has not ended itself after ``LOAD_S``. None when nothing of that is so. Errors are for whoever imports it to meet:
    those can be contained."""
    known, code = _known(installed), _stamp(_files(installed))
    if known.get("whole") == code:
        return None
    # It may hang because of what it imports. The first entry is where the program lies that asks.
    around = _stamp(Path(entry) for entry in sys.path[1:])
    hangs = f"its import has not ended after {LOAD_S:g} s"
    if known.get("hangs") == [code, around] and 0 <= time.time() - known.get("at", 0.0) < HANG_KNOWN_S:
        return f"{hangs}; it is tried again when it or what is installed changes, or after an hour"
    command = [sys.executable, "-c", _PROGRAM, installed.entry_point.module]
    try:
        exit_code, said, printed = hear_out(command, LOAD_S, most=MOST_PRINTED)
    except subprocess.TimeoutExpired:
        _note(installed, {"hangs": [code, around], "at": time.time()})
        return hangs
    except OSError:
        return None
    if problem := _problem(exit_code, said.decode("utf-8", "replace"), len(printed)):
        return problem
    _note(installed, {"whole": code})
    return None


def _problem(code: int, said: str, printed: int) -> str | None:
    """What the process that imported it tells, None when all was well."""
    if code == _DEAF:
        return "importing it closes files that are not its own"
    if printed >= MOST_PRINTED:  # it may have been killed for that
        return f"importing it prints more than {MOST_PRINTED:,} bytes"
    if not said:
        return f"importing it ends the process ({f'signal {-code}' if code < 0 else f'exit code {code}'})"
    return None if said == _WHOLE else said


def _files(installed: InstalledPlugin) -> Iterator[Path]:
    """The source files of the package that the entry point is in, and none where they cannot be told. Nothing is
    imported."""
    top = installed.entry_point.module.partition(".")[0]
    with suppress(ImportError, ValueError, AttributeError):
        spec = importlib.machinery.PathFinder.find_spec(top)
        if spec is not None and spec.submodule_search_locations is None and spec.origin:
            yield Path(spec.origin)
        found = 0
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            for directory, below, names in os.walk(place):
                below[:] = sorted(name for name in below if name != "__pycache__")
                for name in sorted(names):
                    found += 1
                    if found > _MOST_FILES:
                        return
                    yield Path(directory, name)


def _stamp(paths: Iterable[Path]) -> str:
    """Another one when one of these was changed, came or went."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path in paths:
        try:
            facts = os.stat(path)
            digest.update(f"{path}|{facts.st_mtime_ns}|{facts.st_size}\0".encode("utf-8", "surrogateescape"))
        except OSError:
            digest.update(f"{path}|-\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _known(installed: InstalledPlugin) -> dict[str, Any]:
    try:
        told = json.loads(_record(installed).read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _note(installed: InstalledPlugin, outcome: dict[str, Any]) -> None:
    record = _record(installed)
    with suppress(OSError):  # a cache that cannot be written costs the next start another look
        record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        written = record.with_name(f".{record.name}.{os.getpid()}")
        written.write_text(json.dumps(outcome))
        written.replace(record)


def _record(installed: InstalledPlugin) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    named = (sys.prefix, installed.distribution, installed.distribution_version, installed.entry_point.value)
    name = hashlib.sha1("\0".join(named).encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return Path(base).expanduser() / "mosaicfs" / "imports" / name
