"""From who is asking to what they may read and write."""

from __future__ import annotations

from functools import partial

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.standing import why_refused
from mosaicfs_core.errors import NotAllowed
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.settings import masked_plugin
from mosaicfs_core.replication.flows import Access
from mosaicfs_core.server.auth.revocations import still_holds
from mosaicfs_core.server.state import Principal, ServerState


def access_of(who: Principal, host: PluginHost) -> Access:
    """The access that a principal has. Raises ``NotAllowed`` for one that replicates nothing."""
    if who.kind == "local":
        return Access.everything("local")
    if who.kind == "hub":
        return Access.everything(f"hub:{who.access_key_id or ''}")
    if who.kind == "node" and who.node_id:
        return Access.for_node(who.node_id)
    if who.kind == "user":
        return Access.for_browser(f"user:{who.access_key_id or ''}", partial(masked_plugin, host))
    raise NotAllowed("this key replicates nothing; an agent's key registers its machine first")


async def still_allowed(who: Principal, server: ServerState) -> bool:
    """Whether a principal whose request is still under way would be let in again: neither its key nor its node, nor
    the key which that was enrolled with, was disabled, its session not ended."""
    store = server.core.store
    if who.session is not None and server.sessions.is_revoked(who.session):
        return False
    if who.access_key_id is not None:
        key = await store.get(ids.credential_document_id(who.access_key_id))
        if not still_holds(key, who.revocations):
            return False
    return who.node_id is None or not why_refused(store.reader.get, who.node_id)
