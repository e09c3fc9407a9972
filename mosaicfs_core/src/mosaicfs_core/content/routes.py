"""The ways to other nodes: which of them work, and how several are tried without waiting for each in turn."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from mosaicfs_core.security.requests import Requests

T = TypeVar("T")

SILENCE_S: Final = 1.0
"""A route that has said nothing for so long gets company from the next one."""
AVOIDED_S: Final = (5.0, 300.0)
"""For how long a route that failed is left alone: at first, and at most; doubled each time."""
REMEMBERED: Final = 1_000
"""Failed routes that are remembered: nodes change their addresses."""


@dataclass(frozen=True)
class Route:
    """A way to a node. ``name`` (its address) tells routes apart; ``relay``: through a control plane, which serves the
    files of others under another path than a node serves its own."""

    name: str
    requests: Requests
    relay: bool = False

    def path(self, file_id: str) -> str:
        """Where the file's bytes are."""
        return f"/api/files/{file_id}/content" if self.relay else f"/api/agent/transfer/{file_id}"


Routes = Callable[[str], Sequence[Route]]
"""The routes to a node by its id, the direct ones first; none when it cannot be reached."""


@dataclass(frozen=True)
class _Trouble:
    until: float
    failures: int


class Troubles:
    """The routes that did not work when they were used last. One of them stays behind those that work until a probe,
    for which nobody waits, finds it well again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, _Trouble] = OrderedDict()

    def __contains__(self, route: Route) -> bool:
        return route.name in self._known

    def __len__(self) -> int:
        return len(self._known)

    def failed(self, route: Route) -> None:
        """It did not work."""
        known = self._known.pop(route.name, None)
        failures = 0 if known is None else known.failures
        first, longest = AVOIDED_S
        wait = min(longest, first * 2.0 ** min(failures, 32))
        self._known[route.name] = _Trouble(self._clock() + wait, failures + 1)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def works(self, route: Route) -> None:
        """It did."""
        self._known.pop(route.name, None)

    def ordered(self, routes: Iterable[Route]) -> list[Route]:
        """Those that work first."""
        return sorted(routes, key=lambda route: route in self)

    def due(self, routes: Iterable[Route]) -> list[Route]:
        """Those that have been left alone for long enough."""
        now = self._clock()
        return [one for one in routes if (known := self._known.get(one.name)) is not None and known.until <= now]


class Race(Generic[T]):
    """Tries routes by ``attempt`` until one of them works.

    The next one begins when the one before has failed, or has said nothing for ``silence_s``. An attempt that sees an
    answer calls ``claim``: from then on it is alone, and the others are ended. When it fails after all, the race goes
    on with those that are left. ``failed`` is told of an attempt's error and either raises it, which ends the race, or
    returns; ``passed`` of a route that was silent until another one answered.
    """

    def __init__(
        self,
        attempt: Callable[[Route, Callable[[], None]], Awaitable[T]],
        *,
        failed: Callable[[Route, Exception], None],
        passed: Callable[[Route], None],
        silence_s: float,
    ) -> None:
        self._attempt, self._failed, self._passed, self._silence_s = attempt, failed, passed, silence_s
        self._waiting: deque[Route] = deque()
        self._running: dict[asyncio.Task[T], Route] = {}
        self._ended: list[asyncio.Task[T]] = []
        self._claimed: asyncio.Task[T] | None = None

    async def run(self, routes: Iterable[Route]) -> tuple[T] | None:
        """The value of the first attempt that succeeds, None when all have failed."""
        self._waiting.extend(routes)
        try:
            while self._waiting or self._running:
                if self._waiting and self._claimed is None:
                    self._begin(self._waiting.popleft())
                if (found := await self._until_something_happens()) is not None:
                    return found
            return None
        finally:
            self._ended += self._running
            for task in self._ended:
                task.cancel()
            await asyncio.gather(*self._ended, return_exceptions=True)

    def _begin(self, route: Route) -> None:
        async def attempt() -> T:
            return await self._attempt(route, self._claim)

        self._running[asyncio.create_task(attempt(), name=f"route {route.name}")] = route

    def _claim(self) -> None:
        """The attempt that calls this goes on alone."""
        task = asyncio.current_task()
        was_first = True
        for other, route in list(self._running.items()):
            if other is task:
                self._claimed, was_first = other, False
                continue
            if was_first:
                self._passed(route)
            other.cancel()
            self._ended.append(other)
            del self._running[other]
            self._waiting.append(route)

    async def _until_something_happens(self) -> tuple[T] | None:
        patience = self._silence_s if self._waiting and self._claimed is None else None
        done, _ = await asyncio.wait(self._running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            route = self._running.pop(task, None)
            if route is None:
                continue  # it was ended when another one answered
            if task is self._claimed:
                self._claimed = None
            error = task.exception()
            if error is None:
                return (task.result(),)
            if not isinstance(error, Exception):
                raise error
            self._failed(route, error)
        return None
