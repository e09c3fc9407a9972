"""Give me the bytes of a file: the tiers in order of cost, the next one when one fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from mosaicfs_core.content.digests import DigestBook
from mosaicfs_core.content.fragile import FragileSource
from mosaicfs_core.content.keeping import Keeper
from mosaicfs_core.content.source import ByteSource
from mosaicfs_core.content.tiers import AccessTier
from mosaicfs_core.errors import MosaicError, Unavailable
from mosaicfs_core.hooks import FileRecord

logger = logging.getLogger(__name__)


class Content:
    """The one place that opens files, asked by REST, by transfer, by the agent's socket and by plugins. ``keeper``
    keeps other nodes' files here, where there is a cache."""

    def __init__(
        self, tiers: Sequence[AccessTier], digests: DigestBook | None = None, keeper: Keeper | None = None
    ) -> None:
        self._digests = digests
        self.keeper = keeper
        self.tiers: tuple[AccessTier, ...] = tuple(sorted(tiers, key=lambda tier: tier.cost))

    async def open(self, file: FileRecord) -> ByteSource:
        """Open the file by the cheapest tier that works.

        Raises the first tier's error when every tier that serves the file fails, and ``Unavailable`` when none does. A
        source that comes to fail later, like a network mount gone stale, goes on with the tiers after its own.
        """
        return await self._open(file, self.tiers)

    def remembered_digest(self, file: FileRecord, etag: str) -> bytes | None:
        """The SHA-256 of a version of a file of this node that was streamed once; blocks."""
        return None if self._digests is None else self._digests.get(file.export_path, etag)

    async def _open(self, file: FileRecord, tiers: Sequence[AccessTier]) -> ByteSource:
        first: MosaicError | None = None
        for number, tier in enumerate(tiers):
            if not tier.serves(file):
                continue
            try:
                source = await tier.open(file)
            except MosaicError as error:
                first = first or error
                logger.debug(
                    "tier failed", extra={"operation": tier.name, "file_id": file.file_id, "error": str(error)}
                )
                continue
            rest = tiers[number + 1 :]
            if isinstance(source, FragileSource):
                source.otherwise = partial(self._open, file, rest)
            return source
        raise first or Unavailable(f"no way to reach {file.export_path} from this machine", path=file.export_path)
