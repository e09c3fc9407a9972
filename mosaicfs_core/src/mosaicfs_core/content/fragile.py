"""Files reached through somebody else's file system: network mounts and folders of cloud-sync programs (tiers 2 and 3).

Such a file system can hang for ever and take along whoever touches it. So every call runs in a thread that can be left
behind, the descriptor is handed to nobody, and a source that fails goes on with the next tier.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, NamedTuple

from mosaicfs_core.content.bounded import BoundedCalls
from mosaicfs_core.content.source import ByteSource, etag_of, pread_all
from mosaicfs_core.content.tiers import open_beneath
from mosaicfs_core.documents import paths
from mosaicfs_core.errors import MosaicError, Unavailable
from mosaicfs_core.hooks import FileRecord

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 3.0
# sshfs keeps whole seconds and FAT every other: such a copy still is the same version.
MTIME_SLACK_US: Final = 2_000_000
# A sync program that evicted a file leaves its name and size without blocks. Small files may live in the inode itself.
_INLINE_BYTES: Final = 4096
_SF_DATALESS: Final = 0x40000000  # macOS: the bytes are in the cloud


class NetworkMount(NamedTuple):
    """A place of this machine that shows a folder of another node. ``base`` and ``local`` are written paths."""

    base: str
    local: str
    kind: str
    priority: int

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> NetworkMount:
        """From an entry of a node document's ``network_mounts``."""
        base, local = entry["remote_base_export_path"], entry["local_mount_path"]
        return cls(base.rstrip("/") or "/", local.rstrip("/") or "/", entry["mount_type"], entry.get("priority") or 0)

    @property
    def synced(self) -> bool:
        """Whether it is the folder of a cloud-sync program."""
        return self.kind.endswith("_local")

    def place_of(self, export_path: str) -> bytes | None:
        """Where the mount shows a file of its node (a native path); None when it does not cover it."""
        if not paths.is_under(export_path, self.base):
            return None
        rest = export_path[len(self.base) :].lstrip("/")
        return os.path.join(paths.unescape(self.local), paths.unescape(rest))


class MountedTier:
    """The network mounts (``synced`` false) or the cloud-sync folders (true) of this node.

    ``mounts`` answers the entries of ``network_mounts`` that this node has for another one, cheaply.
    """

    def __init__(
        self,
        mounts: Callable[[str], Sequence[Mapping[str, Any]]],
        *,
        synced: bool,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.name = "cloud sync" if synced else "network mount"
        self.cost = 30 if synced else 20
        self._mounts = mounts
        self._synced = synced
        self._patience_s = patience_s
        self._calls: dict[str, BoundedCalls] = {}

    def serves(self, file: FileRecord) -> bool:
        """Whether a mount covers the file's path."""
        return bool(self._covering(file))

    async def open(self, file: FileRecord) -> ByteSource:
        """Open the file on the mount of the highest priority that has this very version of it. Raises ``Unavailable``
        or what the last one of them raised."""
        failure: MosaicError | None = None
        for mount in self._covering(file):
            calls = self._calls.setdefault(mount.local, BoundedCalls(self._patience_s))
            place = mount.place_of(file.export_path)
            assert place is not None
            try:
                root = paths.unescape(mount.local)
                opened = await calls.run(partial(_open, place, root, file, self._synced), _dispose)
            except MosaicError as error:
                failure = error
            except OSError as error:
                failure = Unavailable(f"{file.export_path} cannot be read on {mount.local}: {error.strerror}")
            else:
                return FragileSource(opened, self.name, calls)
        raise failure or Unavailable(f"no mount covers {file.export_path}")

    def _covering(self, file: FileRecord) -> list[NetworkMount]:
        found = [NetworkMount.of(entry) for entry in self._mounts(file.node_id)]
        found = [mount for mount in found if mount.synced == self._synced and mount.place_of(file.export_path)]
        return sorted(found, key=lambda mount: -mount.priority)


class FragileSource(ByteSource):
    """A file whose file system may go away. ``otherwise`` opens it by the tiers that are left."""

    def __init__(self, opened: tuple[int, os.stat_result], tier: str, calls: BoundedCalls) -> None:
        super().__init__()
        self._hidden, facts = opened
        self.tier = tier
        self.size = facts.st_size
        self.mtime = facts.st_mtime_ns // 1000
        self.etag = etag_of(facts)
        self.otherwise: Callable[[], Awaitable[ByteSource]] | None = None
        self._calls = calls
        self._next: ByteSource | None = None
        self._switching = asyncio.Lock()

    async def read(self, offset: int, length: int, executor: Executor | None = None) -> bytes:
        """The bytes, from the mount while it answers."""
        length = max(0, min(length, self.size - offset))
        if self._next is None and not self._calls.hangs:
            descriptor = os.dup(self._hidden)  # a call that is left behind closes its own
            try:
                return await self._calls.run(partial(_read_and_close, descriptor, offset, length))
            except (OSError, Unavailable) as error:
                logger.info("a file on a mount is read from elsewhere: %s", error, extra={"operation": self.tier})
        async with self._switching:
            if self._next is None:
                self._next = await self._continue()
        return await self._next.read(offset, length, executor)

    async def _continue(self) -> ByteSource:
        if self.otherwise is None:
            raise Unavailable("the mount that the file was read from has gone")
        source = await self.otherwise()
        try:
            await source.settle()
            if source.size != self.size or abs(source.mtime - self.mtime) >= MTIME_SLACK_US:
                raise Unavailable("the mount that the file was read from has gone, and the file has changed")
        except BaseException:
            source.close()
            raise
        return source

    def _release(self) -> None:
        if self._next is not None:
            self._next.close()
        os.close(self._hidden)


def is_placeholder(facts: os.stat_result) -> bool:
    """Whether a sync program has evicted the file's bytes: opening it would hang or download."""
    if getattr(facts, "st_flags", 0) & _SF_DATALESS:
        return True
    return facts.st_size > _INLINE_BYTES and facts.st_blocks == 0


def _open(place: bytes, root: bytes, file: FileRecord, synced: bool) -> tuple[int, os.stat_result]:
    if synced and is_placeholder(os.lstat(place)):
        raise Unavailable(f"{file.export_path} is only a placeholder here", path=file.export_path)
    descriptor = open_beneath(place, (os.path.realpath(root),), file)
    try:
        facts = os.fstat(descriptor)
        if facts.st_size != file.size or abs(facts.st_mtime_ns // 1000 - file.mtime) >= MTIME_SLACK_US:
            raise Unavailable(f"the mount shows another version of {file.export_path}", path=file.export_path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, facts


def _dispose(opened: tuple[int, os.stat_result]) -> None:
    os.close(opened[0])


def _read_and_close(descriptor: int, offset: int, length: int) -> bytes:
    try:
        data = pread_all(descriptor, offset, length)
    finally:
        os.close(descriptor)
    if len(data) != length:
        raise OSError("the file became shorter")
    return data
