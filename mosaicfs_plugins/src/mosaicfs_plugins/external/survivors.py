"""Ends the programs that MosaicFS left behind: ``python -I -S survivors.py MARK``.

Standard input is a pipe, of which MosaicFS holds the other end, and says nothing as long as it goes on. Standard output
is the file of ``Groups``. One byte asks this process to end, for no program runs any more; the end of the pipe without
it means that MosaicFS was killed, and whatever still runs is killed as well. It needs the standard library alone, and
imports next to nothing of that: it waits all the time that MosaicFS runs, and memory is all it costs.
"""

from __future__ import annotations

import os
import signal
import sys
import time

AGAIN_S = (0.1, 0.9)
"""Pauses before further looks: a program that was just being started shows its mark only once it is there."""
_PROCESSES = "/proc"


def main(mark: str) -> None:
    """Wait for the end of MosaicFS, and end what it leaves."""
    asked = os.read(0, 1)
    if not asked:
        end_groups()
    end_marked(mark.encode())
    if not asked:
        for pause in AGAIN_S:
            time.sleep(pause)
            end_marked(mark.encode())


def end_groups() -> None:
    """Kill the process groups of the table. A group's number is its own until MosaicFS, or with its end the system, has
    taken note of its leader's end and all others of it have ended too: nobody else's is hit."""
    groups = memoryview(os.pread(1, os.fstat(1).st_size, 0)).cast("i")
    for group in filter(None, groups):
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended, or become somebody else's


def end_marked(mark: bytes) -> None:
    """Kill every process that has the mark in its environment with its process group, and what they start meanwhile.
    Only where the system shows environments, as Linux does."""
    ended: set[str] = set()
    while found := _kill_marked(mark, ended):
        ended |= found


def _kill_marked(mark: bytes, ended: set[str]) -> set[str]:
    """The processes that one look has found and killed, by their numbers."""
    try:
        numbers = {name for name in os.listdir(_PROCESSES) if name.isdigit()} - ended
    except FileNotFoundError:
        return set()
    return {number for number in numbers if _kill_if_marked(number, mark)}


def _kill_if_marked(number: str, mark: bytes) -> bool:
    """Whether a process was marked. All others of its group come from the same program, for that began a session."""
    try:
        with open(f"{_PROCESSES}/{number}/environ", "rb") as file:
            if mark not in file.read().split(b"\0"):
                return False
        # A number goes to another process only after all other numbers: not between these lines.
        os.killpg(os.getpgid(int(number)), signal.SIGKILL)
    except OSError:
        return False  # it has ended, or is somebody else's
    return True


if __name__ == "__main__":
    main(sys.argv[1])
