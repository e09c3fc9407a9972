"""Answers of the protocol: JSON, whole or in a stream, compressed when the client takes it."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from quart import Request, Response

from mosaicfs_core.errors import MosaicError
from mosaicfs_core.server.streaming import Streams

logger = logging.getLogger(__name__)
T = TypeVar("T")

LEVEL: Final = 1
"""Of zlib: replication sends much, and the fastest level already makes a fifth of it."""
WORTH_COMPRESSING: Final = 1024
GZIP_WINDOW: Final = 31
JSON: Final = "application/json"


def takes_gzip(asked: Request) -> bool:
    """Whether the client takes gzip."""
    return asked.accept_encodings.quality("gzip") > 0


def json_answer(asked: Request, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A whole answer."""
    body = msgspec.json.encode(value) + b"\n"
    answer = Response(body, status=status, headers=dict(headers or {}), mimetype=JSON)
    if len(body) >= WORTH_COMPRESSING and takes_gzip(asked):
        compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP_WINDOW)
        answer.set_data(compressor.compress(body) + compressor.flush())
        _say_compressed(answer)
    return answer


def stream_answer(asked: Request, chunks: AsyncIterator[bytes], streams: Streams, mimetype: str = JSON) -> Response:
    """An answer that is sent while it is made, and ends when ``streams`` ends."""
    if asked.method == "HEAD":
        return Response(b"", mimetype=mimetype)  # a live one would never end
    compressed = takes_gzip(asked)
    body = _compressed(chunks) if compressed else chunks
    answer = Response(_sent(body, streams), mimetype=mimetype)
    answer.timeout = None  # the framework would cut a long one silently
    if compressed:
        _say_compressed(answer)
    return answer


def _say_compressed(answer: Response) -> None:
    answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Vary"] = "Accept-Encoding"


async def _compressed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Each chunk can be read as soon as it has arrived: a live feed must not wait for the next one."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP_WINDOW)

    def squeeze(chunk: bytes) -> bytes:
        return compressor.compress(chunk) + compressor.flush(zlib.Z_SYNC_FLUSH)

    async for chunk in chunks:
        yield squeeze(chunk) if len(chunk) < WORTH_COMPRESSING else await asyncio.to_thread(squeeze, chunk)
    yield compressor.flush()


async def _sent(chunks: AsyncIterator[bytes], streams: Streams) -> AsyncIterator[bytes]:
    with streams.sending():
        try:
            async for chunk in chunks:
                yield chunk
        except MosaicError as error:
            logger.info("an answer was cut off: %s", error)
            # The way to make the server close the connection without it being reported as a surprise.
            raise asyncio.CancelledError from error


async def in_parts(
    head: bytes, parts: Iterable[T], read: Callable[[T], Any], tail: bytes, separator: bytes = b",\n"
) -> AsyncIterator[bytes]:
    """``head``, what ``read`` gives for each part with ``separator`` between, ``tail``. The next part is read while
    one is sent."""
    yield head
    pending: asyncio.Task[bytes] | None = None
    first = True
    try:
        for part in parts:
            following = asyncio.ensure_future(read(part))
            if pending is not None:
                done, pending = pending, following
                chunk = await done
                yield chunk if first else separator + chunk
                first = False
            else:
                pending = following
        if pending is not None:
            chunk = await pending
            yield chunk if first else separator + chunk
    finally:
        if pending is not None:
            pending.cancel()
    yield tail
