"""A database elsewhere as a side of a replication: CouchDB's replication protocol over HTTP.

Spoken as MosaicFS's own endpoint, Apache CouchDB 3 and pouchdb-server understand it. What they differ in is found out:
``_bulk_get`` is replaced by one GET per document where it is missing, request bodies are compressed where the facts of
the database say that it takes them (``"compression": ["gzip"]``).
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from ..errors import MosaicError, NotFound, Unavailable
from ..security.requests import Requests
from . import http_answers
from .batching import HEAVY
from .http_errors import error_of
from .http_feed import Lines, page
from .peer import Choked, Document, Fetched, Filter, Page, PeerInfo, Refused, Row, Seq, Wanted

T = TypeVar("T")
Feed = Literal["continuous", "longpoll"]
Pages: TypeAlias = AsyncGenerator[Page | None, None]
_Asked: TypeAlias = tuple[str, str | None]
"""A document at a revision, or in all its leaves."""

TIMEOUT_S: Final = 90.0
"""Longest wait for the next part of any answer: longer than CouchDB's nodes wait for one another (60 s, ``[fabric]
request_timeout``), so that it can say at which documents it failed."""
GRACE_S: Final = 15.0
"""A live feed is given up when nothing has come for two heartbeats and this."""
COMPRESSED_FROM: Final = 1_024
"""Bytes of a request body from which on it is compressed."""
INLINE_BELOW: Final = 64 << 10
"""Bytes that are compressed or decoded on the loop's thread: handing them to another one costs as much."""
SINGLE_GETS: Final = 8
"""Documents fetched at once where the peer has no ``_bulk_get``."""
SINGLE_PART: Final = 64
"""And in one go."""

_encode = msgspec.json.encode


class _TooMuch(Exception):
    """The documents of an answer weigh more than it may have."""


