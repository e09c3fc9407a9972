"""Machines that join and leave: ``POST /api/nodes``, ``DELETE /api/nodes/{id}``, and which keys hold."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.documents.standing import number_of
from mosaicfs_core.errors import Conflict
from mosaicfs_core.security.certificates import MAX_REQUEST
from mosaicfs_core.security.revocations import next_revocation
from mosaicfs_core.server.auth import enrolment
from mosaicfs_core.server.auth.revocations import disabled, take_back
from mosaicfs_core.server.link.asking import MISSING
from mosaicfs_core.server.link.offered import Taken, take
from mosaicfs_core.server.listing import NoQuery, document_answer, json_answer
from mosaicfs_core.server.routes.agents import calling_node
from mosaicfs_core.server.routes.nodes import NodeAnswer, node_body
from mosaicfs_core.server.state import principal, state
from mosaicfs_core.server.stored import documents_of, replace

blueprint = Blueprint("enrolment", __name__, url_prefix="/api")

MAX_NAME: Final = 200
MAX_REMEMBERED: Final = 1000
MAX_OFFERED: Final = 100


class NewNode(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A machine that joins. ``public_key`` is its X25519 key in base64, ``csr`` a certificate request for its listener,
    ``node_id`` the id that it would like to keep."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    platform: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    public_key: Annotated[str, Meta(min_length=1, max_length=100)]
    csr: Annotated[str, Meta(max_length=MAX_REQUEST)] | None = None
    node_id: Annotated[str, Meta(pattern=f"^{ids.NODE_ID_PATTERN}{END}")] | None = None


class EnrolledAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a node must know of its instance. ``name`` is what the machine is called from now on: with a number behind
    it where another machine has the name that it gave. ``certificate`` is there when the request held a ``csr`` and the
    caller is new or proved itself with the node's own key; otherwise repeat the request, signed with it."""

    node_id: str
    name: str
    created: bool
    control_plane_id: str
    control_plane_key: str
    ca: str
    access_key_id: str | None = None
    certificate: str | None = None


class KeyState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Whether a key holds, whose it is, and how many times it was disabled."""

    access_key_id: str
    kind: str
    enabled: bool
    node_id: str | None = None
    revocations: int = 0


class KeyStates(msgspec.Struct, kw_only=True):
    """The access keys there are, and how many times each node was disabled that ever was."""

    items: list[KeyState]
    nodes: dict[str, int]


class Remembered(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The ``revocation`` of a ``credential`` or ``node`` document."""

    id: Annotated[str, Meta(max_length=300)]
    number: Annotated[int, Meta(ge=1, lt=2**53)]
    proof: Annotated[str, Meta(max_length=100)]


class RememberedAll(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Revocations that a node knows of and the control plane does not."""

    items: Annotated[list[Remembered], Meta(min_length=1, max_length=MAX_REMEMBERED)]


class Offer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The plugin documents of the node that asks, as it knows them."""

    documents: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MAX_OFFERED)]


class DisabledAgain(msgspec.Struct, kw_only=True):
    """Which of them were made good: the ids of the documents."""

    disabled: list[str]


@blueprint.post("/nodes")
@validate_request(NewNode)
@document_response(EnrolledAnswer, 201)
@document_response(EnrolledAnswer, 200)
async def register(data: NewNode) -> Response:
    """Register a machine, or the same one again.

    Signed with an access key of kind agent, which the first registration binds (409 for a second machine), with the
    node's own key, or by a signed-in user. Repeating it changes nothing; it is also how a node renews its certificate.
    A machine that is known already may come with a further access key: that takes the place of its own when this was
    revoked; otherwise 409 with ``known_as``, its node id, by whose own key it proves itself then.
    """
    server, asking = state(), principal()
    authority = server.identity.authority
    asked = enrolment.Registration(
        name=data.name, platform=data.platform, public_key=data.public_key, node_id=data.node_id
    )
    certificate = None
    if data.csr is not None:
        # A damaged request is refused before anything is bound.
        authority.issue(data.csr, "nobody")
    found = await enrolment.register(server, asking, asked)
    if data.csr is not None and found.proven:
        certificate = authority.issue(data.csr, found.node_id)
    answer = EnrolledAnswer(
        node_id=found.node_id,
        name=found.name,
        created=found.created,
        control_plane_id=server.identity.node_id,
        control_plane_key=server.identity.key.public,
        ca=authority.pem,
        access_key_id=found.access_key_id,
        certificate=certificate,
    )
    return json_answer(answer, 201 if found.created else 200)


@blueprint.delete("/nodes/<node_id>")
@document_response(NodeAnswer)
async def disable_node(node_id: str) -> Response:
    """Disable a node: nothing that it signs is taken any more, here at once and by other nodes as soon as they hear of
    it. Its files stay listed. Nodes are never deleted; PATCH enables it again."""
    server = state()
    if node_id in (server.identity.node_id, server.core.node_id):
        raise Conflict("this is the machine that the control plane runs on")

    def disable(document: dict[str, Any]) -> dict[str, Any] | None:
        if document.get("status") == "disabled":
            return None
        return disabled(document, next_revocation(server.revocation_key, document))

    document = await replace(server.core.store, ids.node_document_id(node_id), disable, MISSING)
    return document_answer(document, node_body(document))


@blueprint.get("/agent/credentials")
@validate_querystring(NoQuery)
@document_response(KeyStates)
async def list_key_states(query_args: NoQuery) -> Response:
    """Tell a node which access keys hold, and how many times they and nodes were disabled: what it remembers beyond
    that it brings back."""
    calling_node()
    found = await documents_of(state().core.store, "credential")
    items = [
        KeyState(
            access_key_id=document["access_key_id"],
            kind=document["kind"],
            enabled=document["enabled"],
            node_id=document.get("node_id"),
            revocations=number_of(document),
        )
        for document in found
    ]
    nodes = await documents_of(state().core.store, "node")
    return json_answer(
        KeyStates(items=items, nodes={node["node_id"]: number for node in nodes if (number := number_of(node))})
    )


@blueprint.post("/agent/revocations")
@validate_request(RememberedAll)
@document_response(DisabledAgain)
async def bring_back(data: RememberedAll) -> Response:
    """Bring back revocations that a control plane has lost which was restored from a backup. Each has the proof that
    the control plane made of it; what was enabled again since stays so."""
    calling_node()
    server = state()
    made = [one.id for one in data.items if await take_back(server, one.id, one.number, one.proof)]
    return json_answer(DisabledAgain(disabled=made))


@blueprint.post("/agent/configuration")
@validate_request(Offer)
@document_response(Taken)
async def take_configuration(data: Offer) -> Response:
    """Take back what was set for the node that asks, where the control plane was made anew or restored from a backup:
    its instances of plugins that are not known here, and its folders. What is known here stays."""
    node_id, server = calling_node(), state()
    async with server.seeding:
        return json_answer(await take(server.core, node_id, data.documents))
