"""Blocking calls that may never return, as on a network mount whose server is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

from mosaicfs_core.errors import Unavailable

T = TypeVar("T")

MOST_LEFT: Final = 8
"""Calls that nobody waits for any more may be under way at a time, before one of them has hung for long."""


class BoundedCalls:
    """Runs calls in daemon threads and stops waiting for them after ``limit_s`` seconds.

    A thread that hangs in the kernel cannot be ended and must not keep the process from ending: hence no pool. While
    one hangs, further calls are refused at once, so that there are never many. A call whose caller has left counts as
    hanging when its time is over, or when there are ``MOST_LEFT`` of them.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        # The calls that nobody waits for, and from when on each of them hangs.
        self._given_up: dict[_Call[Any], float] = {}
        self._lock = threading.Lock()

    @property
    def hangs(self) -> bool:
        """Whether calls have been given up that should have returned."""
        now = time.monotonic()
        with self._lock:
            return len(self._given_up) >= MOST_LEFT or any(at <= now for at in self._given_up.values())

    async def run(self, work: Callable[[], T], dispose: Callable[[T], object] | None = None) -> T:
        """The value of ``work``. ``dispose`` takes one that comes after nobody waits for it any more.

        Raises what ``work`` raises, and ``Unavailable`` when it takes too long or an earlier call still hangs.
        """
        if self.hangs:
            raise Unavailable("the mount does not answer", retry_after=self.limit_s)
        call, begun = _Call(work, dispose, asyncio.get_running_loop()), time.monotonic()
        threading.Thread(target=call.run, daemon=True, name="bounded").start()
        try:
            async with asyncio.timeout(self.limit_s):
                return await call.result
        except TimeoutError:
            self._give_up(call, begun)
            raise Unavailable(f"the mount did not answer within {self.limit_s:g} s", retry_after=self.limit_s) from None
        except asyncio.CancelledError:
            self._give_up(call, begun + self.limit_s)
            raise

    def _give_up(self, call: _Call[T], hangs_at: float) -> None:
        with self._lock:
            self._given_up[call] = hangs_at
        call.give_up(partial(self._returned, call))

    def _returned(self, call: _Call[T]) -> None:
        with self._lock:
            self._given_up.pop(call, None)


class _Call(Generic[T]):
    """One call: in its thread until it returns, in the loop until it is given up."""

    def __init__(
        self, work: Callable[[], T], dispose: Callable[[T], object] | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.result: asyncio.Future[T] = loop.create_future()
        self._work = work
        self._dispose = dispose
        self._loop = loop
        self._lock = threading.Lock()
        self._given_up: Callable[[], None] | None = None
        self._late: Callable[[], None] | None = None

    def run(self) -> None:
        """In the thread."""
        try:
            value = self._work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits
            self._hand_over(partial(self.result.set_exception, error), lambda: None)
        else:
            self._hand_over(partial(self.result.set_result, value), partial(self._drop, value))

    def give_up(self, returned: Callable[[], None]) -> None:
        """Nobody waits any more; ``returned`` is called when the thread comes back, from wherever."""
        with self._lock:
            self._given_up = returned
            late = self._late
        if late is not None:
            late()

    def _hand_over(self, deliver: Callable[[], None], drop: Callable[[], None]) -> None:
        def late() -> None:
            drop()
            if self._given_up is not None:
                self._given_up()

        def settle() -> None:
            if not self.result.done():
                deliver()

        with self._lock:
            if self._given_up is None:
                self._late = late
        if self._given_up is not None:
            late()
            return
        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop was closed meanwhile
            drop()

    def _drop(self, value: T) -> None:
        if self._dispose is not None:
            self._dispose(value)
