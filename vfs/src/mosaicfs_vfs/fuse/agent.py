"""The agent's Unix socket as the mount uses it: pings after commits, and descriptors of files that are not here.

JSON lines both ways; a descriptor travels beside the line that answers ``open``. The connection is made again with
back-off when it breaks, and while there is none the mount goes on with what is on this machine.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mosaicfs_core.errors import PluginError
from mosaicfs_core.supervision import end_tasks
from mosaicfs_core.unix_sockets import reachable
from mosaicfs_vfs.fuse.checked import CheckedBlocks
from mosaicfs_vfs.fuse.outbox import Outbox
from mosaicfs_vfs.fuse.remote import AgentFile, Fetched, Ranges, Stale

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_LINE_LIMIT: Final = 1 << 20
_ANSWER_S: Final = 30.0
_ANNOUNCE_S: Final = 10.0
_ANNOUNCEMENT: Final = 0
"""The number of the request that tells the agent where the mount is; others have higher ones."""
_DESCRIPTORS: Final = 16
_BEAT_S: Final = 10.0
_FAILURES: Final = 50
_MESSAGE: Final = 2_000
"""Of so many failures of plugins the agent is told, and so much of each."""


class _Broken(Exception):
    """The other side speaks another language."""


class AgentClient:
    """One connection to the agent, kept up by ``run``. ``changed`` is set at each ping and when it comes or goes."""

    def __init__(self, path: Path, mounted_on: Path) -> None:
        self.connected = False
        self.changed = asyncio.Event()
        self._path = path
        self._mounted_on = mounted_on
        self._heard = asyncio.Event()
        self._socket: socket.socket | None = None
        self._outbox: Outbox | None = None
        self._waiting: dict[int, asyncio.Future[Fetched]] = {}
        self._descriptors: deque[int] = deque()
        self._timeouts: dict[int, asyncio.Timeout] = {}
        self._next_request = 1
        self._checked = CheckedBlocks()
        self._shown: int | None = None
        self._failures: deque[PluginError] = deque(maxlen=_FAILURES)
        self._loop = asyncio.get_running_loop()
        self._session_number = 0

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                if await self._session():
                    pause = _FIRST_PAUSE_S
            finally:
                self._disconnect()
            self._heard.set()  # who is not there, or speaks another language, cannot be told
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def announced(self) -> None:
        """Wait until the agent knows where the mount will be, so that no crawl enters it, or there is no agent to tell.

        One that is too busy to answer finds the mount in the mount table.
        """
        try:
            async with asyncio.timeout(_ANNOUNCE_S):
                await self._heard.wait()
        except TimeoutError:
            _log.warning("The agent did not answer in time")

    async def open(self, file_id: str) -> AgentFile:
        """A file by its short id. Raises ``OSError``: EIO while there is no agent, else with the agent's reason."""
        opened = await self._ask({"open": file_id})
        handle, session = opened.handle, self._session_number
        file: AgentFile

        async def fetch(offset: int, length: int, *, doubt: bool) -> Fetched:
            nonlocal handle, session
            if session != self._session_number:
                # The agent was started again and knows nothing of the handle.
                again = await self._ask({"open": file_id})
                if again.version != file.version:
                    self._give_back(again)
                    raise Stale(errno.EIO, "The file is another one now")
                handle, session = again.handle, self._session_number
                if again.descriptor is not None:
                    file.take(again)
            doubts = {"doubt": True} if doubt else {}
            return await self._ask({"fetch": handle, "offset": offset, "length": length, **doubts})

        def closed() -> None:
            if session == self._session_number:
                self._send({"close": handle})

        file = AgentFile(opened, fetch, closed, self._checked)
        return file

    def reindex(self, file_id: str) -> None:
        """Tell the agent that a file on disk is not what its document says; forgotten while there is no agent."""
        self._send({"reindex": file_id})

    def shown(self, seq: int) -> None:
        """Tell the agent, and each that comes later, up to which sequence the mount shows the replica."""
        self._shown = seq
        self._send({"shown": seq})

    def failed(self, error: PluginError) -> None:
        """Tell the agent, and each that comes later, of a plugin's failure in this process. Callable from any
        thread."""
        with suppress(RuntimeError):  # the loop has just been closed
            self._loop.call_soon_threadsafe(self._note_failure, error)

    def _note_failure(self, error: PluginError) -> None:
        self._failures.append(error)
        self._tell_failure(error)

    def _tell_failure(self, error: PluginError) -> None:
        message = f"{error.message[:_MESSAGE]} (seen by the mount at {self._mounted_on})"
        lasting = bool(error.details.get("lasting"))
        self._send({"failed": {"plugin": error.plugin, "hook": error.hook, "message": message, "lasting": lasting}})

    async def _session(self) -> bool:
        """One connection from first to last; whether there was one."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        self._socket = connection
        try:
            await self._connect(connection)
        except OSError as error:
            _log.debug("The agent cannot be reached: %s", error)
            return False
        self.connected = True
        self._outbox = Outbox(connection)
        self._session_number += 1
        self.changed.set()
        place = os.fsencode(self._mounted_on).decode(errors="surrogateescape")
        self._send({"id": _ANNOUNCEMENT, "mounts": [place]})
        if self._shown is not None:
            self._send({"shown": self._shown})
        for failure in self._failures:
            self._tell_failure(failure)
        beating = asyncio.create_task(self._beat())
        try:
            await self._receive(connection)
        except (OSError, ValueError, _Broken) as error:
            _log.warning("The connection to the agent broke: %s", error)
        finally:
            await end_tasks(beating)
        return True

    async def _beat(self) -> None:
        """Say that this process is not stuck."""
        while True:
            self._send({"alive": True})
            await asyncio.sleep(_BEAT_S)

    async def _connect(self, connection: socket.socket) -> None:
        """Connect, however long the path is."""
        with reachable(self._path) as short:
            await asyncio.get_running_loop().sock_connect(connection, short)

    async def _receive(self, connection: socket.socket) -> None:
        received = b""
        while part := await self._read(connection):
            *lines, received = (received + part).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            if len(received) > _LINE_LIMIT:
                raise _Broken("a line without an end")

    async def _read(self, connection: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(connection, 65536, _DESCRIPTORS)
            except BlockingIOError:
                readable = loop.create_future()
                loop.add_reader(connection, _resolve, readable)
                try:
                    await readable
                finally:
                    loop.remove_reader(connection)
                continue
            self._descriptors.extend(descriptors)
            return data

    def _take(self, message: dict[str, Any]) -> None:
        if "seq" in message:
            self.changed.set()
        number = message.get("id")
        if number is None:
            return
        if number == _ANNOUNCEMENT:
            self._heard.set()
            return
        if message.get("progress"):
            self._give_time(number)
            return
        error = message.get("error")
        descriptor = self._descriptors.popleft() if message.get("descriptor") and self._descriptors else None
        waiting = self._waiting.pop(number, None)
        if waiting is None or waiting.done():
            # Whoever asked has given up; neither the descriptor nor the handle must stay behind.
            self._give_back(_fetched(message, descriptor))
        elif error is not None:
            waiting.set_exception(_refusal(error))
        else:
            waiting.set_result(_fetched(message, descriptor))

    def _give_back(self, fetched: Fetched) -> None:
        if fetched.descriptor is not None:
            os.close(fetched.descriptor)
        if fetched.handle:
            self._send({"close": fetched.handle})

    def _give_time(self, number: int) -> None:
        """Bytes are coming for a request: it may take as long again."""
        timeout = self._timeouts.get(number)
        if timeout is not None and not timeout.expired():
            timeout.reschedule(asyncio.get_running_loop().time() + _ANSWER_S)

    async def _ask(self, request: dict[str, Any]) -> Fetched:
        if not self.connected:
            raise OSError(errno.EIO, "The agent is not running, and the file is not on this machine")
        number = self._next_request
        self._next_request += 1
        waiting: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._send({"id": number, **request})
        try:
            async with asyncio.timeout(_ANSWER_S) as timeout:
                self._timeouts[number] = timeout
                return await waiting
        finally:
            self._waiting.pop(number, None)
            self._timeouts.pop(number, None)

    def _send(self, message: dict[str, Any]) -> None:
        if self._outbox is not None:
            self._outbox.put(json.dumps(message).encode() + b"\n")

    def _disconnect(self) -> None:
        if self.connected:
            self.connected = False
            self.changed.set()
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        while self._descriptors:
            os.close(self._descriptors.popleft())
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(OSError(errno.EIO, "The connection to the agent broke"))
        self._waiting.clear()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fetched(answer: dict[str, Any], descriptor: int | None) -> Fetched:
    return Fetched(
        size=int(answer.get("size", 0)),
        present=_ranges(answer.get("present", ())),
        kept=_ranges(answer.get("kept", ())),
        stamp=answer.get("stamp"),
        descriptor=descriptor,
        lent=answer.get("lent"),
        received=int(answer.get("received", 0)),
        handle=int(answer.get("handle", 0)),
        version=str(answer.get("version", "")),
        doubted=int(answer.get("doubted", 0)),
        sums={int(block): int(value) for block, value in answer.get("sums", ())},
    )


def _ranges(given: Iterable[Sequence[int]]) -> Ranges:
    return tuple((int(start), int(stop)) for start, stop in given)


def _refusal(error: dict[str, Any]) -> OSError:
    code, message = error.get("code"), str(error.get("message", "the agent refused"))
    if code == "stale":
        return Stale(errno.EIO, message)
    return OSError(errno.ENOENT if code == "not_found" else errno.EIO, message)
