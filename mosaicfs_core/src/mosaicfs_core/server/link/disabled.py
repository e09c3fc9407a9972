"""A machine whose key was disabled loses its link at once: what it was let in by does not hold any more."""

from __future__ import annotations

import logging

from mosaicfs_core.documents.standing import why_refused
from mosaicfs_core.server.state import ServerState

logger = logging.getLogger(__name__)


async def cut_disabled(server: ServerState) -> None:
    """Watch nodes and access keys, until cancelled or the store closes."""
    store = server.core.store
    async for _ in store.changes(store.reader.seq(), live=True, types={"node", "credential"}):
        for node_id, peer in list(server.links.nodes.items()):
            if reason := why_refused(store.reader.get, node_id):
                logger.warning("%s is cut off: %s", node_id, reason, extra={"operation": "link"})
                await peer.close(reason)
