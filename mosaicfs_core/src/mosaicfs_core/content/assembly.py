"""Content put together: all tiers of a node over its home, and what they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from mosaicfs_core.config import CacheConfig
from mosaicfs_core.content.cache import Cache, CacheTier
from mosaicfs_core.content.cache.follow import follow
from mosaicfs_core.content.content import Content
from mosaicfs_core.content.digests import DigestBook
from mosaicfs_core.content.fragile import MountedTier
from mosaicfs_core.content.keeping import Keeper
from mosaicfs_core.content.owners import Owners
from mosaicfs_core.content.routes import Routes
from mosaicfs_core.content.tiers import LocalTier
from mosaicfs_core.documents import ids
from mosaicfs_core.home import Home
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.store import Store
from mosaicfs_core.supervision import end_tasks, supervised


@dataclass(frozen=True)
class NodeContent:
    """``content`` opens files; ``cache`` is where it keeps those of others."""

    content: Content
    cache: Cache


@asynccontextmanager
async def node_content(
    home: Home,
    store: Store,
    node_id: str,
    settings: CacheConfig,
    *,
    roots: Callable[[], Sequence[bytes]],
    on_change: Callable[[FileRecord], None] | None = None,
    routes: Routes = lambda node_id: (),
    failing: dict[str, str] | None = None,
) -> AsyncIterator[NodeContent]:
    """The content of a node around a block: local files under ``roots``, network mounts and cloud-sync folders as its
    node document names them, and everything else from its owner by ``routes`` through the cache."""
    digests = await asyncio.to_thread(DigestBook, home.cache_dir / "digests.db")
    cache = Cache(home.cache_dir, Owners(routes), capacity=settings.max_bytes, minimum_free=settings.min_free_bytes)
    try:
        await cache.start()
        mounts = partial(_network_mounts, store, node_id)
        tiers = (
            LocalTier(node_id, roots, on_change, home.bridge_dir / "files", digests),
            MountedTier(mounts, synced=False),
            MountedTier(mounts, synced=True),
            CacheTier(node_id, cache),
        )
        following = asyncio.create_task(
            supervised("cache follows documents", partial(follow, store, cache), {} if failing is None else failing)
        )
        try:
            yield NodeContent(Content(tiers, digests, Keeper(node_id, cache)), cache)
        finally:
            await end_tasks(following)
    finally:
        await cache.close()
        digests.close()


def _network_mounts(store: Store, node_id: str, owner: str) -> Sequence[Mapping[str, Any]]:
    """The network mounts of this node that show files of another one."""
    document = store.reader.get(ids.node_document_id(node_id)) or {}
    return [mount for mount in document.get("network_mounts") or () if mount.get("remote_node_id") == owner]
