"""The files that one client of the agent's socket holds open: their handles, and the answers about what is present.

The messages are described in ``mosaicfs_core.agent.socket``.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from bisect import bisect_right
from collections.abc import Coroutine, Mapping
from operator import itemgetter
from typing import Any, BinaryIO, Final, Protocol, TypeVar, cast

from mosaicfs_core.content import ByteSource
from mosaicfs_core.content.source import Ranges
from mosaicfs_core.errors import NoRoom, NotFound, Unavailable, UserError
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.plugins.context import ContentService

T = TypeVar("T")

_HANDLES: Final = 65536
_PROGRESS_S: Final = 2.0
_RANGES: Final = 256
_LENT_LIMIT: Final = 16 << 20


class Send(Protocol):
    """Sends one message; a descriptor travels with it."""

    async def __call__(self, message: dict[str, Any], descriptor: int | None = None) -> None: ...


class Handles:
    """The open files of one client, answered by ``send``."""

    def __init__(self, content: ContentService, send: Send) -> None:
        self._content = content
        self._send = send
        self._open: dict[int, ByteSource] = {}
        self._described: set[int] = set()
        self._next_handle = 1

    def close(self, handle: int) -> None:
        """Give a handle back. One that is not held is none."""
        self._described.discard(handle)
        source = self._open.pop(handle, None)
        if source is not None:
            source.close()

    def close_all(self) -> None:
        """The client is gone."""
        for source in self._open.values():
            source.close()

    async def open(self, number: Any, record: FileRecord) -> None:
        """Hold a file open and answer with its handle."""
        if len(self._open) >= _HANDLES:
            raise Unavailable("too many files are open")
        source = cast(ByteSource, await self._content.open(record))
        handle = self._next_handle
        self._next_handle += 1
        self._open[handle] = source
        answer = {"id": number, "handle": handle, "version": source.version}
        await self._show(answer, handle, source, 0)

    async def fetch(self, number: Any, message: Mapping[str, Any]) -> None:
        """Make a range of a handle present, or lend its bytes when they can be kept nowhere."""
        handle, offset, length = message["fetch"], message.get("offset"), message.get("length")
        source = self._open.get(handle)
        if source is None:
            raise NotFound(f"no handle {handle}")
        if not (isinstance(offset, int) and isinstance(length, int) and offset >= 0 and 0 <= length <= _LENT_LIMIT):
            raise UserError("fetch needs an offset and a length")
        if message.get("doubt") is True:
            source.doubt()
        try:
            await self._patiently(number, source, source.ensure(offset, length))
        except NoRoom:
            kept = False
        else:
            kept = source.descriptor is not None
        if kept:
            await self._show({"id": number, "sums": source.sums(offset, length)}, handle, source, offset)
            return
        data = await self._patiently(number, source, source.read(offset, length))
        with _lent(data) as descriptor:
            await self._send(
                {
                    "id": number,
                    "lent": len(data),
                    "size": source.size,
                    "received": source.received,
                    "descriptor": True,
                },
                descriptor.fileno(),
            )

    async def _show(self, answer: dict[str, Any], handle: int, source: ByteSource, offset: int) -> None:
        """Answer with what a source has around ``offset``; its descriptor goes along once."""
        present, kept = _nearest(source.present, offset), _nearest(source.kept, offset)
        answer |= {"size": source.size, "present": present, "kept": kept}
        answer |= {"stamp": source.stamp, "received": source.received, "doubted": source.doubted}
        if source.descriptor is None or handle in self._described:
            await self._send(answer)
            return
        self._described.add(handle)
        await self._send({**answer, "descriptor": True}, source.descriptor)

    async def _patiently(self, number: Any, source: ByteSource, work: Coroutine[Any, Any, T]) -> T:
        """Do something that may wait for another machine, and say so as long as bytes come."""
        task = asyncio.create_task(work)
        received = source.received
        try:
            while not (await asyncio.wait({task}, timeout=_PROGRESS_S))[0]:
                if source.received != received:
                    received = source.received
                    await self._send({"id": number, "progress": True})
            return task.result()
        finally:
            task.cancel()


def _nearest(ranges: Ranges, offset: int) -> Ranges:
    """The ranges around an offset: all of them, unless a file was read all over the place."""
    if len(ranges) <= _RANGES:
        return ranges
    position = max(0, bisect_right(ranges, offset, key=itemgetter(0)) - _RANGES // 2)
    return ranges[position : position + _RANGES]


def _lent(data: bytes) -> BinaryIO:
    """A file without a name that holds ``data``, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        file: BinaryIO = os.fdopen(os.memfd_create("lent"), "w+b")
    else:
        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.flush()
    return file
