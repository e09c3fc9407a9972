"""Fetching a file's bytes from the node that has it, by the best route that works (the network half of tier 4)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import aiohttp

from mosaicfs_core.content.digests import digest_of
from mosaicfs_core.content.routes import SILENCE_S, Race, Route, Routes, Troubles
from mosaicfs_core.errors import MosaicError, NotAllowed, NotFound, Stale, Unavailable
from mosaicfs_core.hooks import FileRecord

logger = logging.getLogger(__name__)
T = TypeVar("T")

BLOCK: Final = 1 << 20
"""Bytes of a block, the last one of a file being shorter."""
PATIENCE_S: Final = 10.0
"""How long an owner may say nothing on a route before that has failed."""
DOUBTFUL_S: Final = 3.0
"""The same on a route that failed the last time."""
_ATTEMPTS: Final = 3
_RETRY_S: Final = 30.0
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/=]{44}):")


@dataclass(frozen=True)
class Facts:
    """What an owner says of the version it serves. ``mtime`` has whole seconds (microseconds); ``sha256`` if known."""

    size: int
    mtime: int
    etag: str
    sha256: bytes | None = None


class Damaged(MosaicError):
    """What arrived is not what was sent, or not all of it: worth another attempt."""

    code = "damaged"


class Differs(Stale):
    """The owner has another size than the document says: a change that has not arrived here yet."""

    def __init__(self, facts: Facts) -> None:
        super().__init__("the owner's file is not the one that is known here")
        self.facts = facts


class Undigested(MosaicError):
    """A whole file cannot be checked, for want of its digest; its parts come with digests of their own."""

    code = "undigested"


Sink = Callable[[bytes], None]


class Owners:
    """The nodes that own files, reached by ``routes``."""

    def __init__(self, routes: Routes, *, patience_s: float = PATIENCE_S) -> None:
        self._routes = routes
        self._patience_s = patience_s
        self._troubles = Troubles()
        self._probes: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """End what goes on in the background."""
        probes = list(self._probes.values())
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)

    async def facts(self, file: FileRecord) -> Facts:
        """What the owner has now, without its bytes. Raises as ``range``."""

        async def read(answer: aiohttp.ClientResponse, _: Route) -> Facts:
            return _facts(answer, _length(answer))

        return await self._attempt(file, {}, read, method="HEAD")

    async def range(
        self, file: FileRecord, start: int, stop: int, etag: str | None, arrived: Callable[[int], None]
    ) -> tuple[Facts, bytearray]:
        """Bytes ``start`` up to ``stop`` of the version ``etag`` (None: whichever there is), whole and checked.

        ``arrived`` is told how many bytes came, as they come. Raises ``Stale`` when the owner has another version,
        ``NotFound`` when it has none, ``NotAllowed``, and ``Unavailable`` when no route works or all that came was
        damaged; within a bounded time without progress.
        """

        async def read(answer: aiohttp.ClientResponse, _: Route) -> tuple[Facts, bytearray]:
            first, last, size = _content_range(answer)
            facts = _facts(answer, size)
            if first != start or last > stop or (last < stop and last != size):
                raise Damaged("the owner sent another range than it was asked for")
            data = bytearray()
            async for part in answer.content.iter_any():
                data += part
                arrived(len(part))
                if len(data) > last - first:
                    break
            if len(data) != last - first:
                raise Damaged(f"{len(data)} bytes came of {last - first}")
            expected = _digest(answer, "Content-Digest")
            if expected is not None and await asyncio.to_thread(digest_of, data) != expected:
                raise Damaged("the bytes do not have the digest that the owner announced")
            return facts, data

        headers = {"Range": f"bytes={start}-{stop - 1}", "Want-Content-Digest": "sha-256=1"}
        return await self._attempt(file, headers, read, etag=etag, status=206)

    async def whole(
        self,
        file: FileRecord,
        etag: str | None,
        begin: Callable[[Facts], Sink],
        between: Callable[[], Awaitable[None]] | None = None,
    ) -> tuple[Facts, bytes]:
        """All bytes, in order and checked against the owner's digest: the facts and the SHA-256.

        ``begin`` is called at the start of each attempt and gives what takes the blocks of that attempt, in a worker
        thread; they are good only once this returns. ``between`` is awaited after each block and may hold up the rest.
        Raises as ``range``, ``Undigested``, and what ``begin`` and its
        sink raise.
        """

        async def read(answer: aiohttp.ClientResponse, route: Route) -> tuple[Facts, bytes]:
            facts = _facts(answer, _length(answer))
            if facts.sha256 is None and route.relay:
                # Nobody can be asked for it afterwards: not a byte is taken that would have to come once more.
                raise Undigested(f"nobody on the way knows the digest of {file.export_path}")
            sink, digest, size = begin(facts), hashlib.sha256(), 0

            def take(block: bytes) -> None:
                digest.update(block)
                sink(block)

            async for block in _blocks(answer):
                size += len(block)
                await asyncio.to_thread(take, block)
                if between is not None:
                    await between()
            if size != facts.size:
                raise Damaged(f"{size} bytes came of {facts.size}")
            expected = facts.sha256 or await self._ask_digest(route, file, facts.etag)
            if digest.digest() != expected:
                raise Damaged("the file does not have the digest that its owner computed")
            return facts, expected

        return await self._attempt(file, {}, read, etag=etag)

    async def _ask_digest(self, route: Route, file: FileRecord, etag: str) -> bytes:
        path = f"{route.path(file.file_id)}/digest"
        # An owner that has not hashed this version yet reads it once more for the answer.
        async with route.requests.request("GET", path, params={"etag": etag}, timeout=6 * self._patience_s) as answer:
            _check_status(answer, file, 200)
            found = _digest(answer, "Repr-Digest")
            if found is None:
                raise Damaged("the owner does not tell the file's digest")
            return found

    async def _attempt(
        self,
        file: FileRecord,
        headers: Mapping[str, str],
        read: Callable[[aiohttp.ClientResponse, Route], Awaitable[T]],
        *,
        method: str = "GET",
        etag: str | None = None,
        status: int = 200,
    ) -> T:
        """The answer of the first route that works; what arrived damaged is asked for again, a few times in all."""
        given = {"Accept-Encoding": "identity", **headers, **({} if etag is None else {"If-Match": etag})}
        routes = self._routes(file.node_id)
        outcome = _Outcome(file, self._troubles)
        silence_s = min(SILENCE_S, self._patience_s)
        if all(route in self._troubles for route in routes):
            silence_s = 0.0  # all at once, then: it is not known which of them to wait for

        async def attempt(route: Route, claim: Callable[[], None]) -> T:
            patience = min(self._patience_s, DOUBTFUL_S) if route in self._troubles else self._patience_s
            async with route.requests.request(
                method, route.path(file.file_id), headers=given, timeout=patience
            ) as answer:
                _check_status(answer, file, status)
                _check_version(answer, file, etag)
                claim()
                value = await read(answer, route)
            self._troubles.works(route)
            return value

        for _ in range(_ATTEMPTS):
            outcome.damaged = False
            race = Race(attempt, failed=outcome.failed, passed=self._troubles.failed, silence_s=silence_s)
            found = await race.run(self._troubles.ordered(routes))
            if found is not None:
                self._probe(self._troubles.due(routes), file)
                return found[0]
            if not outcome.damaged:
                break
        raise outcome.failure

    def _probe(self, routes: Iterable[Route], file: FileRecord) -> None:
        """See in the background whether routes that failed work again, by asking for a file that is there."""

        async def probe(route: Route) -> None:
            try:
                async with route.requests.request("HEAD", route.path(file.file_id), timeout=self._patience_s) as answer:
                    if answer.status < 500:
                        self._troubles.works(route)
                        return
            except (aiohttp.ClientError, TimeoutError, OSError, MosaicError) as error:
                logger.debug("%s still does not work: %s", route.name, error, extra={"operation": "transfer"})
            self._troubles.failed(route)

        for route in routes:
            if route.name not in self._probes:
                task = self._probes[route.name] = asyncio.create_task(probe(route), name=f"probe {route.name}")
                # mypy takes a parameter with a default for one that the loop would have to give.
                task.add_done_callback(lambda _, name=route.name: self._probes.pop(name, None))  # type: ignore[misc]


class _Outcome:
    """What became of the routes that were tried: the error that tells of it, and whether anything came ``damaged``."""

    def __init__(self, file: FileRecord, troubles: Troubles) -> None:
        self._file = file
        self._troubles = troubles
        self.damaged = False
        self.failure: MosaicError = Unavailable(
            f"there is no way to {file.node_id} from this machine now", retry_after=_RETRY_S, path=file.export_path
        )

    def failed(self, route: Route, error: Exception) -> None:
        """Note why a route failed. Raises what no other route can mend."""
        file = self._file
        if isinstance(error, Damaged | aiohttp.ClientPayloadError):
            self.damaged = True
            self.failure = Unavailable(f"{file.export_path} did not arrive whole: {error}", retry_after=5)
            logger.warning("a transfer failed and is tried again: %s", error, extra=_where(file, route))
        elif isinstance(error, aiohttp.ClientError | TimeoutError | ConnectionError):
            reason = str(error) or "it took too long"
            self.failure = Unavailable(f"{file.node_id} does not answer: {reason}", retry_after=_RETRY_S)
            self._troubles.failed(route)
        elif isinstance(error, NotFound | NotAllowed | Unavailable):
            self.failure = error
        else:
            raise error


async def _blocks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body in blocks of ``BLOCK`` bytes, the last one shorter."""
    block = bytearray()
    async for part in answer.content.iter_any():
        block += part
        while len(block) >= BLOCK:
            yield bytes(block[:BLOCK])
            del block[:BLOCK]
    if block:
        yield bytes(block)


