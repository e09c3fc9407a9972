"""One party at several addresses: a control plane in the house and from outside, for instance."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import aiohttp

from mosaicfs_core.security.requests import PlainRequests, Unreachable, Untrusted

T = TypeVar("T")


class Several:
    """``Requests`` by the first of ``ways`` that works: of requests the one that worked last is tried first, of a
    WebSocket the one that stands first, so that whoever comes home goes the short way again.

    A way does not work when nobody answers there, or somebody else does. Raises ``Untrusted`` or ``Unreachable`` when
    none works.
    """

    def __init__(self, ways: Sequence[PlainRequests]) -> None:
        self._ways = tuple(ways)
        self._working = self._ways[0]

    @asynccontextmanager
    async def request(self, method: str, path: str, **given: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """As ``Requests.request``."""
        ways = (self._working, *(way for way in self._ways if way is not self._working))
        async with AsyncExitStack() as stack:
            yield await self._first(stack, ways, lambda way: way.request(method, path, **given))

    @asynccontextmanager
    async def websocket(self, path: str, **given: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """As ``PlainRequests.websocket``."""
        async with AsyncExitStack() as stack:
            yield await self._first(stack, self._ways, lambda way: way.websocket(path, **given))

    async def _first(
        self,
        stack: AsyncExitStack,
        ways: Sequence[PlainRequests],
        opened: Callable[[PlainRequests], AbstractAsyncContextManager[T]],
    ) -> T:
        problems: list[Unreachable] = []
        for way in ways:
            try:
                found = await stack.enter_async_context(opened(way))
            except Unreachable as error:
                problems.append(error)
                continue
            self._working = way
            return found
        telling = next((one for one in problems if isinstance(one, Untrusted)), problems[0])
        others = [one.message for one in problems if one is not telling]
        raise type(telling)("; ".join([telling.message, *others]))

    async def close(self) -> None:
        """Give the connections back."""
        for way in self._ways:
            await way.close()
