"""A file's content as an answer: conditional requests, ranges, names, and bytes in big chunks with bounded memory."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, Final, NoReturn
from urllib.parse import quote

from quart import Request, Response

from mosaicfs_core.content import ByteSource
from mosaicfs_core.content.digests import digest_of
from mosaicfs_core.errors import MosaicError, Stale
from mosaicfs_core.hooks import FileRecord, etag_matches
from mosaicfs_core.server.errors import NotAcceptableRange
from mosaicfs_core.server.ranges import ByteRange, MultipartRanges, parse_range
from mosaicfs_core.server.security import CONTENT_POLICY

logger = logging.getLogger(__name__)

# A thread hop costs the same for any size, so a chunk is big; a stream holds three of them at most.
CHUNK: Final = 4 * 1024 * 1024

_MIME_FORM: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_SHOWN_AS_THEY_ARE: Final = re.compile(r"image/[a-z0-9.+-]+|audio/[a-z0-9.+-]+|video/[a-z0-9.+-]+|application/pdf")
_SHOWN_AS_TEXT: Final = re.compile(r"text/.+|message/rfc822|application/(?:.+\+)?(?:json|xml|yaml|toml|javascript)")


class Streams:
    """The downloads under way: the threads that read for them, and the tasks that send, so that they can be ended.
    ``hashing`` computes digests that nobody downloads, which must not hold up those who do."""

    def __init__(self, threads: int = 4) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="content")
        self.hashing = ThreadPoolExecutor(2, thread_name_prefix="hashing")
        self._tasks: set[asyncio.Task[Any]] = set()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """The current task sends a file inside the block."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    @property
    def open(self) -> int:
        """How many are being sent."""
        return len(self._tasks)

    def end(self) -> None:
        """Cut every download off: its client sees an answer shorter than announced."""
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """Give the threads back."""
        self.pool.shutdown(wait=False)
        self.hashing.shutdown(wait=False)


