"""Bytes of a node that cannot be reached directly: the control plane asks for them over the link, the node sends them
in requests of its own, and each piece goes to the reader that waits for it.

A ticket stands for one range of one file. The node's request with a piece is answered once there is room for it, so
the reader's pace is the node's; a node that would have to wait for longer than ``ROOM_S`` is told to come again with
the same piece. Memory is bounded by ``PIECES`` pieces a ticket.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from mosaicfs_core.documents.patterns import END
from mosaicfs_core.errors import (
    Conflict,
    MosaicError,
    NotFound,
    NotSignedIn,
    PluginError,
    Unavailable,
    UserError,
)
from mosaicfs_core.link import ReaderWaits
from mosaicfs_core.server.link.links import Links

logger = logging.getLogger(__name__)

PIECE: Final = 1 << 20
"""Bytes of the largest piece."""
PIECES: Final = 3
ROOM_S: Final = 20.0
STALL_S: Final = 60.0
"""A node that sends nothing for so long, although there is room, has failed."""
ASK_S: Final = 30.0
MAX_TICKETS: Final = 256
LARGEST: Final = 2**53
"""A file of so many bytes there is not, nor a number that JSON carries everywhere."""
MAX_MTIME: Final = 62_000_000_000 * 1_000_000
"""Microseconds around 1970 within which a time has a year of four digits."""
_ETAG: Final = re.compile(r'"[!#-~]{0,200}"')


class RelayFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of a file it has opened: ``size`` in bytes, ``mtime`` in microseconds, ``etag`` its strong
    validator, the range that it will send, ``start`` up to ``stop``, and the SHA-256 of the whole in hexadecimal, if it
    has computed that before."""

    size: Annotated[int, Meta(ge=0, lt=LARGEST)]
    mtime: int
    etag: str
    start: int
    stop: int
    sha256: Annotated[str, Meta(pattern=f"^[0-9a-f]{{64}}{END}")] | None = None


