"""Where the mount gets a file's bytes: this machine's disk directly, everything else through the agent."""

from __future__ import annotations

import errno

from mosaicfs_core.content import LocalTier
from mosaicfs_core.errors import MosaicError, NotAllowed, NotFound
from mosaicfs_vfs.fuse.agent import AgentClient
from mosaicfs_vfs.fuse.handles import AgentFile, NotHere
from mosaicfs_vfs.fuse.tree import Entry


class ReplicaOpener:
    """Opens files of the replica. ``local`` refuses what is not this node's or lies outside its roots."""

    def __init__(self, local: LocalTier, agent: AgentClient) -> None:
        self._local = local
        self._agent = agent

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

    async def open_elsewhere(self, entry: Entry) -> AgentFile:
        """The file through the agent. Raises ``OSError``: EIO while there is no agent to ask."""
        return await self._agent.open(entry.file.file_id)

    def differs(self, entry: Entry) -> None:
        """Have the agent index a file again."""
        self._agent.reindex(entry.file.file_id)
