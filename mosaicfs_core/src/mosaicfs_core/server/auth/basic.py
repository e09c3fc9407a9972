"""Callers who send a name and a password with each request, as CouchDB's replicator and PouchDB do: hubs' keys alone.

A key of another kind signs its requests or signs in to a session, and none is believed where others could read it on
the way. Checking a secret takes tens of milliseconds, on purpose; one that held is remembered, as a keyed digest in
memory, for as long as the document of its key stays as it was.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from quart import Request, Websocket

from mosaicfs_core.documents import ids
from mosaicfs_core.errors import NotAllowed, NotSignedIn
from mosaicfs_core.server.auth import credentials
from mosaicfs_core.server.auth.signed import require_place, throttled
from mosaicfs_core.server.state import Principal, ServerState

SCHEME: Final = "basic"
PLACE: Final = "/db/"
KIND: Final = "hub"


async def identify(
    server: ServerState, asked: Request | Websocket, given: str, address: str, *, private: bool
) -> Principal:
    """Who sends this name and password. ``private`` is whether nobody could read them on the way. Raises as
    ``signed.identify``."""
    if not (asked.path + "/").startswith(PLACE):
        raise NotSignedIn("a name and a password with each request are taken at /db alone: sign in at /api/auth/login")
    if not private:
        raise NotAllowed("a password is taken over TLS alone, or from this machine; this connection can be read")
    access_key_id, secret = _parsed(given)
    with throttled(server, address, access_key_id):
        found = await _checked(server, access_key_id, secret)
    require_place(found, asked)
    return found


async def _checked(server: ServerState, access_key_id: str, secret: str) -> Principal:
    remembered = server.remembered
    document: Mapping[str, Any] | None = await server.core.store.get(ids.credential_document_id(access_key_id))
    if document is None or not remembered.holds(access_key_id, secret, document["secret_key_hash"]):
        document = await credentials.check_login(server, access_key_id, secret)
        if document["kind"] != KIND:
            raise NotAllowed("only a hub's access key takes a password: mosaicfs credentials create --kind hub NAME")
        remembered.remember(access_key_id, secret, document["secret_key_hash"])
    if not document["enabled"]:
        raise NotSignedIn("this access key was disabled")
    return Principal(kind=KIND, name=document["name"], access_key_id=access_key_id)


def _parsed(given: str) -> tuple[str, str]:
    try:
        name, colon, secret = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeError):
        colon = ""
    if not colon:
        raise NotSignedIn("the name and password cannot be read: expected base64 of name:password")
    return name, secret
