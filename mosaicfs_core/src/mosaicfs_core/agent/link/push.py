"""Sending a range of a file to the control plane, which hands it to whoever asked there (``server.link.relay``).

In pieces, each in a request of its own: the answer to a piece is the permission to send the next one, so that the
reader's pace is ours, each piece is signed like any request, and one that was lost is sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, Protocol

import aiohttp

from mosaicfs_core.backoff import Backoff
from mosaicfs_core.errors import MosaicError, NotFound, Stale, Unavailable, UserError
from mosaicfs_core.link import ReaderWaits
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.security.requests import Requests, raise_for_error
from mosaicfs_core.supervision import end_tasks

logger = logging.getLogger(__name__)

PIECE: Final = 1 << 20
"""Bytes; what the control plane takes at once."""
AT_ONCE: Final = 16
"""Ranges that are sent at a time."""
ATTEMPTS: Final = 5
"""Times that a piece is sent while the network, the control plane or a proxy before it fails."""
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
ANSWER_S: Final = 60.0
NO_ROOM_S: Final = 0.2


class Source(Protocol):
    """An open file (``content.ByteSource``)."""

    @property
    def size(self) -> int: ...
    @property
    def mtime(self) -> int: ...
    @property
    def etag(self) -> str: ...
    @property
    def sha256(self) -> bytes | None: ...
    async def read(self, offset: int, length: int) -> bytes: ...
    def close(self) -> None: ...


class Pusher:
    """Sends ranges. ``requests`` goes to the control plane, ``tell`` asks it over the link."""

    def __init__(
        self,
        core: CoreServices,
        requests: Requests,
        tell: Callable[[str, Mapping[str, Any]], Awaitable[Any]],
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._core = core
        self._requests = requests
        self._tell = tell
        self._pause = pause
        self._tasks: set[asyncio.Task[None]] = set()

    async def push(self, ticket: str, file_id: str, start: int, stop: int | None, etag: str | None) -> dict[str, Any]:
        """Open the file and begin to send; what is sent (as ``RelayFacts``). Raises ``NotFound``, ``Stale``,
        ``UserError`` for a range that lies outside of the file, ``Unavailable``."""
        if len(self._tasks) >= AT_ONCE:
            raise Unavailable("this machine sends as many files as it can at a time", retry_after=5)
        row = self._core.store.reader.file_by_id(file_id)
        # Only files of this machine: the control plane has other ways to everybody else's.
        if row is None or row.status != "active" or row.record().node_id != self._core.node_id:
            raise NotFound("this machine has no such file", file_id=file_id)
        source: Any = await self._core.content.open(row.record())
        try:
            if etag is not None and etag != source.etag:
                raise Stale("the file is not the version you asked for")
            end = source.size if stop is None else min(stop, source.size)
            if start > end:
                raise UserError(f"the range lies outside of the {source.size} bytes there are", size=source.size)
        except BaseException:
            source.close()
            raise
        task = asyncio.create_task(self._send(ticket, source, start, end), name=f"push {file_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {
            "size": source.size,
            "mtime": source.mtime,
            "etag": source.etag,
            "start": start,
            "stop": end,
            "sha256": None if source.sha256 is None else source.sha256.hex(),
        }

    async def close(self) -> None:
        """Stop sending."""
        await end_tasks(*self._tasks)

    async def _send(self, ticket: str, source: Source, at: int, stop: int) -> None:
        try:
            while at < stop:
                piece = await source.read(at, min(PIECE, stop - at))
                if not piece:
                    raise Unavailable("the file became shorter while it was being sent")
                if not await self._piece(ticket, at, piece):
                    return
                at += len(piece)
        except (MosaicError, OSError) as error:
            logger.warning("a file could not be sent: %s", error, extra={"operation": "push"})
            await self._tell_failure(ticket, error)
        except Exception as error:
            logger.exception("a file could not be sent", extra={"operation": "push"})
            await self._tell_failure(ticket, error)
        finally:
            source.close()

    async def _piece(self, ticket: str, at: int, piece: bytes) -> bool:
        """Send one piece until it is taken; False when nobody waits for it any more. Raises ``Unavailable``."""
        backoff, failures = Backoff(first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S), 0
        while True:
            try:
                async with self._requests.request(
                    "POST", f"/api/agent/relay/{ticket}", params={"at": str(at)}, body=piece, timeout=ANSWER_S
                ) as answer:
                    if answer.status == HTTPStatus.NOT_FOUND:
                        return False
                    await raise_for_error(answer)
                    return True
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                failures, reason = failures + 1, f"cannot be reached: {error}"
            except Unavailable as error:
                if error.code == ReaderWaits.code:
                    # The answer came after a wait, and this may take as long as the reader likes.
                    failures = 0
                    backoff.reset()
                    await self._pause(NO_ROOM_S)
                    continue
                failures, reason = failures + 1, f"does not take a piece: {error.message}"  # or a proxy before it
            if failures >= ATTEMPTS:
                raise Unavailable(f"the control plane {reason}")
            await self._pause(backoff.next())

    async def _tell_failure(self, ticket: str, error: Exception) -> None:
        told = error if isinstance(error, MosaicError) else Unavailable("the file could not be read to its end")
        try:
            await self._tell("push_failed", {"ticket": ticket, "code": told.code, "message": told.message})
        except MosaicError as problem:  # its reader then gives up by itself
            logger.debug("the failure could not be told: %s", problem)
