"""What an agent's own API may change while the control plane is another process: what this node owns, and no more."""

from __future__ import annotations

from typing import Final

from quart import request

from mosaicfs_core.errors import NotAllowed
from mosaicfs_core.server.state import state

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
ALLOWED: Final = frozenset(
    {
        "auth.login",
        "auth.logout",
        "auth.refresh",
        "files.download_token",
        "labels.assign",
        "labels.clear",
        "labels.preview",
        "nodes.crawl",
        "nodes.sync",
        "system.reindex",
        "vfs.preview",
    }
)
"""Views that change nothing that the control plane owns: the labels of this node's files may be set here, and whether
they are this node's is checked for each document."""
_FOREIGN: Final = "/api/x/"


async def refuse_what_is_not_ours() -> None:
    """Before a request of an agent's own API: refuse to change what another process owns, and say where to do it.

    Routes of other people's plugins write through their context, which checks every document itself.
    """
    core = state().core
    if core.control or request.method in READS or request.endpoint is None or request.endpoint in ALLOWED:
        return
    if request.path.startswith(_FOREIGN):
        return
    where = f" at {core.control_url}" if core.control_url else ""
    raise NotAllowed(
        f"this is changed on the control plane{where}, not on an agent: set MOSAICFS_URL and an access key to use it"
        " from here"
    )
