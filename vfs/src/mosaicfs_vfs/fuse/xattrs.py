"""The adapter with extended attributes: ``user.mosaicfs.node``, ``.path``, ``.labels`` and ``.annotation.{plugin}``.

A class of its own, because an implemented ``getxattr`` is asked for every entry of every ``ls -l``.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import pyfuse3

from mosaicfs_vfs.fuse.operations import MountOperations, guarded
from mosaicfs_vfs.fuse.tree import Changes

_PREFIX: Final = b"user.mosaicfs."
_REMEMBERED: Final = 1000


class XattrOperations(MountOperations):
    """Read-only extended attributes; remembered for the last files asked about until anything changes."""

    _remembered: OrderedDict[int, Mapping[bytes, bytes]]

    def init(self) -> None:
        """Start with nothing remembered."""
        self._remembered = OrderedDict()
        super().init()

    @guarded
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext | None = None) -> bytes:
        """The value of one attribute; ENODATA when there is none."""
        value = (await self._of(inode)).get(name) if name.startswith(_PREFIX) else None
        if value is None:
            raise pyfuse3.FUSEError(errno.ENODATA)
        return value

    @guarded
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext | None = None) -> Sequence[bytes]:
        """The names of an inode's attributes; a directory has none."""
        return list(await self._of(inode))

    async def apply(self, changes: Changes) -> None:
        """Labels and annotations may have changed too."""
        self._remembered.clear()
        await super().apply(changes)

    async def _of(self, inode: int) -> Mapping[bytes, bytes]:
        remembered = self._remembered.get(inode)
        if remembered is not None:
            return remembered
        entry = self.table.files.get(inode)
        if entry is None:
            return {}
        attributes = await self._source.run(lambda tree: tree.extended_attributes(entry.file))
        self._remembered[inode] = attributes
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return attributes
