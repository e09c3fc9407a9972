"""A machine whose key was disabled loses its link at once: what it was let in by does not hold any more."""

from __future__ import annotations

import logging

from mosaicfs_core.errors import NotSignedIn
from mosaicfs_core.server.state import ServerState

logger = logging.getLogger(__name__)


async def cut_disabled(server: ServerState) -> None:
    """Watch nodes and access keys, until cancelled or the store closes."""
    store = server.core.store
    async for _ in store.changes(store.reader.seq(), live=True, types={"node", "credential"}):
        for node_id, peer in list(server.links.nodes.items()):
            try:
                await server.verifier.require_enabled(node_id)
            except NotSignedIn as error:
                logger.warning("%s is cut off: %s", node_id, error, extra={"operation": "link"})
                await peer.close(error.message)
