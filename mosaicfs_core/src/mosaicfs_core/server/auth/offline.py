"""What an agent's own API may change while the control plane is another process: what this node owns, and no more."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from quart import Quart, request

from mosaicfs_core.plugins.context import CoreServices

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
ALLOWED: Final = frozenset(
    {
        "annotations.delete_annotations",
        "auth.login",
        "auth.logout",
        "auth.refresh",
        "files.download_token",
        "jobs.retry_jobs",
        "jobs.sync_instance",
        "nodes.crawl",
        "nodes.sync",
        "plugins.rescan_plugins",
        "queries.agent_query",
        "queries.query",
        "system.reindex",
    }
)
"""Views of the core that change nothing that the control plane owns."""


def install(app: Quart, core: CoreServices, of_plugins: Collection[str]) -> None:
    """Before a request of an agent's own API: refuse to change what another process owns, and say where to do it.

    Blueprints of plugins (``of_plugins``, by name) write through their context, which checks every document itself.
    """

    async def refuse_what_is_not_ours() -> None:
        if core.control or request.method in READS or request.endpoint is None or request.endpoint in ALLOWED:
            return
        if not any(name in of_plugins for name in request.blueprints):
            raise core.not_here()

    app.before_request(refuse_what_is_not_ours)
