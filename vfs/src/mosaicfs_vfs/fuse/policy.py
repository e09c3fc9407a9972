"""The read policy: who may make the mount fetch bytes over the network, and how many.

File managers, thumbnailers and indexers open every file they see. Over the network that would download everything, so
programs on a list get EIO at once for bytes that are not on this machine, as all do beyond a budget per minute.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from mosaicfs_vfs.fuse.remote import Gate

_log = logging.getLogger(__name__)
_COMM_LENGTH: Final = 15
"""The kernel cuts the names of processes to so many bytes."""
_MINUTE_S: Final = 60.0
_TELL_AGAIN_S: Final = 60.0


class ReadPolicy:
    """``programs`` are refused; ``per_minute`` bytes may be fetched by everybody together (0: any number).

    What is not used of the budget is kept for at most a minute. ``clock`` tells seconds.
    """

    def __init__(
        self, programs: Collection[str] = (), per_minute: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._programs = {program[:_COMM_LENGTH] for program in programs}
        self._per_minute = per_minute
        self._clock = clock
        self._left = float(per_minute)
        self._at = clock()
        self._told: dict[str, float] = {}

    def gate(self, pid: int, name: str) -> Gate:
        """What asks on behalf of the process that opens the file of that name."""
        program = program_of(pid) if self._programs else ""
        return _Gate(self, name, program if program in self._programs else "")

    def refuse(self, program: str, name: str) -> OSError:
        """The error for a program that is on the list."""
        self._tell(program, f"{program} may not read files of other machines ([mount] refuse_programs): {name}")
        return OSError(errno.EIO, f"{program} may not read files of other machines")

    def admit(self, name: str) -> None:
        """Raise ``OSError`` when the budget is used up."""
        if not self._per_minute:
            return
        now = self._clock()
        self._left = min(float(self._per_minute), self._left + (now - self._at) * self._per_minute / _MINUTE_S)
        self._at = now
        if self._left <= 0:
            self._tell("", f"{self._per_minute} bytes a minute are used up ([mount] remote_bytes_per_minute): {name}")
            raise OSError(errno.EIO, "The bytes of this minute are used up")

    def spend(self, count: int) -> None:
        """So many bytes came."""
        self._left -= count

    def _tell(self, who: str, message: str) -> None:
        """Log a refusal, not each of a thousand."""
        now = self._clock()
        if now - self._told.get(who, -_TELL_AGAIN_S) >= _TELL_AGAIN_S:
            self._told[who] = now
            _log.warning("Refused to fetch: %s", message)


class _Gate:
    """The policy for one open file; ``refused`` names the program that may not read it."""

    def __init__(self, policy: ReadPolicy, name: str, refused: str) -> None:
        self._policy = policy
        self._name = name
        self._refused = refused

    def admit(self) -> None:
        """Raises ``OSError`` when bytes must not be fetched."""
        if self._refused:
            raise self._policy.refuse(self._refused, self._name)
        self._policy.admit(self._name)

    def spend(self, count: int) -> None:
        """So many bytes came."""
        self._policy.spend(count)


def program_of(pid: int) -> str:
    """The name of a process (its first 15 bytes), "" when it cannot be told."""
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n").decode(errors="replace")
    except OSError:
        return ""
