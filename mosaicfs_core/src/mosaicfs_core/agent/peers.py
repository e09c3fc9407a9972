"""The ways to other machines' files: at their own addresses, and through the control plane where these do not work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mosaicfs_core.content import Route
from mosaicfs_core.documents.standing import enabled_node
from mosaicfs_core.security.addresses import is_private
from mosaicfs_core.security.node_keys import Signer
from mosaicfs_core.security.requests import SignedRequests
from mosaicfs_core.store import Store

MAX_ENDPOINTS: Final = 8
CONNECT_S: Final = 3.0
"""Many addresses are of no use from here, and say nothing: the way through the control plane must not wait for them."""


class PeerRoutes:
    """``content.Routes`` by the ``node`` documents, for the event loop's thread.

    ``signer`` signs as this node, ``ca_pem`` gives the authority that other nodes' certificates are of, ``relay`` the
    way through the control plane to a node's files, where there is one.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        ca_pem: Callable[[], str],
        relay: Callable[[str], Route | None] = lambda _node_id: None,
    ) -> None:
        self._store = store
        self._signer = signer
        self._ca_pem = ca_pem
        self._relay = relay
        self._known: dict[str, dict[str, Route]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __call__(self, node_id: str) -> Sequence[Route]:
        """The routes to a node, the direct ones first."""
        node = enabled_node(self._store.reader.get, node_id)
        routes = self._direct(node_id, [] if node is None else _endpoints(node))
        relay = None if node is None else self._relay(node_id)
        return routes if relay is None else (*routes, relay)

    async def close(self) -> None:
        """Give the connections back."""
        for node_id in list(self._known):
            self._direct(node_id, [])
        await asyncio.gather(*self._closing)

    def _direct(self, node_id: str, endpoints: Sequence[str]) -> tuple[Route, ...]:
        """A route for each address; those to addresses that the node has no more are given up, so that there are never
        more than it has now."""
        before = self._known.pop(node_id, {})
        now = {endpoint: before.get(endpoint) or self._made(node_id, endpoint) for endpoint in endpoints}
        if now:
            self._known[node_id] = now
        for endpoint in before.keys() - now.keys():
            closing = asyncio.ensure_future(before[endpoint].requests.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return tuple(now.values())

    def _made(self, node_id: str, endpoint: str) -> Route:
        ca_pem = self._ca_pem() if endpoint.startswith("https:") else None
        return Route(
            f"{node_id} at {endpoint}", SignedRequests(endpoint, node_id, self._signer, ca_pem, connect_s=CONNECT_S)
        )


def _endpoints(node: Mapping[str, Any]) -> list[str]:
    """The addresses that a node says it has and that are used: those at which nobody on the way reads along."""
    if not node.get("public_key"):
        return []  # it was never enrolled: no request to it can be signed
    transfer: Mapping[str, Any] = node.get("transfer") or {}
    return [endpoint for endpoint in transfer.get("endpoints", [])[:MAX_ENDPOINTS] if is_private(endpoint)]


def public_key_of(store: Store) -> Callable[[str], str | None]:
    """How the public key of a node that may speak is found."""

    def find(node_id: str) -> str | None:
        node = enabled_node(store.reader.get, node_id)
        return None if node is None else node.get("public_key")

    return find
