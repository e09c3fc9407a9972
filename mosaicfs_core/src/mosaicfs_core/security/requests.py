"""Outgoing HTTP to another node or a control plane, whatever signs it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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


class PlainRequests:
    """``Requests`` without a signature; ``headers`` go with each (for a foreign database, and for tests)."""

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None, ca_pem: str | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._tls = ssl.create_default_context(cadata=ca_pem) if ca_pem else True
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """As ``Requests.request``."""
        if self._session is None:
            self._session = aiohttp.ClientSession(read_bufsize=1 << 18)
        asked = self._session.request(
            method,
            self.base_url + path,
            params=params,
            data=body,
            headers={**self._headers, **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout),
            allow_redirects=False,
            ssl=self._tls,
        )
        async with asked as answer:
            yield answer

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
