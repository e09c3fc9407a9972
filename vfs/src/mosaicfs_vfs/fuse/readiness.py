"""Waiting for the kernel's requests without paying for it on every one.

pyfuse3's own asyncio layer adds and removes an epoll entry per request. Here one reader stays registered for the life
of the session, and ``poll(0)`` is asked first: under load the next request is already there, and no trip through the
event loop happens at all. It is asked again after every wake, since libfuse's ``read`` blocks while it holds the
interpreter lock, and a request that woke us may be gone (interrupted) by the time we look.

pyfuse3 keeps a second worker ready, and a fair lock between the two would make them take turns: a trip through the
event loop per request again. The lock here lets the running worker go on, and hands over only when that one waits.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from typing import Final

import pyfuse3
import pyfuse3.asyncio as compat

# Requests answered in a row before other tasks (change pings, timers) get a turn.
_FAIR_SHARE: Final = 32
# Looks at an empty queue before sleeping: whoever got an answer tends to ask again within these 30 µs, and waking from
# sleep costs more than that.
_LOOKS: Final = 40


class SessionReader:
    """The one reader of the FUSE device. ``wait`` has a single waiter at a time: pyfuse3 guards it with a lock."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._served = 0
        self._loop.add_reader(descriptor, self._wake)

    async def wait(self) -> None:
        """Return when a request can be read; raise ``ClosedResourceError`` once ``close`` was called."""
        poll = self._poll.poll
        self._served += 1
        if self._served >= _FAIR_SHARE:
            self._served = 0
            await asyncio.sleep(0)
        for _ in range(1 if _busy() else _LOOKS):
            if poll(0) or self._closed:
                break
        else:
            while not poll(0) and not self._closed:
                self._served = 0
                self._waiter = self._loop.create_future()
                await self._waiter
        if self._closed:
            raise compat.ClosedResourceError

    def close(self) -> None:
        """Wake the waiter for good."""
        self._closed = True
        self._loop.remove_reader(self._descriptor)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class ReaderLock:
    """Who may wait for the device. Unfair: whoever runs may take it; others are woken when the loop turns."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._locked = False
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._handing_over = False

    async def __aenter__(self) -> None:
        while self._locked:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        self._locked = True

    async def __aexit__(self, *error: object) -> None:
        self._locked = False
        if self._waiters and not self._handing_over:
            self._handing_over = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Wake the next waiter, unless the former holder came back before the loop turned."""
        self._handing_over = False
        while not self._locked and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


_readers: dict[int, SessionReader] = {}
_busy: Callable[[], bool] = bool


async def _wait_readable(fd: int) -> None:
    reader = _readers.get(fd)
    if reader is None:
        reader = _readers[fd] = SessionReader(fd)
    await reader.wait()


def _notify_closing(fd: int) -> None:
    reader = _readers.get(fd)
    if reader is not None:
        reader.close()


def install(busy: Callable[[], bool]) -> None:
    """Switch pyfuse3 to asyncio with this waiter. Call once per process, before ``pyfuse3.main``.

    ``busy`` tells whether another thread of this process is at work: each look at the queue would make it give up the
    interpreter lock and take it back.
    """
    global _busy
    _busy = busy
    compat.enable()
    compat.Lock = ReaderLock  # type: ignore[assignment]  # it stands in for pyfuse3's own
    compat.wait_readable = _wait_readable
    compat.notify_closing = _notify_closing


async def serve() -> None:
    """Answer requests until the file system is unmounted or ``pyfuse3.terminate`` is called."""
    try:
        # Requests that wait for another machine hold a worker each; local ones never do.
        await pyfuse3.main(min_tasks=1, max_tasks=1000)
    finally:
        for reader in _readers.values():
            reader.close()
        _readers.clear()
