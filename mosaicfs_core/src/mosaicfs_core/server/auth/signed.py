"""Callers who sign their requests: users and scripts with an access key, agents that enrol, nodes, hubs.

Nodes and hubs have business in a few places only. A machine that was stolen must not be able to make keys, change
settings or browse the API as its owner does: what it may write is in its own name, at the addresses for agents.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from quart import Request, Websocket

from mosaicfs_core.errors import ClockSkew, NotAllowed, NotSignedIn
from mosaicfs_core.security.addresses import is_loopback
from mosaicfs_core.security.verifier import from_quart
from mosaicfs_core.server.auth.limits import address_group
from mosaicfs_core.server.errors import TooManyRequests
from mosaicfs_core.server.state import Principal, ServerState

# By kind of caller: beginnings of addresses, and views by name. Who is not listed may ask for everything.
PLACES: Final[dict[str, tuple[str, ...]]] = {
    "agent": (),
    "hub": ("/db/",),
    "node": ("/db/", "/api/agent/"),
}
_VIEWS: Final[dict[str, frozenset[str]]] = {
    "agent": frozenset({"auth.who_am_i", "enrolment.register"}),
    "hub": frozenset({"auth.who_am_i"}),
    # A node that cannot be reached by another is read through the control plane.
    "node": frozenset({"auth.who_am_i", "enrolment.register", "files.content"}),
}


async def identify(server: ServerState, asked: Request | Websocket, address: str) -> Principal:
    """Who signed the request. Raises ``NotSignedIn`` when the signature does not hold, ``TooManyRequests`` after many
    that did not, and ``NotAllowed`` where such a caller has no business."""
    signature = from_quart(asked)
    with throttled(server, address, signature.authorization.partition(",")[0]):
        caller = await server.verifier.verify(signature)
    found = Principal(kind=caller.kind, name=caller.name, access_key_id=caller.access_key_id, node_id=caller.node_id)
    require_place(found, asked)
    return found


@contextmanager
def throttled(server: ServerState, address: str, key: str) -> Iterator[None]:
    """Around the check of a proof, a signature or a secret, for the key that is claimed. Raises ``TooManyRequests``
    after many that did not hold."""
    claimed = f"{address_group(address)}|{key[:120]}"
    _throttle(server, address, claimed)
    try:
        yield
    except ClockSkew:
        raise  # a clock that stands wrong is no attack, and its owner must go on being told what is wrong
    except NotSignedIn:
        server.failed_by_key.take(claimed)
        if not is_loopback(address):
            server.failed_by_address.take(address_group(address))
        raise
    server.proven.add(claimed)


def require_place(caller: Principal, asked: Request | Websocket) -> None:
    """Raise ``NotAllowed`` unless such a caller has business at the address."""
    if caller.kind not in PLACES or asked.endpoint in _VIEWS[caller.kind]:
        return
    if not (asked.path + "/").startswith(PLACES[caller.kind] or ("\0",)):
        known_by = {"agent": "an agent's access key", "node": "a node's key", "hub": "a hub's access key"}
        raise NotAllowed(f"{known_by[caller.kind]} does not open this")


def _throttle(server: ServerState, address: str, claimed: str) -> None:
    """Raise ``TooManyRequests`` after many proofs that did not hold. All users of this machine share its loopback
    address: there only the key counts, and so it does of who has proved himself from an address, which all machines
    of a house may have in common, the one that was revoked among them."""
    wait = server.failed_by_key.wait(claimed)
    if not is_loopback(address) and claimed not in server.proven:
        wait = max(wait, server.failed_by_address.wait(address_group(address)))
    if wait:
        raise TooManyRequests(
            "too many requests whose signature or password did not hold; wait and try again", retry_after=wait
        )
