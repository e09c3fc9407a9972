"""The agent's Unix socket: pings after commits, descriptors of open files, and the mounts that crawls must not enter.

JSON lines both ways. The agent greets with ``{"hello": {"node_id", "version"}, "seq": N}`` and then sends
``{"seq": N}`` after commits. A client sends

* ``{"id": 0, "mounts": ["/dir", …]}``: these are its mount points, for as long as the connection lives; said before
  they are made. Answered by ``{"id": 0, "taken": true}`` when there is an id: no crawl enters them from then on;
* ``{"shown": N}``: its mounts show all up to this sequence, the kernel's memory of names included; no answer. Who edits
  the tree waits for that;
* ``{"id": 7, "open": "{node}.{uuid}"}``: hold a file open, without asking another machine; answered by ``{"id": 7,
  "handle": 3, "version", "size", "present": [[from, to], …], "kept", "stamp", "received", "doubted"}`` or by ``{"id":
  7, "error": {"code", "message"}}``;
* ``{"id": 8, "fetch": 3, "offset", "length"}``: make a range of a handle present; answered as ``open`` without handle
  and version, and with ``"sums": [[block, CRC-32], …]``; or by ``{"id": 8, "lent": N, "size", "received"}`` beside a
  descriptor that holds these N bytes alone, from its beginning, when they can be kept nowhere. ``"doubt": true`` says
  that what the last answer vouched for was not right in the end;
* ``{"close": 3}``: give a handle back, as the end of the connection does for all; no answer;
* ``{"reindex": "{node}.{uuid}"}``: what is on disk is not what the document says; no answer;
* ``{"alive": true}``: the client's loop turns, said every ten seconds by one that mounts; no answer;
* ``{"failed": {"plugin", "hook", "message", "lasting"}}``: a plugin failed in the client's process, which is told among
  the failures here, a lasting one for as long as the connection lives; no answer.

An answer with ``"descriptor": true`` has a descriptor beside its line (SCM_RIGHTS): the one that ``present`` is about,
which a handle gets once, at once or when there is one. ``kept`` are the ranges that can be made present without asking
another machine; of very many ranges those around the offset are told. ``version`` tells apart versions of a file's
bytes. ``stamp`` is the change time (ns) of the descriptor's file as the agent left it: another one says that somebody
else wrote to it and that what is present is to be asked for again. ``sums`` are of the blocks (1 MiB) that hold the
range asked for: while that time does not stand still, for the agent writes as well, a client compares what it has read
with them. ``doubted`` is the time (ns) at which it was last noticed that something present may have been wrong, 0 for
never: when it changes, what a client remembers is in doubt. ``received`` counts the bytes that came from afar.
While they come, ``{"id": 8, "progress": true}`` says every few seconds that waiting makes sense.

Only processes of the same user are served.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from mosaicfs_core.agent.handles import Handles
from mosaicfs_core.errors import MosaicError, NotFound, PluginError, UserError
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.supervision import end_tasks, supervised
from mosaicfs_core.unix_sockets import reachable

logger = logging.getLogger(__name__)

VERSION: Final = 1
LINE_LIMIT: Final = 1 << 20
_CONNECTIONS: Final = 64
_LASTING: Final = 50


class AgentSocket:
    """The server. ``reindex`` is told of files to look at again."""

    def __init__(self, core: CoreServices, reindex: Callable[[FileRecord], None]) -> None:
        self._core = core
        self._reindex = reindex
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._mounts: Counter[Path] = Counter()

    async def start(self) -> None:
        """Listen, in place of whatever a killed predecessor left (the home's lock says that it is gone)."""
        path = self._core.home.agent_socket
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        with reachable(path) as short:
            listener.bind(short)
        path.chmod(0o600)
        listener.listen(_CONNECTIONS)
        self._listener = listener
        accept = supervised("agent socket", partial(self._accept, listener), self._core.failing)
        self._accepting = asyncio.create_task(accept, name="agent socket")

    async def stop(self) -> None:
        """Close all connections and the socket."""
        tasks = [*self._connections, *([self._accepting] if self._accepting else [])]
        await end_tasks(*tasks)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._core.home.agent_socket.unlink(missing_ok=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of descriptors: the next may do better
                logger.warning("the agent's socket cannot accept: %s", error)
                await asyncio.sleep(0.1)
                continue
            if not _same_user(client) or len(self._connections) >= _CONNECTIONS:
                client.close()
                continue
            task = asyncio.create_task(_Connection(self._core, self._reindex, client, self._mounts).run())
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)


class _Connection:
    """One client."""

    def __init__(
        self,
        core: CoreServices,
        reindex: Callable[[FileRecord], None],
        client: socket.socket,
        registered: Counter[Path],
    ) -> None:
        self._core = core
        self._reindex = reindex
        self._client = client
        self._client.setblocking(False)
        self._sending = asyncio.Lock()
        self._registered = registered
        self._mounts: set[Path] = set()
        self._lasting: dict[str, PluginError] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._handles = Handles(core.content, self._send)

    async def run(self) -> None:
        """Serve until the client leaves."""
        seq = self._core.store.seq
        pings: asyncio.Task[None] | None = None
        try:
            await self._send({"hello": {"node_id": self._core.node_id, "version": VERSION}, "seq": seq})
            pings = asyncio.create_task(self._ping(seq))
            await self._receive()
        except (OSError, UserError) as error:
            logger.debug("a connection to the agent's socket ended: %s", error)
        except Exception:
            logger.exception("a connection to the agent's socket failed", extra={"operation": "agent socket"})
        finally:
            self._take_mounts(set())
            self._core.showing.gone(self)
            for failure in self._lasting.values():
                self._core.host.over(failure)
            tasks = [*self._answers, *([pings] if pings else [])]
            await end_tasks(*tasks)
            self._handles.close_all()
            self._client.close()

    async def _ping(self, seq: int) -> None:
        store = self._core.store
        with suppress(OSError):  # the client is gone; the receiving side ends the connection
            while await store.wait(seq):
                if store.seq == seq:
                    return  # the store was closed
                seq = store.seq
                await self._send({"seq": seq})

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        buffer = b""
        while data := await loop.sock_recv(self._client, 65536):
            *lines, buffer = (buffer + data).split(b"\n")
            if len(buffer) > LINE_LIMIT:
                raise UserError("a line without an end")
            for line in lines:
                if line.strip():
                    self._take(_decoded(line))

    def _take(self, message: dict[str, Any]) -> None:
        if isinstance(message.get("mounts"), list):
            self._take_mounts({Path(path) for path in message["mounts"] if isinstance(path, str)})
            if "id" in message:
                self._begin(self._acknowledge(message["id"]))
        elif isinstance(message.get("shown"), int):
            self._core.showing.tell(self, message["shown"])
        elif isinstance(message.get("reindex"), str):
            row = self._record(message["reindex"])
            if row is not None:
                self._reindex(row)
        elif "alive" in message:
            for mount in self._mounts:
                self._core.showing.heard(mount)
        elif isinstance(message.get("failed"), dict):
            told = [str(message["failed"].get(name)) for name in ("message", "plugin", "hook")]
            self._failed(PluginError(*told, lasting=bool(message["failed"].get("lasting"))))
        elif isinstance(message.get("close"), int):
            self._handles.close(message["close"])
        else:
            self._begin(self._answer(message))

    def _failed(self, failure: PluginError) -> None:
        """A plugin failed in the client's process."""
        self._core.host.record(failure)
        if failure.details["lasting"]:
            self._lasting[failure.message] = failure
            if len(self._lasting) > _LASTING:
                self._core.host.over(self._lasting.pop(next(iter(self._lasting))))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _acknowledge(self, number: Any) -> None:
        with suppress(OSError):
            await self._send({"id": number, "taken": True})

    def _take_mounts(self, mounts: set[Path]) -> None:
        """These are this connection's mounts from now on; one that another connection names as well stays known."""
        self._registered.update(mounts)
        self._registered.subtract(self._mounts)
        gone = {mount for mount in self._mounts if not self._registered[mount]}
        for mount in gone:
            self._core.showing.forget(mount)
        self._core.mounts = (self._core.mounts | mounts) - gone
        self._mounts = mounts

    async def _answer(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        try:
            if isinstance(message.get("open"), str):
                record = self._record(message["open"])
                if record is None:
                    raise NotFound(f"no file {message['open']}", file_id=message["open"])
                await self._handles.open(number, record)
            elif isinstance(message.get("fetch"), int):
                await self._handles.fetch(number, message)
            else:
                raise UserError("expected mounts, shown, open, fetch, close, reindex, alive or failed")
        except MosaicError as error:
            await self._refuse(number, error.code, error.message)
        except OSError as error:
            # The client may have left, and then this fails too. It may also be the disk or the descriptors that fail
            # beneath the work: whoever asked is still there then.
            if await self._refuse(number, "unavailable", f"the agent cannot do it now: {error.strerror or error}"):
                logger.warning("a request to the agent's socket failed: %s", error, extra={"operation": "agent socket"})
        except asyncio.CancelledError:
            answering = asyncio.current_task()
            if answering and answering.cancelling():
                raise  # the connection has ended
            # The work was cancelled beneath this: whoever asked must not wait for an answer that never comes.
            await self._refuse(number, "unavailable", "the file was closed")
        except Exception:  # nor must he when anything else ends it
            logger.exception("a request to the agent's socket failed", extra={"operation": "agent socket"})
            await self._refuse(number, "error", "the agent failed")

    async def _refuse(self, number: Any, code: str, message: str) -> bool:
        """Answer with an error; False when the client is gone."""
        try:
            await self._send({"id": number, "error": {"code": code, "message": message}})
        except OSError as error:
            logger.debug("an answer could not be sent: %s", error)
            return False
        return True

    def _record(self, file_id: str) -> FileRecord | None:
        try:
            row = self._core.store.reader.file_by_id(file_id)
        except UserError:
            return None
        if row is None or row.status != "active":
            return None
        return row.record()

    async def _send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        """Send a line; a descriptor travels with its first byte."""
        data = json.dumps(message).encode() + b"\n"
        loop = asyncio.get_running_loop()
        async with self._sending:
            if descriptor is not None:
                data = data[await self._send_descriptor(data, descriptor) :]
            if data:
                await loop.sock_sendall(self._client, data)

    async def _send_descriptor(self, data: bytes, descriptor: int) -> int:
        while True:
            try:
                return socket.send_fds(self._client, [data], [descriptor])
            except BlockingIOError:
                await _writable(self._client)


async def _writable(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(client, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_writer(client)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        raise UserError("a line that is no JSON") from None
    if not isinstance(message, dict):
        raise UserError("a line that is no object")
    return message


def _same_user(client: socket.socket) -> bool:
    """Whether the process at the other end runs as this user (or as root). Elsewhere than on Linux the modes of the
    socket and of its directory alone decide."""
    if sys.platform != "linux":
        return True
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (os.getuid(), 0)
