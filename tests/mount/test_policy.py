"""The read policy without a kernel: who is refused, and how a minute's budget refills."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mosaicfs_core.config import REFUSED_PROGRAMS
from mosaicfs_vfs.fuse.policy import ReadPolicy, program_of


@pytest.mark.logs("^Refused to fetch")
def test_programs_are_known_by_the_first_fifteen_bytes_of_their_name() -> None:
    line = [sys.executable, "-c", "open('/proc/self/comm', 'w').write('totem-video-thumbnailer'); print(); input()"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert program_of(process.pid) == "totem-video-thu"
        gate = ReadPolicy(REFUSED_PROGRAMS).gate(process.pid, "film.mkv")
        with pytest.raises(OSError, match="may not read files of other machines"):
            gate.admit()
        process.communicate(b"\n")
    ReadPolicy(REFUSED_PROGRAMS).gate(os.getpid(), "film.mkv").admit()
    ReadPolicy(REFUSED_PROGRAMS).gate(0, "of a process that is gone").admit()


@pytest.mark.logs("^Refused to fetch")
def test_the_budget_refills_over_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    policy = ReadPolicy(per_minute=600, clock=lambda: now)
    one, other = policy.gate(1, "a"), policy.gate(2, "b")
    one.admit()
    one.spend(700)
    for gate in (one, other):
        with pytest.raises(OSError, match="used up"):
            gate.admit()
    assert caplog.text.count("used up") == 1
    now = 11.0
    other.admit()
    now = 1000.0
    other.admit()
    other.spend(601)
    with pytest.raises(OSError, match="used up"):
        one.admit()
