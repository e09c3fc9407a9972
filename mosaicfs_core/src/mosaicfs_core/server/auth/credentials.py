"""Credentials in the store: made, changed, disabled, checked at login. A secret is seen once, at the making."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.standing import number_of
from mosaicfs_core.errors import NotFound, NotSignedIn
from mosaicfs_core.security import user_keys
from mosaicfs_core.security.revocations import next_revocation
from mosaicfs_core.server.auth import keys
from mosaicfs_core.server.auth.revocations import disabled
from mosaicfs_core.server.auth.sessions import Refreshed
from mosaicfs_core.server.background import finished
from mosaicfs_core.server.listing import shown
from mosaicfs_core.server.state import ServerState
from mosaicfs_core.server.stored import replace

Kind = Literal["user", "agent", "hub"]
SECRET_FIELDS: Final = ("secret_key_hash", "signing_key", "access_key_id", "revocation")
MISSING: Final = "there is no such credential"


class NewCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A credential with its secret, which is nowhere else."""

    document: Mapping[str, Any]
    secret_key: str


def credential_body(document: Mapping[str, Any]) -> dict[str, Any]:
    """A credential as the API shows it; its id is the access key id."""
    return shown(document, document["access_key_id"], without=SECRET_FIELDS)


async def create(server: ServerState, name: str, kind: Kind) -> NewCredential:
    """Make a key and store what is kept of it."""
    access_key_id, secret = ids.new_access_key_id(), keys.new_secret_key()
    async with server.hashing:
        secret_hash = await asyncio.to_thread(keys.hash_secret, secret)
        signing_key = await asyncio.to_thread(user_keys.derive_signing_key, access_key_id, secret)
    document = {
        "_id": ids.credential_document_id(access_key_id),
        "type": "credential",
        "access_key_id": access_key_id,
        "secret_key_hash": secret_hash,
        "signing_key": keys.wrap_signing_key(server.wrapping_key, access_key_id, signing_key),
        "name": name,
        "kind": kind,
        "enabled": True,
        "created_at": times.format_time(times.now_micros()),
        "permissions": {"scope": "hub" if kind == "hub" else "full"},
    }
    rev = await server.core.store.put(document)
    return NewCredential(document={**document, "_rev": rev}, secret_key=secret)


async def get(server: ServerState, access_key_id: str) -> Mapping[str, Any]:
    """A credential's document. Raises ``NotFound``."""
    document = await server.core.store.get(ids.credential_document_id(access_key_id))
    if document is None:
        raise NotFound(MISSING)
    return document


async def change(server: ServerState, access_key_id: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Change fields of a credential; disabling it signs every session of it out. Honours the request's ``If-Match``."""
    identifier = ids.credential_document_id(access_key_id)

    def apply(old: dict[str, Any]) -> dict[str, Any]:
        document = {**old, **changes}
        if old["enabled"] and not document["enabled"]:
            return disabled(document, next_revocation(server.revocation_key, old))
        return document

    async def change() -> Mapping[str, Any]:
        document = await replace(server.core.store, identifier, apply, MISSING)
        if not document["enabled"]:
            await server.sessions.end_all_of(access_key_id)
        return document

    # A caller that hangs up between the two would leave sessions that live again when the key is enabled again.
    return await finished(server, change())


async def check_login(server: ServerState, access_key_id: str, secret: str) -> Mapping[str, Any]:
    """The credential that key and secret prove. Raises ``NotSignedIn``, after the same time whatever was wrong."""
    document: Mapping[str, Any] | None = None
    if user_keys.KEY_ID_PATTERN.fullmatch(access_key_id):
        document = await server.core.store.get(ids.credential_document_id(access_key_id))
    known_hash = server.dummy_hash if document is None else document["secret_key_hash"]
    async with server.hashing:
        matches = await asyncio.to_thread(keys.verify_secret, known_hash, secret)
    if document is None or not matches or not document["enabled"]:
        raise NotSignedIn("the access key id or the secret is wrong, or the key was disabled")
    return document


async def begin_session(server: ServerState, document: Mapping[str, Any]) -> Refreshed:
    """Sign in the key of a ``credential`` document, which has proved itself."""
    return await server.sessions.begin(document["access_key_id"], number_of(document))
