"""Outgoing HTTP to another node or a control plane, whatever signs it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import aiohttp


class Requests(Protocol):
    """HTTP to one other party: its address, its certificate authority and how requests are signed are known to it."""

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Send a request; `path` begins with a slash; `timeout` (seconds) bounds the wait for the answer's head and
        between its chunks, not the whole stream."""

    async def close(self) -> None: ...
