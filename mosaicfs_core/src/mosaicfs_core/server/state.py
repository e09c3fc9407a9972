"""What the routes of one app share, reached by ``state()`` inside a view."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec
from quart import current_app, g

from mosaicfs_core.errors import NotSignedIn
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.security.verifier import Verifier
from mosaicfs_core.server.auth.limits import Proven, RateLimit
from mosaicfs_core.server.auth.remembered import Remembered
from mosaicfs_core.server.auth.sessions import Sessions
from mosaicfs_core.server.auth.tokens import Tokens
from mosaicfs_core.server.identity import Identity
from mosaicfs_core.server.link.links import Links
from mosaicfs_core.server.link.liveness import Liveness
from mosaicfs_core.server.link.relay import Relay
from mosaicfs_core.server.streaming import Streams

EXTENSION: Final = "mosaicfs"

# A login costs 19 MiB and 30 ms of a core: two at a time leave the other core to everybody else.
CONCURRENT_HASHES: Final = 2


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking. ``kind`` is ``user`` or ``agent`` (an access key), ``local`` (the owner of the home, on this
    machine), ``link`` (a download token, good for one file), ``node`` (a request signed by an enrolled node's key) or
    ``hub`` (a hub's credential); ``session`` is set for a signed-in user, with how many times its key had been
    disabled when it began (``revocations``), ``node_id`` for a node."""

    kind: str
    name: str
    access_key_id: str | None = None
    session: str | None = None
    revocations: int | None = None
    node_id: str | None = None


@dataclass(frozen=True)
class ServerState:
    """The services of one app. ``local_token`` is what the command line on this machine proves itself with."""

    core: CoreServices
    tokens: Tokens
    sessions: Sessions
    wrapping_key: bytes
    revocation_key: bytes
    local_token: str
    dummy_hash: str
    links: Links
    liveness: Liveness
    relay: Relay
    identity: Identity
    verifier: Verifier
    started: float = field(default_factory=time.time)
    login_by_address: RateLimit = field(default_factory=lambda: RateLimit(20, 6.0))
    login_by_key: RateLimit = field(default_factory=lambda: RateLimit(5, 12.0))
    failed_by_address: RateLimit = field(default_factory=lambda: RateLimit(60, 1.0))
    failed_by_key: RateLimit = field(default_factory=lambda: RateLimit(20, 3.0))
    proven: Proven = field(default_factory=Proven)
    remembered: Remembered = field(default_factory=Remembered)
    enrolling: asyncio.Lock = field(default_factory=asyncio.Lock)
    seeding: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while nodes tell of instances of their own: what they were given is counted, and what was made by itself is
    told from what somebody made."""
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT_HASHES))
    streams: Streams = field(default_factory=Streams)
    live: Streams = field(default_factory=Streams)
    """Answers that would go on for ever: they are ended as soon as the server stops."""
    background: set[asyncio.Task[Any]] = field(default_factory=set)
    kept: dict[str, Any] = field(default_factory=dict)
    """Answers that routes keep for a while, by the name of the route."""


def state() -> ServerState:
    """The state of the app that handles the current request."""
    return cast(ServerState, current_app.extensions[EXTENSION])


def principal() -> Principal:
    """Who is asking; raises ``NotSignedIn`` in a public view that nobody signed in to."""
    found = g.get("principal")
    if found is None:
        raise NotSignedIn("sign in first")
    return cast(Principal, found)


def whoami() -> Mapping[str, Any]:
    """Who is asking, as ``RoutesContext.whoami`` and ``GET auth/whoami`` tell it."""
    told: dict[str, Any] = msgspec.to_builtins(principal(), str_keys=True)
    del told["revocations"]  # of a session it matters to the guard alone
    return told
