"""Outgoing HTTP to one other party, whoever it is and however requests to it are signed.

What goes wrong before an answer's head has arrived is ``Unreachable``, an ``Unavailable`` that is also one of aiohttp's
connection errors; what breaks while the body is read is aiohttp's own error. A status of 400 or more is an answer like
any other: ``raise_for_error`` turns it into the error it stands for.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import aiohttp
from yarl import URL

from mosaicfs_core.errors import Unavailable, UserError
from mosaicfs_core.security import signatures
from mosaicfs_core.security.answers import error_of
from mosaicfs_core.security.authority import client_context
from mosaicfs_core.security.node_keys import Signer
from mosaicfs_core.security.presence import HEADER, UNTOLD, Process

NOT_TRUSTED: Final = "cannot be trusted"
"""What is said of an address where another authority answers than the pinned one."""
CONNECT_SECONDS: Final = 10.0
OPENING_SECONDS: Final = 20.0
READ_BUFFER: Final = 1 << 18
LARGE_BODY: Final = 1 << 19  # from here on aiohttp is to send it in pieces, so that other requests get their turn
MAX_ERROR_BODY: Final = 1 << 16


class Requests(Protocol):
    """HTTP to one other party: its address, its certificate authority and how requests are signed are known to the
    object."""

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


class Unreachable(Unavailable, aiohttp.ClientConnectionError):
    """The other party cannot be reached, or broke off before it answered."""

    code = "unreachable"


class Untrusted(Unreachable):
    """The other party's certificate is not what it must be: it is another machine, or its authority was changed."""

    code = "untrusted"


async def raise_for_error(answer: aiohttp.ClientResponse) -> None:
    """Raise the error that a status of 400 or more stands for (``NotAllowed``, ``NotFound``, ``Unavailable`` with its
    ``retry_after``, …)."""
    if answer.status >= 400:
        data = await answer.content.read(MAX_ERROR_BODY)
        raise error_of(answer.status, answer.reason or "", answer.headers.get("Retry-After"), data)


class PlainRequests:
    """``Requests`` without a signature; ``headers`` go with each (for a foreign database, and for tests). ``connect_s``
    bounds the wait for a connection, in seconds."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str] | None = None,
        ca_pem: str | None = None,
        *,
        connect_s: float = CONNECT_SECONDS,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._headers = dict(headers or {})
        self._ca_pem = ca_pem
        self._connect_s = connect_s
        self._context: ssl.SSLContext | None = None
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
        url = self._url(path, params)
        given = self._headers_for(method, url, body, headers)
        try:
            answer = await self._opened().request(
                method,
                url,
                data=io.BytesIO(body) if body is not None and len(body) >= LARGE_BODY else body,
                headers=given,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=min(timeout or self._connect_s, self._connect_s), sock_read=timeout
                ),
                allow_redirects=False,
                ssl=self._tls(),
                server_hostname=self._server_name(),
            )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        async with answer:
            yield answer

    @asynccontextmanager
    async def websocket(
        self, path: str, *, heartbeat: float | None = None, max_message: int = 4 << 20
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket, opened with the same proof as a request, within ``OPENING_SECONDS``. Raises the error a refusal
        stands for."""
        url = self._url(path, None)
        try:
            # aiohttp's own limits leave the wait for the answer to the upgrade out.
            async with asyncio.timeout(OPENING_SECONDS):
                socket = await self._opened().ws_connect(
                    url,
                    headers=self._headers_for("GET", url, None, None),
                    heartbeat=heartbeat,
                    max_msg_size=max_message,
                    ssl=self._tls(),
                    server_hostname=self._server_name(),
                )
        except aiohttp.WSServerHandshakeError as error:
            raise error_of(error.status, error.message, None, b"") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        async with socket:
            yield socket

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _url(self, path: str, params: Mapping[str, str] | None) -> URL:
        url = URL(self.base_url + path)
        return url.update_query(params) if params else url

    def _headers_for(
        self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str] | None
    ) -> dict[str, str]:
        return {**self._headers, **(headers or {})}

    def _server_name(self) -> str | None:
        """The name the certificate must be for; None: the URL's host."""
        return None

    def _tls(self) -> ssl.SSLContext | bool:
        if not self.base_url.startswith("https:"):
            return True
        if self._context is None:
            self._context = client_context(self._ca_pem)
        return self._context

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(read_bufsize=READ_BUFFER)
        return self._session

    def _unreachable(self, error: BaseException) -> Unreachable:
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
        if isinstance(error, aiohttp.ClientConnectorCertificateError) or isinstance(cause, ssl.CertificateError):
            return Untrusted(
                f"{self.base_url} {NOT_TRUSTED}: {_why(cause).rstrip('.')}. Another machine answers there, or its"
                " authority was made anew: then run mosaicfs agent init again, with --ca-fingerprint as"
                " mosaicfs system fingerprint shows it on the control plane's machine",
                url=self.base_url,
            )
        if isinstance(error, TimeoutError):
            return Unreachable(f"{self.base_url} did not answer in time", url=self.base_url)
        return Unreachable(f"{self.base_url} cannot be reached: {_why(cause)}", url=self.base_url)


class SignedRequests(PlainRequests):
    """``Requests`` to the node ``destination``, signed by ``signer``.

    With ``ca_pem``, the other side must show a certificate of that authority for the node id ``destination``: its
    address does not matter, and no other node can answer in its place. Without, the system's authorities and the
    address decide (a control plane behind a proxy of its own). ``process`` is told with each request.
    """

    def __init__(
        self,
        base_url: str,
        destination: str,
        signer: Signer,
        ca_pem: str | None = None,
        *,
        connect_s: float = CONNECT_SECONDS,
        process: Process = UNTOLD,
    ) -> None:
        headers = {HEADER: process.header} if process.name else None
        super().__init__(base_url, headers, ca_pem, connect_s=connect_s)
        self.destination = destination
        self._signer = signer

    def _headers_for(
        self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str] | None
    ) -> dict[str, str]:
        given = super()._headers_for(method, url, body, headers)
        if any(name.lower() == "authorization" for name in given):
            raise UserError("a signed request has no other Authorization")
        target = signatures.Target(
            method=method,
            destination=self.destination,
            path=url.raw_path_qs,
            range=next((value for name, value in given.items() if name.lower() == "range"), ""),
            body_sha256=signatures.sha256_of(body),
        )
        key = self._signer.key_for(self.destination)
        return {**given, "Authorization": signatures.authorization(key, self._signer.key_id, target)}

    def _server_name(self) -> str | None:
        return self.destination if self._ca_pem is not None and self.base_url.startswith("https:") else None


def _why(error: BaseException) -> str:
    told = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error)
    return str(told) or type(error).__name__