class HttpPeer:
    """A ``Peer`` over the database at ``path`` (``/db/mosaicfs``; ``/mosaicfs`` on CouchDB) of another party.

    ``address`` names it in replication ids when it does not tell an instance id. ``feed`` is how live changes are asked
    for: ``longpoll`` where something between holds back a continuous answer. ``close`` closes ``requests``.
    """

    near = False

    def __init__(
        self,
        requests: Requests,
        path: str = "/db/mosaicfs",
        *,
        address: str = "",
        feed: Feed = "continuous",
        timeout: float = TIMEOUT_S,
    ) -> None:
        self._requests, self._path, self._address, self._feed = requests, path.rstrip("/"), address, feed
        self._timeout = timeout
        self._facts: dict[str, Any] | None = None
        self._has_bulk_get = True

    async def identity(self) -> str:
        return (await self.info()).instance_id or self._address + self._path

    async def info(self) -> PeerInfo:
        self._facts = await self._object("GET", "")
        return PeerInfo(str(self._facts.get("uuid") or ""), self._facts.get("update_seq", 0))

    async def checkpoint(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._object("GET", f"/_local/{quote(name, safe='')}")
        except NotFound:
            return None

    async def save_checkpoint(self, name: str, document: Document) -> str:
        answer = await self._object("PUT", f"/_local/{quote(name, safe='')}", document)
        if not isinstance(rev := answer.get("rev"), str):
            raise Unavailable("The database did not say under which revision it keeps the position.")
        return rev

    async def changes(self, since: Seq, limit: int, chosen: Filter) -> Page:
        body = await self._bytes(*_changes_request(chosen), params=_changes_params(since, limit, chosen))
        return page(body, since, limit)

    async def live(self, since: Seq, limit: int, chosen: Filter, heartbeat: float) -> Pages:
        feed = self._longpoll if self._feed == "longpoll" else self._continuous
        async with aclosing(feed(since, limit, chosen, heartbeat)) as pages:
            async for found in pages:
                yield found

    async def _continuous(self, since: Seq, limit: int, chosen: Filter, heartbeat: float) -> Pages:
        params = _changes_params(since, None, chosen) | {"feed": "continuous", "heartbeat": _milliseconds(heartbeat)}
        method, path, content = _changes_request(chosen)
        lines = Lines(limit)
        async with self._answer(method, path, content, params=params, timeout=2 * heartbeat + GRACE_S) as response:
            async for chunk in response.content.iter_any():
                for found in lines.feed(chunk):
                    yield found
                if lines.ended:
                    return

    async def _longpoll(self, since: Seq, limit: int, chosen: Filter, heartbeat: float) -> Pages:
        while True:
            params = _changes_params(since, limit, chosen) | {"feed": "longpoll", "heartbeat": _milliseconds(heartbeat)}
            method, path, content = _changes_request(chosen)
            received = b""
            async with self._answer(method, path, content, params=params, timeout=2 * heartbeat + GRACE_S) as response:
                async for chunk in response.content.iter_any():
                    received += chunk
                    if not chunk.strip():
                        yield None
            found = page(received, since, limit)
            since = found.last_seq
            yield found

    async def revs_diff(self, rows: Sequence[Row]) -> list[Wanted]:
        body = await self._bytes("POST", "/_revs_diff", {row.id: row.revs for row in rows})
        return await _in_thread_if_large(http_answers.lacking, body)

    async def bulk_get(self, wanted: Sequence[Wanted]) -> Fetched:
        return await self._get_many(wanted)

    async def leaves(self, identifiers: Sequence[str]) -> Fetched:
        return await self._get_many([(identifier, None) for identifier in identifiers])

    async def _get_many(self, asked: Sequence[_Asked]) -> Fetched:
        part, found = asked, None
        while self._has_bulk_get and found is None:
            try:
                found = await self._get_bulk(part)
            except _TooMuch:
                part = part[: (len(part) + 1) // 2]
            except NotFound:
                await self.info()  # raises when it is the database that is missing
                self._has_bulk_get = False
        if found is None:
            part, gate = asked[:SINGLE_PART], asyncio.Semaphore(SINGLE_GETS)
            found = http_answers.together(
                await asyncio.gather(*[self._get_one(identifier, rev, gate) for identifier, rev in part])
            )
        return found._replace(rest=len(asked) - len(part))

    async def _get_bulk(self, asked: Sequence[_Asked]) -> Fetched:
        content = {"docs": [{"id": one} if rev is None else {"id": one, "rev": rev} for one, rev in asked]}
        params = {"revs": "true", "latest": "true"}
        body = await self._bytes("POST", "/_bulk_get", content, params=params, most=HEAVY if len(asked) > 1 else None)
        return await _in_thread_if_large(partial(http_answers.fetched, asked), body)

    async def _get_one(self, identifier: str, rev: str | None, gate: asyncio.Semaphore) -> Fetched:
        revs = "all" if rev is None else _encode([rev]).decode()
        params = {"revs": "true", "latest": "true", "open_revs": revs}
        try:
            async with gate:
                body = await self._bytes("GET", f"/{quote(identifier, safe='')}", params=params)
        except NotFound as error:
            return Fetched([], [], [] if rev is None else [Refused(identifier, rev, error.message, temporary=True)])
        except Choked as error:
            return Fetched([], [Refused(identifier, rev or "", error.message, temporary=True)], [])
        return http_answers.opened(identifier, rev, body)

    async def bulk_docs(self, documents: Sequence[Document]) -> list[Refused]:
        body = await self._bytes("POST", "/_bulk_docs", {"docs": documents, "new_edits": False})
        return await _in_thread_if_large(partial(http_answers.refusals, documents), body)

    def backlog(self, since: Seq) -> int | None:
        return None

    async def close(self) -> None:
        await self._requests.close()

    # Requests

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is not an error; what breaks while it is read is ``Unavailable`` too."""
        headers = {"accept": "application/json"}
        body = None
        if content is not None:
            headers["content-type"] = "application/json"
            body = _encode(content)
            if len(body) >= COMPRESSED_FROM and await self._takes_gzip():
                headers["content-encoding"] = "gzip"
                body = await _in_thread_if_large(_compressed, body)
        try:
            async with self._requests.request(
                method,
                self._path + path,
                params=params,
                body=body,
                headers=headers,
                timeout=timeout or self._timeout,
            ) as response:
                if response.status >= 300:  # a redirection is no answer of the database
                    raise error_of(response.status, await response.read(), response.headers.get("retry-after"))
                yield response
        except MosaicError:
            raise
        except TimeoutError as error:
            raise Unavailable(f"{self._address or self._path} did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"{self._address or self._path} cannot be reached: {said}") from error

    async def _bytes(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        most: int | None = None,
    ) -> bytes:
        """The body of an answer. Raises ``_TooMuch`` as soon as it has more than ``most`` bytes."""
        async with self._answer(method, path, content, params=params) as response:
            if most is None:
                return await response.read()
            received = bytearray()
            async for chunk in response.content.iter_any():
                received += chunk
                if len(received) > most:
                    raise _TooMuch
            return bytes(received)

    async def _object(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        return await _in_thread_if_large(http_answers.described, await self._bytes(method, path, content))

    async def _takes_gzip(self) -> bool:
        if self._facts is None:
            await self.info()
        assert self._facts is not None
        offered = self._facts.get("compression")
        return isinstance(offered, list) and "gzip" in offered


async def _in_thread_if_large(function: Callable[[bytes], T], body: bytes) -> T:
    if len(body) < INLINE_BELOW:
        return function(body)
    return await asyncio.to_thread(function, body)


def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=1)


def _milliseconds(seconds: float) -> str:
    return str(max(1, int(seconds * 1000)))


def _changes_params(since: Seq, limit: int | None, chosen: Filter) -> dict[str, str]:
    params = {"style": "all_docs", "since": str(since)}
    if limit is not None:
        params["limit"] = str(limit)
    if chosen.selector is not None:
        params["filter"] = "_selector"
    return params


def _changes_request(chosen: Filter) -> tuple[str, str, dict[str, Any] | None]:
    if chosen.selector is None:
        return "GET", "/_changes", None
    return "POST", "/_changes", {"selector": chosen.selector}
