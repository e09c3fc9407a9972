"""Waiting for foreign code that runs at once and cannot be cancelled: only so long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Hangs(Exception):
    """The code has not ended in time; its own ``TimeoutError`` is another thing."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` returns, or raises; it runs in a thread of its own. Raises ``Hangs`` when it has not ended
    after ``seconds``: the thread is left behind, and does not keep the process from ending."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits, whatever it is
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise Hangs
    return outcome[0]
