"""Another node's agent as the routes see it: the same questions as to the one in this process, asked over its link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.hooks import Problem
from mosaicfs_core.server.link.links import Links

LOOK_S: Final = 120.0
"""A walk over a disk may take long."""


class RemoteExclusions(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of what a node leaves out; ``more`` when there is something after it."""

    items: tuple[Problem, ...]
    more: bool


class RemoteAgent:
    """Each method raises ``Unavailable`` when the node is not connected, else what the node raised."""

    def __init__(self, links: Links, node_id: str) -> None:
        self._links = links
        self._node_id = node_id

    async def status(self) -> dict[str, Any]:
        """The node's status as of now."""
        found: dict[str, Any] = await self._ask("status", {}, dict[str, Any])
        return found

    async def start_crawl(self, *, instance: str | None, full: bool, prefixes: Sequence[str]) -> None:
        """Begin a crawl there; returns once the node has begun."""
        await self._ask("crawl", {"instance": instance, "full": full, "prefixes": list(prefixes)}, Any)

    async def exclusions(self, path: str | None = None, *, limit: int = 100, offset: int = 0) -> RemoteExclusions:
        """What the node leaves out of the index, as it is on its disk now."""
        asked = {"path": path, "limit": limit, "offset": offset}
        found: RemoteExclusions = await self._ask("exclusions", asked, RemoteExclusions, LOOK_S)
        return found

    async def _ask(self, method: str, params: dict[str, Any], kind: Any, timeout: float = 30.0) -> Any:
        answer = await self._links.call(self._node_id, method, params, timeout)
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise Unavailable(f"{self._node_id} answered {method} with something else: {error}") from None
