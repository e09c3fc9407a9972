"""Limits of a process that reads what may be hostile, kept by the operating system: they hold also when the process
that started it is gone."""

from __future__ import annotations

import os
import resource
import signal
from typing import Final

MOST_WRITTEN: Final = 64 << 20
"""Bytes of the largest file that such a process may write."""


def limit_reader(memory_mb: int, seconds: int | None = None) -> None:
    """Bound what a document can make this very process take, for good: memory, anything it writes, and, with
    ``seconds``, time. It gets an error or a signal beyond that, and leaves no core behind."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_WRITTEN,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if seconds is not None:
        # The time of all threads counts together.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds * (os.cpu_count() or 1),) * 2)
        signal.alarm(seconds)
