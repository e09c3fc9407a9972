"""What a node can be asked, in its ``node`` document."""

from __future__ import annotations

from typing import Any

from mosaicfs_core.documents import ids
from mosaicfs_core.plugins.context import CoreServices


async def write_capabilities(core: CoreServices) -> None:
    """Say in this machine's node document what can be asked of it, where that says something else. A machine that is
    not registered yet has no document: it is written when it is."""
    wanted = core.capabilities()

    def apply(present: dict[str, Any] | None) -> dict[str, Any] | None:
        if present is None or list(present.get("capabilities", ())) == wanted:
            return None
        return {**present, "capabilities": wanted, "agent_version": present.get("agent_version", 0) + 1}

    await core.store.update(ids.node_document_id(core.node_id), apply)
