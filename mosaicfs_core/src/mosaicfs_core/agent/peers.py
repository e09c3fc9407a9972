"""The ways to other machines' files: at their own addresses, and through the control plane where these do not work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from mosaicfs_core.content import Route
from mosaicfs_core.documents import ids
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
        self._known: dict[tuple[str, str], Route] = {}

    def __call__(self, node_id: str) -> Sequence[Route]:
        """The routes to a node, the direct ones first."""
        node = self._store.reader.get(ids.node_document_id(node_id))
        if node is None or node.get("status") == "disabled":
            return ()
        transfer: dict[str, Any] = node.get("transfer") or {}
        # Without its key no request to it can be signed: then it has not been enrolled.
        endpoints = transfer.get("endpoints", [])[:MAX_ENDPOINTS] if node.get("public_key") else []
        routes = [self._direct(node_id, endpoint) for endpoint in endpoints]
        relay = self._relay(node_id)
        return routes if relay is None else [*routes, relay]

    async def close(self) -> None:
        """Give the connections back."""
        for route in self._known.values():
            if isinstance(route.requests, SignedRequests):
                await route.requests.close()
        self._known.clear()

    def _direct(self, node_id: str, endpoint: str) -> Route:
        known = self._known.get((node_id, endpoint))
        if known is None:
            ca_pem = self._ca_pem() if endpoint.startswith("https:") else None
            requests = SignedRequests(endpoint, node_id, self._signer, ca_pem, connect_s=CONNECT_S)
            known = self._known[node_id, endpoint] = Route(f"{node_id} at {endpoint}", requests)
        return known


def public_key_of(store: Store) -> Callable[[str], str | None]:
    """How a node's public key is found."""

    def find(node_id: str) -> str | None:
        node = store.reader.get(ids.node_document_id(node_id))
        return None if node is None or node.get("status") == "disabled" else node.get("public_key")

    return find
