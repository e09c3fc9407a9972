"""What agents ask of the control plane: ``/api/agent``. Only requests signed by an enrolled node's key are taken."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, Websocket, request, websocket
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents import ids, owners, times
from mosaicfs_core.errors import InvalidDocument, MosaicError, NotAllowed, UserError
from mosaicfs_core.replication.flows import NOT_ITS_INODE
from mosaicfs_core.security import presence
from mosaicfs_core.server.auth.guard import client_address, refuse_websocket
from mosaicfs_core.server.couch.writes import log_refused
from mosaicfs_core.server.listing import json_answer
from mosaicfs_core.server.state import principal, state
from mosaicfs_core.store import BulkResult

blueprint = Blueprint("agents", __name__, url_prefix="/api/agent")

MAX_DOCUMENTS: Final = 1000
GOING_AWAY: Final = 1001
REFUSALS: Final = frozenset({"not_allowed", InvalidDocument.code})


class Heartbeat(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The node is there. ``overall`` is how it is by its own account."""

    overall: str | None = None


class HeartbeatAnswer(msgspec.Struct, kw_only=True):
    """It was heard, at ``time`` by the control plane's clock."""

    node_id: str
    time: str


class Documents(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Documents that the node owns, tombstones (``_deleted``) included; ``_rev`` names the revision replaced."""

    documents: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MAX_DOCUMENTS)]


class DocumentResult(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one document: its new ``version``, or ``error`` (a code) and ``reason``."""

    id: str
    version: str | None = None
    error: str | None = None
    reason: str | None = None


class DocumentsAnswer(msgspec.Struct, kw_only=True):
    """A result for each document, in order; one that could not be written did not hinder the others."""

    results: list[DocumentResult]
    written: int
    refused: int


class StatusReport(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How the node is; as its ``agent_status`` document."""

    overall: Literal["healthy", "degraded", "unhealthy"]
    subsystems: dict[str, dict[str, Any]] = {}
    available_plugins: list[dict[str, Any]] = []
    recent_errors: Annotated[list[dict[str, Any]], Meta(max_length=50)] = []
    watch_state: Any = None


class UtilizationReport(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How full the node's filesystems were at a moment (default: now); one report for each hour is kept."""

    captured_at: Annotated[str, Meta(max_length=40)] | None = None
    filesystems: list[dict[str, Any]] = []
    cloud: dict[str, Any] | None = None


class Stored(msgspec.Struct, kw_only=True):
    """It was taken."""

    stored: bool = True


class RelayQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where in the file the piece begins."""

    at: Annotated[int, Meta(ge=0, lt=2**53)]


class RelayAnswer(msgspec.Struct, kw_only=True):
    """The piece was taken; send the next one."""

    taken: int


def calling_node() -> str:
    """The node that asks. Raises ``NotAllowed`` for everybody else, and where there is no control plane."""
    asking = principal()
    if not state().core.control:
        raise NotAllowed("this is an agent; its control plane is what to ask")
    if asking.kind != "node" or asking.node_id is None:
        raise NotAllowed("only an enrolled node's own key opens this")
    return asking.node_id


@blueprint.websocket("/link")
async def link() -> None:
    """Keep a link to a node."""
    try:
        server, node_id = state(), calling_node()
    except NotAllowed as error:
        await refuse_websocket(error)
        return
    await server.liveness.heard(node_id)

    # Others than this view send as well, and they have no context of it.
    socket: Websocket = websocket._get_current_object()  # type: ignore[attr-defined]  # a proxy

    async def receive() -> str | bytes | None:
        return await socket.receive()

    try:
        caller = presence.parse(socket.headers.get(presence.HEADER, ""))
        await server.links.serve(node_id, socket.send, receive, process=caller, address=client_address(socket))
    except MosaicError as error:
        await refuse_websocket(error)
        return
    await socket.close(GOING_AWAY)


@blueprint.post("/heartbeat")
@validate_request(Heartbeat)
@document_response(HeartbeatAnswer)
async def heartbeat(data: Heartbeat) -> Response:
    """Say that the node is there. Writes nothing, unless it was offline until now."""
    node_id = calling_node()
    await state().liveness.heard(node_id)
    return json_answer(HeartbeatAnswer(node_id=node_id, time=times.format_time(times.now_micros())))


@blueprint.post("/files/bulk")
@validate_request(Documents)
@document_response(DocumentsAnswer)
async def write_files(data: Documents) -> Response:
    """Write file documents of the node that asks, each for itself."""
    node_id = calling_node()
    refusals = [_refusal(node_id, document) for document in data.documents]
    wanted = [document for document, refused in zip(data.documents, refusals, strict=True) if refused is None]
    written = iter(await state().core.store.bulk(wanted) if wanted else ())
    results = [refused or _result(next(written)) for refused in refusals]
    count = sum(result.error is None for result in results)
    log_refused(node_id, [(result.id, result.reason or "") for result in results if result.error in REFUSALS])
    return json_answer(DocumentsAnswer(results=results, written=count, refused=len(results) - count))


@blueprint.post("/status")
@validate_request(StatusReport)
@document_response(Stored)
async def report_status(data: StatusReport) -> Response:
    """Keep how the node is by its own account."""
    node_id = calling_node()
    await _keep(
        {
            "_id": ids.status_document_id(node_id),
            "type": "agent_status",
            "node_id": node_id,
            "updated_at": times.format_time(times.now_micros()),
            **msgspec.to_builtins(data),
        }
    )
    return json_answer(Stored())


@blueprint.post("/utilization")
@validate_request(UtilizationReport)
@document_response(Stored)
async def report_utilization(data: UtilizationReport) -> Response:
    """Keep how full the node's filesystems are."""
    node_id = calling_node()
    captured = data.captured_at or times.format_time(times.now_micros())
    try:
        times.parse_canonical(captured)
    except UserError as error:
        raise UserError(f"captured_at: {error.message}", field="captured_at") from None
    document = {
        "_id": ids.utilization_document_id(node_id, captured),
        "type": "utilization_snapshot",
        "node_id": node_id,
        "captured_at": captured,
        "filesystems": data.filesystems,
        **({"cloud": data.cloud} if data.cloud is not None else {}),
    }
    await _keep(document)
    return json_answer(Stored())


@blueprint.post("/relay/<ticket>")
@validate_querystring(RelayQuery)
@document_response(RelayAnswer)
async def relay(ticket: str, query_args: RelayQuery) -> Response:
    """Bring a piece of a file that the control plane asked for over the link: raw bytes. Answered once its reader has
    room for it: 503 means to send it again, 404 that nobody waits for it any more."""
    node_id = calling_node()
    piece = cast(bytes, await request.get_data(cache=False, as_text=False))
    await state().relay.put(node_id, ticket, query_args.at, piece)
    return json_answer(RelayAnswer(taken=len(piece)))


async def _keep(document: dict[str, Any]) -> None:
    await state().core.store.update(document["_id"], lambda _present: document)


def _refusal(node_id: str, document: dict[str, Any]) -> DocumentResult | None:
    """Why a document is not written for this node at all, or None."""
    identifier = document.get("_id")
    if not isinstance(identifier, str):
        return DocumentResult(id="", error="invalid_document", reason="_id: expected a text")
    parts = identifier.split("::")
    # Both the id and what the fields say: a tombstone has few fields, and none of them may name another owner.
    if parts[0] != "file" or len(parts) != 3:
        return DocumentResult(id=identifier, error="not_allowed", reason="only documents of files can be written here")
    if parts[1] != node_id or owners.owner_of(document) != node_id:
        return DocumentResult(id=identifier, error="not_allowed", reason="this file belongs to another node")
    if owners.takes_other_inode(document):
        return DocumentResult(id=identifier, error="not_allowed", reason=NOT_ITS_INODE)
    return None


def _result(written: BulkResult) -> DocumentResult:
    if written.error is None:
        return DocumentResult(id=written.id, version=written.rev)
    return DocumentResult(id=written.id, error=written.error.code, reason=written.error.message)
