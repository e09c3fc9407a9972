"""The two ways to a process that reads one document: a copy of this one, or a new one.

A copy has what is imported here, which is a third of all that a package costs that is run once for one event; but only
a process with a single thread can be copied safely. Either way the process is gone when its answer is there, when the
time is over, or when whoever waits is cancelled.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from mosaicfs_plugins.summarize.reading import child

_CHILD: Final = Path(child.__file__)


async def answer_of(wish: dict[str, Any], seconds: float) -> bytes:
    """What the process answers; nothing, or a part, where it broke down. Raises ``TimeoutError``."""
    return await (_from_copy(wish, seconds) if _may_copy() else _from_new(wish, seconds))


def _may_copy() -> bool:
    """Whether this process has a single thread, as the system counts: libraries have some that Python knows nothing of.
    Where the system does not tell, no process is copied."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


async def _from_copy(wish: dict[str, Any], seconds: float) -> bytes:
    wish = {**wish, "memory_mb": wish["memory_mb"] + _held_mb()}
    receiving, sending = os.pipe()
    process = os.fork()
    if process == 0:
        _be_the_copy(wish, sending)
    os.close(sending)
    try:
        async with asyncio.timeout(seconds):
            return await _all_from(receiving)
    finally:
        _end(process)


def _held_mb() -> int:
    """What this process holds of what the limit is about, rounded up: a copy has it from its beginning, whatever the
    document (``proc_pid_statm(5)``: the sixth field, in pages)."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[5])
    return (pages * os.sysconf("SC_PAGE_SIZE") >> 20) + 1


def _end(process: int) -> None:
    """Kill a copy, which may have ended itself, and take leave of it; there is nothing to wait for."""
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def _be_the_copy(wish: dict[str, Any], sending: int) -> None:
    """Answer and end, whatever happens: nothing of what the copied process was about may go on here."""
    try:
        with open(sending, "wb") as answers:
            answers.write(child.answer(wish))
    finally:
        os._exit(0)


async def _all_from(descriptor: int) -> bytes:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(descriptor, "rb", 0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        return await reader.read()
    finally:
        transport.close()


async def _from_new(wish: dict[str, Any], seconds: float) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", os.fspath(_CHILD)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(json.dumps({**wish, "path": sys.path}).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output