async def content_answer(
    asked: Request, file: FileRecord, source: ByteSource, streams: Streams, *, inline: bool = False
) -> Response:
    """The answer to a GET or HEAD for a file's bytes. Takes the source over: it is closed when the answer is done.

    ``Repr-Digest`` (RFC 9530) tells the SHA-256 of the whole file when it is known. A whole file whose digest is not
    known yet is hashed while it is sent, or before if one chunk holds it. Who wants the digest of the very bytes sent
    (``Want-Content-Digest``) gets it for what one chunk holds.
    """
    try:
        await source.settle()
        answer = await _answer(asked, file, source, streams, inline)
    except BaseException:
        source.close()
        raise
    if source.sha256 is not None:
        answer.headers["Repr-Digest"] = digest_header(source.sha256)
    answer.headers["ETag"] = source.etag
    answer.headers["Last-Modified"] = formatdate(source.mtime // 1_000_000, usegmt=True)
    answer.headers["Accept-Ranges"] = "bytes"
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


def digest_header(sha256: bytes) -> str:
    """The value of a digest header (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


async def _answer(asked: Request, file: FileRecord, source: ByteSource, streams: Streams, inline: bool) -> Response:
    if _precondition_failed(asked, source):
        raise Stale("the file is not the version you asked for")
    if _not_modified(asked, source):
        source.close()
        return Response(b"", status=304)
    mime_type, shown_inline = content_type(file.mime_type, inline)
    headers = {
        "Content-Type": mime_type,
        "Content-Disposition": content_disposition(file.name, inline=shown_inline),
        "Content-Security-Policy": CONTENT_POLICY,
    }
    parts = _wanted(asked, source)
    if parts is None:
        parts = [ByteRange(0, source.size)]
        if source.size <= CHUNK and asked.method == "GET":
            return await _small(source, streams, 200, headers, parts[0])
        return _body(asked, source, streams, 200, headers, parts, source.size)
    if not parts:
        raise NotAcceptableRange(source.size)
    if len(parts) == 1:
        headers["Content-Range"] = parts[0].content_range(source.size)
        if parts[0].length <= CHUNK and "sha-256" in asked.headers.get("Want-Content-Digest", ""):
            return await _small(source, streams, 206, headers, parts[0])
        return _body(asked, source, streams, 206, headers, parts, parts[0].length)
    framing = MultipartRanges(parts, source.size, mime_type)
    headers["Content-Type"] = framing.content_type
    return _body(asked, source, streams, 206, headers, parts, framing.length, framing)


async def _small(
    source: ByteSource, streams: Streams, status: int, headers: Mapping[str, str], part: ByteRange
) -> Response:
    """An answer that is read and hashed before it is sent."""
    data = await source.read(part.start, part.length, streams.pool)
    if len(data) != part.length:
        raise Stale("the file became shorter while it was read")
    answer = Response(data, status=status, headers=dict(headers))
    if status == 206 or source.sha256 is None:
        digest = await asyncio.get_running_loop().run_in_executor(streams.pool, digest_of, data)
        if status == 206:
            answer.headers["Content-Digest"] = digest_header(digest)
        else:
            _learn(source, digest)
    source.close()
    return answer


def _body(
    asked: Request,
    source: ByteSource,
    streams: Streams,
    status: int,
    headers: Mapping[str, str],
    parts: Sequence[ByteRange],
    length: int,
    framing: MultipartRanges | None = None,
) -> Response:
    if asked.method == "HEAD":
        source.close()
        answer = Response(b"", status=status, headers=dict(headers))
    else:
        answer = Response(_stream(source, streams, parts, framing), status=status, headers=dict(headers))
        answer.timeout = None  # the framework would cut a long download silently
    answer.headers["Content-Length"] = str(length)
    return answer


async def _stream(
    source: ByteSource, streams: Streams, parts: Sequence[ByteRange], framing: MultipartRanges | None
) -> AsyncIterator[bytes]:
    """The parts in order, the next chunk being read, and the last one hashed, while one is sent."""
    pieces = _pieces(parts, framing)  # lazily: what is said of a size need not be true
    whole = framing is None and parts == [ByteRange(0, source.size)]
    hashing = _Hashing(streams.pool) if whole and source.sha256 is None and source.learn is not None else None
    pending: asyncio.Task[bytes] | None = None
    try:
        with streams.sending():
            following = next(pieces, None)
            while following is not None:
                head, piece = following
                data = await (pending or source.read(piece.start, piece.length, streams.pool))
                pending, following = None, next(pieces, None)
                if following is not None:
                    ahead = following[1]
                    pending = asyncio.create_task(source.read(ahead.start, ahead.length, streams.pool))
                if len(data) != piece.length:
                    _cut_off("it became shorter")
                if hashing is not None:
                    await hashing.add(data)
                if head:
                    yield head
                yield data
            if framing:
                yield framing.tail
            if hashing is not None:
                _learn(source, await hashing.end())
    except MosaicError as error:  # its owner is gone, or has another version by now
        _cut_off(error.message)
    finally:
        if pending is not None:
            pending.cancel()
        source.close()


class _Hashing:
    """SHA-256 of a stream, in the streams' threads, one chunk behind what is sent."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._digest = hashlib.sha256()
        self._under_way: asyncio.Future[None] | None = None

    async def add(self, data: bytes) -> None:
        """Begin to hash a chunk, once the one before is done."""
        if self._under_way is not None:
            await self._under_way
        self._under_way = asyncio.get_running_loop().run_in_executor(self._pool, self._digest.update, data)

    async def end(self) -> bytes:
        """The digest."""
        if self._under_way is not None:
            await self._under_way
        return self._digest.digest()


def _learn(source: ByteSource, digest: bytes) -> None:
    source.sha256 = digest
    if source.learn is not None:
        source.learn(digest)


def _cut_off(reason: str) -> NoReturn:
    """End an answer whose length was announced already and cannot be kept.

    Cancelling is the way to make the server close the connection without it being reported as an error of ours.
    """
    logger.warning("a file could not be sent to its end and its download was cut off: %s", reason)
    raise asyncio.CancelledError


def _pieces(parts: Sequence[ByteRange], framing: MultipartRanges | None) -> Iterator[tuple[bytes, ByteRange]]:
    """The parts in chunks, each with what stands before it: a part's head before its first chunk, else nothing."""
    for number, part in enumerate(parts):
        for start in range(part.start, part.stop, CHUNK):
            head = framing.heads[number] if framing and start == part.start else b""
            yield head, ByteRange(start, min(start + CHUNK, part.stop))


def _wanted(asked: Request, source: ByteSource) -> list[ByteRange] | None:
    """The ranges to serve, or None for the whole file (also when ``If-Range`` names another version)."""
    condition = asked.headers.get("If-Range")
    if asked.method != "GET":
        return None
    if condition is not None:
        same = (
            etag_matches(condition, source.etag, weak=False) and condition.strip() != "*"
            if '"' in condition
            else _seconds(condition) == source.mtime // 1_000_000
        )
        if not same:
            return None
    return parse_range(asked.headers.get("Range"), source.size)


def _precondition_failed(asked: Request, source: ByteSource) -> bool:
    if "If-Match" in asked.headers:
        return not etag_matches(asked.headers["If-Match"], source.etag, weak=False)
    since = _seconds(asked.headers.get("If-Unmodified-Since"))
    return since is not None and source.mtime // 1_000_000 > since


def _not_modified(asked: Request, source: ByteSource) -> bool:
    if "If-None-Match" in asked.headers:
        return etag_matches(asked.headers["If-None-Match"], source.etag, weak=True)
    since = _seconds(asked.headers.get("If-Modified-Since"))
    return since is not None and source.mtime // 1_000_000 <= since


def _seconds(date: str | None) -> int | None:
    """An HTTP date as Unix seconds, None when there is none or it makes no sense (such a condition is ignored)."""
    if date is None:
        return None
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError):
        return None


def content_type(mime_type: str | None, inline: bool) -> tuple[str, bool]:
    """The ``Content-Type`` to send, and whether the file may be shown in the page: what a browser could run is text or
    a download, never a document."""
    known = (mime_type or "").lower()
    if not _MIME_FORM.fullmatch(known):
        return "application/octet-stream", False
    if not inline:
        return known, False
    if _SHOWN_AS_THEY_ARE.fullmatch(known):
        return known, True
    if _SHOWN_AS_TEXT.fullmatch(known):
        return "text/plain; charset=utf-8", True
    return known, False


def content_disposition(name: str, *, inline: bool) -> str:
    """``Content-Disposition`` with the name in ASCII for old clients and in UTF-8 (RFC 6266) for the others."""
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
