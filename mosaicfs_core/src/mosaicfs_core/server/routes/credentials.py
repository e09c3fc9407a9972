"""Access keys: ``/api/credentials``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents import times
from mosaicfs_core.hooks import etag_of
from mosaicfs_core.server.auth import credentials
from mosaicfs_core.server.listing import ListAnswer, Paging, document_answer, json_answer, page_of
from mosaicfs_core.server.state import state
from mosaicfs_core.server.stored import documents_of

blueprint = Blueprint("credentials", __name__, url_prefix="/api/credentials")

Name = Annotated[str, Meta(min_length=1, max_length=200, description="What people call it.")]


class NewKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A key to make: ``user`` for people and scripts, ``agent`` for another machine, ``hub`` for a CouchDB or PouchDB
    that replicates everything with this instance."""

    name: Name
    kind: credentials.Kind = "user"


class KeyChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of a key."""

    name: Name | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class KeyAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An access key, without its secret. ``last_seen`` is when somebody used it last, to sign in or for any other
    request, or when its machine was heard of, which for one that is connected is now: at this control plane, which
    after a crash may have forgotten the last ten minutes; an agent does not know."""

    id: str
    name: str
    kind: str
    enabled: bool
    created_at: str
    permissions: dict[str, Any]
    node_id: str | None = None
    last_seen: str | None = None


class NewKeyAnswer(KeyAnswer, kw_only=True):
    """A new access key, with what signing in takes. Keep ``secret_key``: it is shown this once."""

    access_key_id: str
    secret_key: str


@blueprint.get("")
@validate_querystring(Paging)
@document_response(ListAnswer)
async def list_keys(query_args: Paging) -> dict[str, Any]:
    """List the access keys, disabled ones included."""
    found = await documents_of(state().core.store, "credential")
    return page_of([_shown(document) for document in found], query_args)


@blueprint.post("")
@validate_request(NewKey)
@document_response(NewKeyAnswer, 201)
async def create_key(data: NewKey) -> Response:
    """Make an access key; the answer holds its secret, which is shown this once."""
    new = await credentials.create(state(), data.name, data.kind)
    body = {
        **_shown(new.document),
        "access_key_id": new.document["access_key_id"],
        "secret_key": new.secret_key,
    }
    return json_answer(body, 201, {"ETag": etag_of(new.document)})


@blueprint.get("/<key_id>")
@document_response(KeyAnswer)
async def get_key(key_id: str) -> Response:
    """Show one access key."""
    document = await credentials.get(state(), key_id)
    return document_answer(document, _shown(document))


@blueprint.patch("/<key_id>")
@validate_request(KeyChange)
@document_response(KeyAnswer)
async def change_key(key_id: str, data: KeyChange) -> Response:
    """Rename, enable or disable an access key."""
    changes = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not UNSET}
    document = await credentials.change(state(), key_id, changes)
    return document_answer(document, _shown(document))


@blueprint.delete("/<key_id>")
@document_response(KeyAnswer)
async def disable_key(key_id: str) -> Response:
    """Disable an access key and sign all its sessions out. Keys are never deleted; enable it again with PATCH."""
    document = await credentials.change(state(), key_id, {"enabled": False})
    return document_answer(document, _shown(document))


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    body = credentials.credential_body(document)
    server, node_id = state(), document.get("node_id")
    if not server.core.control:
        return body  # an agent knows of requests to itself alone, and of no other machine's
    seen = [server.sessions.seen.last(document["access_key_id"])]
    if node_id is not None:
        seen += [server.sessions.seen.last(node_id), server.liveness.last_heard(node_id)]
    moments = [at for at in seen if at is not None]
    return {**body, "last_seen": times.format_time(int(max(moments) * 1_000_000))} if moments else body
