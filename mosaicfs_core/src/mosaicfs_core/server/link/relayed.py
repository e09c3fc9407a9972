"""The relay as an access tier: files of nodes that are connected, read through their links with nothing kept here."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Final

from mosaicfs_core.content import ByteSource
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.server.link.relay import Relay

COST: Final = 60


class RelayTier:
    """``content.AccessTier`` over the relay, for the files of all nodes but ``here``."""

    name = "relay"
    cost = COST

    def __init__(self, relay: Relay, here: str) -> None:
        self._relay = relay
        self._here = here

    def serves(self, file: FileRecord) -> bool:
        """Only other nodes' files. One that is not connected fails with a reason that says so."""
        return file.node_id != self._here

    async def open(self, file: FileRecord) -> RelaySource:
        """Ask the node for the file. Raises ``Unavailable`` when it is not connected, else its own error."""
        source = RelaySource(self._relay, file)
        await source.settle()
        return source


class RelaySource(ByteSource):
    """A file that another node holds. Each read is a range that the node sends, at the pace at which it is taken."""

    tier = "relay"

    def __init__(self, relay: Relay, file: FileRecord) -> None:
        super().__init__()
        self._relay = relay
        self._file = file
        self.size, self.mtime, self.etag = file.size, file.mtime, ""

    async def settle(self) -> None:
        """Learn which version the node has, and hold on to it."""
        if not self.etag:
            async with self._relay.range_of(self._file.node_id, self._file.file_id, 0, 0) as found:
                facts = found.facts
            self.size, self.mtime, self.etag = facts.size, facts.mtime, facts.etag
            self.sha256 = None if facts.sha256 is None else bytes.fromhex(facts.sha256)

    async def read(self, offset: int, length: int, executor: Executor | None = None) -> bytes:
        """The bytes of one range. Raises ``Stale`` when the node has another version by now, ``Unavailable``."""
        stop = min(offset + length, self.size)
        if offset >= stop:
            return b""
        async with self._relay.range_of(self._file.node_id, self._file.file_id, offset, stop, self.etag) as found:
            pieces = [piece async for piece in found]
        data = b"".join(pieces)
        self.received += len(data)
        return data