class RelayedRange:
    """A range on its way. Iterate over it once."""

    def __init__(self, facts: RelayFacts, ticket: _Ticket) -> None:
        self.facts = facts
        self._ticket = ticket

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces in order. Raises ``Unavailable`` when the node stops before the end, or its own error."""
        at = self.facts.start
        while at < self.facts.stop:
            piece = await self._ticket.take()
            if at + len(piece) > self.facts.stop:
                raise Unavailable("the node sent more than it was asked for")
            at += len(piece)
            yield piece


class Relay:
    """The tickets that are open, and who may use them."""

    def __init__(self, links: Links, *, room_s: float = ROOM_S, stall_s: float = STALL_S) -> None:
        self._links = links
        self._room_s = room_s
        self._stall_s = stall_s
        self._tickets: dict[str, _Ticket] = {}

    @asynccontextmanager
    async def range_of(
        self, node_id: str, file_id: str, start: int = 0, stop: int | None = None, etag: str | None = None
    ) -> AsyncIterator[RelayedRange]:
        """Bytes ``start`` up to ``stop`` (None: the end) of a node's file, cut at its end, around a block.

        With ``etag`` only of that version of it. Leaving the block takes the request back. Raises ``Unavailable`` when
        the node is not connected, too much is being relayed or the node makes no sense, the node's own error
        (``NotFound``, ``Stale``, …) when it cannot serve the file.
        """
        if len(self._tickets) >= MAX_TICKETS:
            raise Unavailable("too many files are being relayed at once", retry_after=5)
        name = secrets.token_urlsafe(24)
        ticket = self._tickets[name] = _Ticket(node_id, start, self._room_s, self._stall_s)
        try:
            params = {"ticket": name, "file_id": file_id, "start": start, "stop": stop, "etag": etag}
            facts = _facts(node_id, await self._asked(node_id, params))
            if facts.start != start or (stop is not None and facts.stop > stop):
                raise Unavailable(f"{node_id} offers other bytes than it was asked for")
            yield RelayedRange(facts, ticket)
        finally:
            del self._tickets[name]
            ticket.end(NotFound("nobody waits for these bytes any more"))

    async def put(self, node_id: str, name: str, at: int, piece: bytes) -> None:
        """A node brings the piece that begins ``at``; returns once the reader has room for it.

        Raises ``NotFound`` when nobody waits for it (any more), ``Conflict`` for a piece out of order and
        ``ReaderWaits`` when there is no room yet.
        """
        await self._of(node_id, name).put(at, piece)

    def fail(self, node_id: str, name: str, error: MosaicError) -> None:
        """A node cannot send the rest; its reader is told."""
        self._of(node_id, name).end(_told(node_id, error))

    async def _asked(self, node_id: str, params: Mapping[str, Any]) -> Any:
        try:
            return await self._links.call(node_id, "push", params, ASK_S)
        except MosaicError as error:
            raise _told(node_id, error) from error

    def _of(self, node_id: str, name: str) -> _Ticket:
        ticket = self._tickets.get(name)
        # Another node's ticket is as good as none: its name is a secret that it should not know.
        if ticket is None or ticket.node_id != node_id:
            raise NotFound("nobody waits for these bytes any more")
        return ticket


class _Ticket:
    """One range: a short queue between the node's requests and the reader."""

    def __init__(self, node_id: str, at: int, room_s: float, stall_s: float) -> None:
        self.node_id = node_id
        self._at = at
        self._room_s = room_s
        self._stall_s = stall_s
        self._pieces: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._ended: MosaicError | None = None

    async def put(self, at: int, piece: bytes) -> None:
        if not 0 < len(piece) <= PIECE:
            raise UserError(f"a piece has 1 to {PIECE} bytes, not {len(piece)}")
        try:
            async with asyncio.timeout(self._room_s):
                await self._until(lambda: at < self._at or (at == self._at and len(self._pieces) < PIECES))
        except TimeoutError:
            if at > self._at:
                raise Conflict(f"the piece at {self._at} is missing before this one", at=self._at) from None
            raise ReaderWaits("the reader has no room yet; send it again", retry_after=0) from None
        if self._ended is not None:
            raise NotFound("nobody waits for these bytes any more")
        if at == self._at:  # else it is here: the answer to it was lost on its way, and the node asks again
            self._pieces.append(piece)
            self._at += len(piece)
            self._notify()

    async def take(self) -> bytes:
        try:
            async with asyncio.timeout(self._stall_s):
                await self._until(lambda: bool(self._pieces))
        except TimeoutError:
            raise Unavailable(f"{self.node_id} sent nothing for {self._stall_s:g} s", retry_after=5) from None
        if not self._pieces:
            assert self._ended is not None
            raise self._ended
        piece = self._pieces.popleft()
        self._notify()
        return piece

    def end(self, error: MosaicError) -> None:
        """Nothing more will come, or be taken."""
        if self._ended is None:
            self._ended = error
        self._notify()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds or the ticket has ended."""
        while self._ended is None and not condition():
            await self._changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _told(node_id: str, error: MosaicError) -> MosaicError:
    """What a reader is told of a node's error: what can be so of a range of a file. Of anything else a node may say
    (that the reader is not signed in, or something that nobody foresaw) the node is at fault, not this process."""
    if isinstance(error, (UserError, NotFound, Conflict, PluginError, Unavailable)) and not isinstance(
        error, NotSignedIn
    ):
        return error
    return Unavailable(f"{node_id} cannot send the file: {error.message}", retry_after=5)


def _facts(node_id: str, answer: Any) -> RelayFacts:
    try:
        facts = msgspec.convert(answer, RelayFacts)
    except msgspec.ValidationError as error:
        raise Unavailable(f"the answer of {node_id} cannot be understood: {error}") from None
    if not 0 <= facts.start <= facts.stop <= facts.size:
        raise Unavailable(f"the answer of {node_id} makes no sense: a range outside of the file")
    if _ETAG.fullmatch(facts.etag) is None or abs(facts.mtime) > MAX_MTIME:
        raise Unavailable(f"the answer of {node_id} makes no sense: a version that no answer can name")
    return facts
