"""A file's content as an answer: conditional requests, ranges, names, and bytes in big chunks with bounded memory."""

from __future__ import annotations

import asyncio
import logging
import re
from asyncio import wrap_future
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, Final, NoReturn
from urllib.parse import quote

from quart import Request, Response

from mosaicfs_core.content import ByteSource
from mosaicfs_core.errors import Stale
from mosaicfs_core.hooks import FileRecord, etag_matches
from mosaicfs_core.server.errors import NotAcceptableRange
from mosaicfs_core.server.ranges import ByteRange, MultipartRanges, parse_range
from mosaicfs_core.server.security import CONTENT_POLICY

logger = logging.getLogger(__name__)

# A thread hop costs the same for any size, so a chunk is big; a stream holds two of them at most.
CHUNK: Final = 4 * 1024 * 1024

_MIME_FORM: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_SHOWN_AS_THEY_ARE: Final = re.compile(r"image/[a-z0-9.+-]+|audio/[a-z0-9.+-]+|video/[a-z0-9.+-]+|application/pdf")
_SHOWN_AS_TEXT: Final = re.compile(r"text/.+|message/rfc822|application/(?:.+\+)?(?:json|xml|yaml|toml|javascript)")


class Streams:
    """The downloads under way: the threads that read for them, and the tasks that send, so that they can be ended."""

    def __init__(self, threads: int = 4) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="content")
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


def content_answer(
    asked: Request, file: FileRecord, source: ByteSource, streams: Streams, *, inline: bool = False
) -> Response:
    """The answer to a GET or HEAD for a file's bytes. Takes the source over: it is closed when the answer is done."""
    try:
        answer = _answer(asked, file, source, streams, inline)
    except BaseException:
        source.close()
        raise
    answer.headers["ETag"] = source.etag
    answer.headers["Last-Modified"] = formatdate(source.mtime // 1_000_000, usegmt=True)
    answer.headers["Accept-Ranges"] = "bytes"
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


def _answer(asked: Request, file: FileRecord, source: ByteSource, streams: Streams, inline: bool) -> Response:
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
        return _body(asked, source, streams, 200, headers, [ByteRange(0, source.size)], source.size)
    if not parts:
        raise NotAcceptableRange(source.size)
    if len(parts) == 1:
        headers["Content-Range"] = parts[0].content_range(source.size)
        return _body(asked, source, streams, 206, headers, parts, parts[0].length)
    framing = MultipartRanges(parts, source.size, mime_type)
    headers["Content-Type"] = framing.content_type
    return _body(asked, source, streams, 206, headers, parts, framing.length, framing)


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
    """The parts in order, the next chunk being read while the last one is sent."""
    pieces = list(_pieces(parts, framing))
    pending: Future[bytes] | None = None
    try:
        with streams.sending():
            for index, (head, piece) in enumerate(pieces):
                pending = pending or streams.pool.submit(source.pread, piece.start, piece.length)
                data = await wrap_future(pending)
                pending = None
                if index + 1 < len(pieces):
                    following = pieces[index + 1][1]
                    pending = streams.pool.submit(source.pread, following.start, following.length)
                if len(data) != piece.length:
                    _cut_off()
                if head:
                    yield head
                yield data
            if framing:
                yield framing.tail
    finally:
        # A read may still be under way in its thread when the client has gone: the descriptor must outlive it.
        if pending is None:
            source.close()
        else:
            pending.add_done_callback(lambda _: source.close())


def _cut_off() -> NoReturn:
    """End an answer whose length was announced already and cannot be kept.

    Cancelling is the way to make the server close the connection without it being reported as an error of ours.
    """
    logger.warning("a file became shorter while it was being sent; its download was cut off")
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
