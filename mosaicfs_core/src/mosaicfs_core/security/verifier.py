"""Who signed a request: the check that the control plane's API and an agent's own listener make of every signed one.

In this order, the cheap before the dear: the header's form, the time, who the key id belongs to and whether it may
still speak, the signature over the head and the body's digest, and last the nonce, which is noted only for a request
that is otherwise good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.standing import key_of, why_disabled
from mosaicfs_core.errors import NotSignedIn, UserError
from mosaicfs_core.security import signatures
from mosaicfs_core.security.enrolment import unknown_to_control_plane
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.nonces import Nonces

if TYPE_CHECKING:
    from quart import Request, Websocket

logger = logging.getLogger(__name__)

HUB_SCOPE: Final = "hub"
LARGE_BODY: Final = 1 << 18
WARN_AGAIN_S: Final = 3600
_USER_KEY: Final = "MOSAICFS_"

Kind = Literal["user", "agent", "node", "hub"]
Find = Callable[[str], Awaitable[Mapping[str, Any] | None]]
"""A document by its id, or None: ``store.get``."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed. ``node`` has its ``node_id``; ``user``, ``agent`` and ``hub`` their ``access_key_id``."""

    kind: Kind
    name: str
    access_key_id: str | None = None
    node_id: str | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it arrived. ``path`` with the query as it was sent; ``body`` reads it, and bounds what it reads."""

    method: str
    path: str
    authorization: str
    range: str
    body: Callable[[], Awaitable[bytes]]


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a key id belongs to, the key for each name that this process answers to, and why it may not speak."""

    caller: Caller
    keys: Sequence[tuple[str, bytes]]
    disabled: str


class Verifier:
    """The check, for a process that answers as the nodes ``own_ids``.

    ``find`` gets documents (``store.get``). ``user_key`` unwraps the signing key of a credential; without it (on
    agents, which must not hold users' keys) only nodes are let in. ``clock`` gives microseconds.
    """

    def __init__(
        self,
        find: Find,
        own_ids: Sequence[str],
        node_key: NodeKey,
        *,
        user_key: Callable[[Mapping[str, Any]], bytes] | None = None,
        nonces: Nonces | None = None,
        clock: Callable[[], int] = times.now_micros,
    ) -> None:
        self._find = find
        self._own_ids = tuple(own_ids)
        self._node_key = node_key
        self._user_key = user_key
        self._nonces = Nonces() if nonces is None else nonces
        self._clock = clock
        self._warned: dict[str, int] = {}

    async def verify(self, asked: Asked) -> Caller:
        """Who signed the request. Raises ``NotSignedIn`` (``ClockSkew`` for a wrong clock) for everything that does
        not hold."""
        claim = signatures.parse(asked.authorization)
        skew = signatures.skew_of(claim, self._clock())
        known = await self._known(claim.key_id)
        body = await _digest_of(await asked.body())
        for destination, key in known.keys:
            target = signatures.Target(
                method=asked.method, destination=destination, path=asked.path, range=asked.range, body_sha256=body
            )
            if signatures.holds(key, claim, target):
                break
        else:
            raise NotSignedIn(
                "the signature does not hold: it was made with another key, for another node, or of another request"
            )
        if known.disabled:
            raise NotSignedIn(known.disabled)
        if not self._nonces.first_time(claim.key_id, claim.nonce, claim.signed_at, self._clock()):
            raise NotSignedIn("this very request was sent before; sign each request anew")
        self._warn_of_clock(claim.key_id, skew)
        return known.caller

    def _warn_of_clock(self, key_id: str, skew: float) -> None:
        """Say that a clock is far off, once an hour: requests come by the second. The ids are of callers that proved
        themselves."""
        if abs(skew) <= signatures.WARNED_SKEW_S:
            self._warned.pop(key_id, None)
            return
        now, before = self._clock(), self._warned.get(key_id)
        if before is not None and now - before < WARN_AGAIN_S * times.MICROS_PER_SECOND:
            return
        self._warned[key_id] = now
        logger.warning(
            "the clock of %s is %s the clock here; beyond 5 minutes its requests are refused",
            key_id,
            signatures.describe_skew(skew),
            extra={"node_id": key_id, "operation": "verify"},
        )

    async def _known(self, key_id: str) -> _Known:
        """Whose id it is. Raises ``NotSignedIn`` when that is not known here."""
        if key_id.startswith(_USER_KEY):
            return await self._user(key_id)
        return await self._node(key_id)

    async def _user(self, access_key_id: str) -> _Known:
        if self._user_key is None:
            raise NotSignedIn("only enrolled nodes may ask this one; ask the control plane")
        document = await self._find(ids.credential_document_id(access_key_id))
        if document is None or not document.get("signing_key"):
            raise NotSignedIn("this access key is not known here, or was disabled")
        try:
            key = self._user_key(document)
        except UserError as error:
            raise NotSignedIn(error.message) from error
        scope = (document.get("permissions") or {}).get("scope")
        return _Known(
            caller=Caller(
                kind=HUB_SCOPE if scope == HUB_SCOPE else document["kind"],
                name=document["name"],
                access_key_id=access_key_id,
            ),
            keys=[(name, key) for name in (*self._own_ids, signatures.CONTROL_PLANE)],
            disabled="" if document.get("enabled") else "this access key was disabled",
        )

    async def _node(self, node_id: str) -> _Known:
        node = await self._find(ids.node_document_id(node_id))
        public = None if node is None else node.get("public_key")
        if node is None or not public:
            if self._user_key is None:
                raise NotSignedIn(f"the node {node_id} is not enrolled, or not yet known here")
            raise NotSignedIn(unknown_to_control_plane(node_id))
        try:
            keys = [(own, self._node_key.shared_with(own, node_id, public)) for own in self._own_ids if own != node_id]
        except UserError as error:
            raise NotSignedIn(error.message) from error
        key = key_of(node)
        return _Known(
            caller=Caller(kind="node", name=str(node.get("friendly_name", node_id)), node_id=node_id),
            keys=keys,
            disabled=why_disabled(node, None if key is None else await self._find(key)),
        )


async def _digest_of(body: bytes) -> str:
    """The body's digest; of one that takes milliseconds in a thread, so that nobody else waits for it."""
    if len(body) < LARGE_BODY:
        return signatures.sha256_of(body)
    return await asyncio.to_thread(signatures.sha256_of, body)


def from_quart(asked: Request | Websocket) -> Asked:
    """A request or WebSocket of a Quart application, as ``Verifier.verify`` takes it.

    The path is the one that was sent, before anything decoded it. The body is read whole, within the application's
    ``MAX_CONTENT_LENGTH``, and stays at hand for the view.
    """
    scope = asked.scope
    path = bytes(scope["raw_path"]).decode("latin-1")
    query = bytes(scope["query_string"]).decode("latin-1")

    async def body() -> bytes:
        if scope["type"] == "websocket":
            return b""
        return bytes(await cast("Request", asked).get_data(cache=True, as_text=False, parse_form_data=False))

    return Asked(
        method="GET" if scope["type"] == "websocket" else str(scope["method"]),
        path=f"{path}?{query}" if query else path,
        authorization=asked.headers.get("Authorization", ""),
        range=asked.headers.get("Range", ""),
        body=body,
    )
