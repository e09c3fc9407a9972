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

    def gate(self, pid: int, path: str) -> Gate:
        """What asks on behalf of the process that opens a file."""
        program = program_of(pid) if self._programs else ""
        refused = program in self._programs

        def gate(count: int) -> None:
            if refused:
                self._tell(program, f"{program} may not read files of other machines ([mount] refuse_programs): {path}")
                raise PermissionError(errno.EIO, f"{program} may not read files of other machines")
            if self._per_minute and not self._spend(count):
                self._tell(
                    "", f"no more than {self._per_minute} bytes a minute ([mount] remote_bytes_per_minute): {path}"
                )
                raise OSError(errno.EIO, "The minute's bytes are used up")

        return gate

    def _spend(self, count: int) -> bool:
        now = self._clock()
        self._left = min(float(self._per_minute), self._left + (now - self._at) * self._per_minute / _MINUTE_S)
        self._at = now
        if count > self._left:
            return False
        self._left -= count
        return True

    def _tell(self, who: str, message: str) -> None:
        """Log a refusal, not each of a thousand."""
        now = self._clock()
        if now - self._told.get(who, -_TELL_AGAIN_S) >= _TELL_AGAIN_S:
            self._told[who] = now
            _log.warning("Refused to fetch: %s", message)


def program_of(pid: int) -> str:
    """The name of a process (its first 15 bytes), "" when it cannot be told."""
    try:
        return Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n").decode(errors="replace")
    except OSError:
        return ""
