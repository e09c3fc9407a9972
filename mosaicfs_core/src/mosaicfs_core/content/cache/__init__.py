"""The content cache: other nodes' bytes on this disk. ``CacheTier`` is how content uses it."""

from mosaicfs_core.content.cache.cache import Cache, Usage
from mosaicfs_core.content.cache.layout import BLOCK, WHOLE_LIMIT
from mosaicfs_core.content.cache.source import CachedSource, CacheTier, StreamedSource

__all__ = ["BLOCK", "WHOLE_LIMIT", "Cache", "CacheTier", "CachedSource", "StreamedSource", "Usage"]