def _check_version(answer: aiohttp.ClientResponse, file: FileRecord, etag: str | None) -> None:
    """Raise ``Stale`` when the answer is of another version than ``etag``."""
    if etag is not None and answer.headers.get("ETag") != etag:
        raise Stale(f"{file.export_path} was changed by its owner", path=file.export_path)


def _check_status(answer: aiohttp.ClientResponse, file: FileRecord, expected: int) -> None:
    """Raise the error that a status stands for, unless it is the one expected."""
    status = answer.status
    if status == expected:
        return
    path = file.export_path
    if status in (412, 416):
        raise Stale(f"{path} was changed by its owner", path=path)
    if status == 404:
        raise NotFound(f"{file.node_id} does not have {path} any more", path=path)
    if status in (401, 403):
        raise NotAllowed(f"{file.node_id} does not let this machine read {path}", path=path)
    raise Unavailable(f"{file.node_id} cannot send {path} now (status {status})", path=path)


def _facts(answer: aiohttp.ClientResponse, size: int) -> Facts:
    etag = answer.headers.get("ETag")
    if not etag:
        raise Damaged("the owner does not say which version it sends")
    try:
        mtime = int(parsedate_to_datetime(answer.headers.get("Last-Modified", "")).timestamp()) * 1_000_000
    except (ValueError, OverflowError):
        mtime = 0
    return Facts(size, mtime, etag, _digest(answer, "Repr-Digest"))


def _length(answer: aiohttp.ClientResponse) -> int:
    length = answer.headers.get("Content-Length", "")
    if not length.isdecimal():
        raise Damaged("the owner does not say how long the file is")
    return int(length)


def _content_range(answer: aiohttp.ClientResponse) -> tuple[int, int, int]:
    """First byte, the one after the last, and the size of the whole."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None:
        raise Damaged("the owner does not say which bytes it sends")
    return int(found[1]), int(found[2]) + 1, int(found[3])


def _digest(answer: aiohttp.ClientResponse, header: str) -> bytes | None:
    """The SHA-256 in a digest header (RFC 9530), when there is one."""
    found = _DIGEST.search(answer.headers.get(header, ""))
    return None if found is None else base64.b64decode(found[1])


def _where(file: FileRecord, route: Route) -> dict[str, str]:
    return {"operation": "transfer", "file_id": file.file_id, "route": route.name}
