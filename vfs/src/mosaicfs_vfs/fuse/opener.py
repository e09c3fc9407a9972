"""Where the mount gets a file's bytes: this machine's disk directly, everything else through the agent."""

from __future__ import annotations

import asyncio
import errno
import logging
from pathlib import Path

from mosaicfs_core.content import LocalTier
from mosaicfs_core.content.cache.offline import open_cached
from mosaicfs_core.errors import MosaicError, NotAllowed, NotFound
from mosaicfs_vfs.fuse.agent import AgentClient
from mosaicfs_vfs.fuse.handles import NotHere
from mosaicfs_vfs.fuse.remote import OfflineFile, RemoteFile
from mosaicfs_vfs.fuse.tree import Entry

_log = logging.getLogger(__name__)


class ReplicaOpener:
    """Opens files of the replica. ``local`` refuses what is not this node's or lies outside its roots; ``cache`` is the
    directory where the agent keeps other nodes' bytes."""

    def __init__(self, local: LocalTier, agent: AgentClient, cache: Path) -> None:
        self._local = local
        self._agent = agent
        self._cache = cache
        self._missed = False

    def open_local(self, entry: Entry) -> int:
        """A descriptor of a file of this node. Raises ``NotHere`` for others and ``OSError``."""
        record = entry.file.record()
        if not self._local.serves(record):
            raise NotHere
        try:
            return self._local.open_fd(record)
        except NotFound as error:
            raise FileNotFoundError(errno.ENOENT, str(error)) from None
        except NotAllowed as error:
            raise PermissionError(errno.EACCES, str(error)) from None
        except MosaicError as error:
            cause = error.__cause__
            number = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EIO
            raise OSError(number, str(error)) from None

    async def open_elsewhere(self, entry: Entry) -> RemoteFile:
        """The file through the agent, or what its cache has while it is down. Raises ``OSError``, EIO for neither."""
        if self._agent.connected:
            self._missed = False
            return await self._agent.open(entry.file.file_id)
        try:
            return OfflineFile(await asyncio.to_thread(open_cached, self._cache, entry.file.record()))
        except MosaicError as error:
            self._miss(entry)
            raise OSError(errno.EIO, f"The agent is not running: {error}") from None

    def _miss(self, entry: Entry) -> None:
        """Log that the agent is missing, once for each time that it is away."""
        if not self._missed:
            self._missed = True
            _log.warning(
                "No agent runs here, and the cache does not have %s: files of other machines cannot be read until"
                " `mosaicfs up` or `mosaicfs agent run` runs",
                entry.file.record().export_path,
            )

    def differs(self, entry: Entry) -> None:
        """Have the agent index a file again."""
        self._agent.reindex(entry.file.file_id)
