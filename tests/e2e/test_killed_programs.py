"""Protects that a program does not go on when MosaicFS was killed, and that its job is then done once."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

GONE_S = 20.0
PROGRAM = """#!/bin/sh
cat >/dev/null
echo run >>'{place}/runs'
if [ -e '{place}/quick' ]; then
    echo '{{"done": true}}'
    exit
fi
setsid sh -c "echo $$ \\$\\$ >'{place}/told'; read -r nothing <'{place}/never'" &
exec sleep 3600
"""


def ended(process: int, seconds: float) -> bool:
    """Whether a process ends in time, by its descriptor."""
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def end(process: int) -> None:
    """Have a process end that should have done so, and close its descriptor."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells of the end of any process")
def test_a_program_ends_with_a_mosaicfs_that_is_killed_and_runs_once_more(
    machine: Any, tmp_path: Path, eventually: Any
) -> None:
    for name in ("told", "never"):
        os.mkfifo(tmp_path / name)
    program = machine.home / "plugins" / "sleeper"
    program.parent.mkdir(mode=0o700, parents=True)
    program.write_text(PROGRAM.format(place=tmp_path))
    program.chmod(0o700)
    folder = machine.tree / "Work" / "2025"
    up = machine.up("--no-mount", str(folder))
    up.wait_ready()
    machine.run("plugin", "enable", "sleeper")
    processes = [os.pidfd_open(int(number)) for number in (tmp_path / "told").read_text().split()]
    up.end(signal.SIGKILL)
    try:
        assert all(ended(process, GONE_S) for process in processes)
    finally:
        for process in processes:
            end(process)

    (tmp_path / "quick").touch()
    up = machine.up("--no-mount")
    up.wait_ready()
    eventually(lambda: machine.run("search", "--annotation", "sleeper/done=true")["items"], 60)
    assert (tmp_path / "runs").read_text().split() == ["run", "run"]
    assert up.end() == 0
