"""A process that ends with the one that started it, however that ended: the other end of its standard input is closed
then. Nobody else would end it, nor what it has started itself."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

GRACE_S: Final = 5.0
"""How long it may take to end by itself."""


class Tie:
    """``gone`` is called, in a thread of its own, when whoever started this process has ended, or wants it to end. If
    it is there ``GRACE_S`` later, because something in it does not return, it is killed with its process group."""

    def __init__(self, gone: Callable[[], None]) -> None:
        self._gone = gone
        self.loose = False
        """Whether it has come to that."""
        if _can_end(sys.stdin.fileno()):
            threading.Thread(target=self._watch, args=(sys.stdin.fileno(),), name="tie", daemon=True).start()

    def end_others(self) -> None:
        """End what this process has started, right before it ends because it is ``loose``. From the main thread."""
        if self.loose and os.getpgrp() == os.getpid():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.killpg(0, signal.SIGTERM)

    def _watch(self, descriptor: int) -> None:
        # Only what can be read is read: a job in the background of a shell would be stopped by trying.
        while select.select([descriptor], [], []) and os.read(descriptor, 4096):
            pass
        self.loose = True
        self._gone()
        time.sleep(GRACE_S)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def _can_end(descriptor: int) -> bool:
    """Whether a standard input ends when somebody goes: a file, or /dev/null, has no other end."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)
