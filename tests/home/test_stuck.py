"""Protects whoever asks why a process stands still: code that keeps the interpreter's lock is named."""

from __future__ import annotations

import asyncio
import faulthandler
import subprocess
import sys
import time
from pathlib import Path

from mosaicfs_core import stuck

PROGRAM = """
import asyncio, re, sys
from pathlib import Path
from mosaicfs_core import stuck

def a_strangers_op():
    re.match(r"(a|a)*$", "a" * 60 + "!")

async def main():
    stuck.STUCK_S = 1.5
    stuck.watch(Path(sys.argv[1]), "mosaicfs")
    for _ in range(20):  # while the loop turns nothing is written
        await asyncio.sleep(0.1)
    print("turning", flush=True)
    await asyncio.to_thread(a_strangers_op)

asyncio.run(main())
"""


def test_code_that_keeps_the_interpreters_lock_is_written_down(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "turning\n"
        assert stuck.hint(tmp_path, "mosaicfs") == ""
        deadline = time.monotonic() + 30
        log = stuck.stuck_log(tmp_path, "mosaicfs")
        while "a_strangers_op" not in log.read_text():  # it is written line by line
            assert time.monotonic() < deadline, "nothing was written"
            time.sleep(0.05)
        process.kill()
    assert str(log) in stuck.hint(tmp_path, "mosaicfs")
    assert log.stat().st_mode & 0o077 == 0
    written = log.read_text()

    async def next_process() -> None:
        stuck.watch(tmp_path, "mosaicfs")

    asyncio.run(next_process())
    faulthandler.cancel_dump_traceback_later()
    assert stuck.hint(tmp_path, "mosaicfs") == ""
    assert log.with_suffix(".log.1").read_text() == written
