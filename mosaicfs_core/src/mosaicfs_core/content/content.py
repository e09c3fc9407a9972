"""Give me the bytes of a file: the tiers in order of cost, the next one when one fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from mosaicfs_core.content.source import ByteSource
from mosaicfs_core.content.tiers import AccessTier
from mosaicfs_core.errors import MosaicError, Unavailable
from mosaicfs_core.hooks import FileRecord

logger = logging.getLogger(__name__)


class Content:
    """The one place that opens files, asked by REST, by the agent's socket and by plugins."""

    def __init__(self, tiers: Sequence[AccessTier]) -> None:
        self.tiers: tuple[AccessTier, ...] = tuple(sorted(tiers, key=lambda tier: tier.cost))

    async def open(self, file: FileRecord) -> ByteSource:
        """As ``open_now``, in a worker thread."""
        return await asyncio.to_thread(self.open_now, file)

    def open_now(self, file: FileRecord) -> ByteSource:
        """Open the file by the cheapest tier that works; blocks.

        Raises the first tier's error when every tier that serves the file fails, and ``Unavailable`` when none does.
        """
        first: MosaicError | None = None
        for tier in self.tiers:
            if not tier.serves(file):
                continue
            try:
                return tier.open(file)
            except MosaicError as error:
                first = first or error
                logger.debug(
                    "tier failed", extra={"operation": tier.name, "file_id": file.file_id, "error": str(error)}
                )
        raise first or Unavailable(f"no way to reach {file.export_path} from this machine", path=file.export_path)
