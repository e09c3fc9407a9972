"""Blocking calls that may never return, as on a network mount whose server is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from mosaicfs_core.errors import Unavailable

T = TypeVar("T")


class BoundedCalls:
    """Runs calls in daemon threads and stops waiting for them after ``limit_s`` seconds.

    A thread that hangs in the kernel cannot be ended and must not keep the process from ending: hence no pool. While
    one hangs, further calls are refused at once, so that there are never many.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._hanging = 0
        self._lock = threading.Lock()

    @property
    def hangs(self) -> bool:
        """Whether a call has been given up that has not returned yet."""
        return self._hanging > 0

    async def run(self, work: Callable[[], T], dispose: Callable[[T], object] | None = None) -> T:
        """The value of ``work``. ``dispose`` takes one that comes after nobody waits for it any more.

        Raises what ``work`` raises, and ``Unavailable`` when it takes too long or an earlier call still hangs.
        """
        if self.hangs:
            raise Unavailable("the mount does not answer", retry_after=self.limit_s)
        call = _Call(work, dispose, asyncio.get_running_loop())
        threading.Thread(target=call.run, daemon=True, name="bounded").start()
        try:
            async with asyncio.timeout(self.limit_s):
                return await call.result
        except TimeoutError:
            with self._lock:
                self._hanging += 1
            call.give_up(self._returned)
            raise Unavailable(f"the mount did not answer within {self.limit_s:g} s", retry_after=self.limit_s) from None
        except asyncio.CancelledError:
            call.give_up(lambda: None)
            raise

    def _returned(self) -> None:
        with self._lock:
            self._hanging -= 1


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
