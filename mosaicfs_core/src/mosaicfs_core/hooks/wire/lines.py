"""Lines of JSON over a stream, none longer than a limit, and no writer that runs ahead of its reader for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec

from mosaicfs_core.errors import MosaicError
from mosaicfs_core.unix_sockets import reachable

LINE_LIMIT: Final = 16 << 20
"""Bytes of the longest line that either side takes."""
FLUSH_S: Final = 1.0
"""How long the other side may take to read the last of what it was sent."""
_HIGH_WATER: Final = 1 << 20
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class BrokenWire(MosaicError):
    """The other side does not keep to the protocol: the connection is of no more use."""

    code = "broken_wire"


class Lines:
    """Both directions of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._unwritten = bytearray()
        writer.transport.set_write_buffer_limits(high=_HIGH_WATER)

    async def read(self) -> bytes | None:
        """The next line that is not blank, None at the end. Raises ``BrokenWire`` for one that is too long or whose end
        is missing."""
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise BrokenWire("the connection ended in the middle of a line") from None
                return None
            except asyncio.LimitOverrunError:
                raise BrokenWire(f"a line has more than {LINE_LIMIT:,} bytes") from None
            except ConnectionError:
                return None
            if line.strip():
                return line

    def send(self, message: Any) -> None:
        """Write a message without waiting, together with whatever else is sent in this turn of the loop: each write
        wakes the other side. Plain function; what is sent to a closed connection is lost."""
        if self._writer.is_closing():
            return
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._write)
        self._unwritten += _encode(message)
        self._unwritten += b"\n"

    @property
    def behind(self) -> bool:
        """Whether the other side has much to read before ``drain`` returns."""
        return len(self._unwritten) + self._writer.transport.get_write_buffer_size() > _HIGH_WATER

    async def drain(self) -> None:
        """Wait until the other side has read most of what was sent. Raises ``ConnectionError`` when it is gone."""
        self._write()
        await self._writer.drain()
        if self._writer.is_closing():  # hung up meanwhile, which ends the wait like everything read does
            raise ConnectionResetError("the connection is closed")

    async def close(self) -> None:
        """Close the connection, whatever state it is in: once the other side has read what was sent, for which it has
        ``FLUSH_S``."""
        self._write()
        self._writer.close()
        closed = asyncio.ensure_future(self._closed())
        try:
            await asyncio.wait({closed}, timeout=FLUSH_S)
        finally:
            self.hang_up()
        await closed

    def hang_up(self) -> None:
        """Close the connection at once; what the other side has not read is lost. Plain function."""
        transport = self._writer.transport
        # One that was closed and has nothing left to send ends by itself; asyncio breaks down when it is aborted then.
        if not transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()

    async def abandon(self) -> None:
        """``hang_up``, and wait until that is done."""
        self.hang_up()
        await self._closed()

    def _write(self) -> None:
        unwritten, self._unwritten = self._unwritten, bytearray()
        if unwritten and not self._writer.is_closing():
            self._writer.write(unwritten)

    async def _closed(self) -> None:
        try:
            await self._writer.wait_closed()
        except OSError:
            # It was broken already, and closing it is all that was wanted.
            return


async def connect(path: Path) -> Lines:
    """Connect to a Unix socket. Raises ``OSError``."""
    with reachable(path) as short:
        return Lines(*await asyncio.open_unix_connection(short, limit=LINE_LIMIT))
