"""What a process was at when it did nothing else any more.

Code that keeps the interpreter's lock, as a pattern of ``re`` that backtracks for ever does, stops every thread, signal
handlers and log included. The one thing that still runs is ``faulthandler``, whose thread needs no lock: unless the
event loop puts it off in time, it writes down where each thread is, and by that whose code it is.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
from pathlib import Path
from typing import Final

STUCK_S: Final = 30.0
"""So long nothing else must have run."""


def watch(log_dir: Path, program: str) -> None:
    """Write the stacks of all threads to ``{program}-stuck.log`` whenever the running loop stood still for ``STUCK_S``,
    as long as it runs. What an earlier process wrote there is set aside (``.1``)."""
    log_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Open as long as the process lives: it is too late to open it when it is needed.
    set_aside(log_dir, program)
    path = stuck_log(log_dir, program)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    loop = asyncio.get_running_loop()

    def put_off() -> None:
        faulthandler.dump_traceback_later(STUCK_S, file=log)
        loop.call_later(STUCK_S / 4, put_off)

    put_off()


def stuck_log(log_dir: Path, program: str) -> Path:
    """Where it is written."""
    return log_dir / f"{program}-stuck.log"


def set_aside(log_dir: Path, program: str) -> Path | None:
    """Rename what was written, lest the next process goes on with it; under which name, None for nothing."""
    path = stuck_log(log_dir, program)
    if not hint(log_dir, program):
        return None
    return path.replace(path.with_suffix(".log.1"))


def hint(log_dir: Path, program: str) -> str:
    """A sentence that says where to look, empty when nothing was written."""
    path = stuck_log(log_dir, program)
    try:
        return f" (what it was at when it stood still is in {path})" if path.stat().st_size else ""
    except OSError:
        return ""
