"""Machines and accounts: ``/api/nodes``. Their plugin instances are in ``routes.plugins``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents import ids, paths, times
from mosaicfs_core.documents.patterns import END
from mosaicfs_core.documents.standing import status_of
from mosaicfs_core.errors import Conflict, NotFound, UserError
from mosaicfs_core.hooks import FilesAnswer
from mosaicfs_core.server.auth.enrolment import has_name
from mosaicfs_core.server.background import spawn
from mosaicfs_core.server.link import asking
from mosaicfs_core.server.link.asking import MISSING
from mosaicfs_core.server.listing import (
    ListAnswer,
    NoQuery,
    Paging,
    document_answer,
    json_answer,
    page_of,
    shown,
)
from mosaicfs_core.server.routes.files import FileFilter, files_answer
from mosaicfs_core.server.routes.system import Started, agent_status, control_plane_status, started
from mosaicfs_core.server.state import state
from mosaicfs_core.server.stored import documents_of, replace

blueprint = Blueprint("nodes", __name__, url_prefix="/api/nodes")

NodeStatus = Literal["online", "offline", "degraded", "disabled", "unknown"]


class NodeFilter(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which nodes to list."""

    kind: Literal["physical", "cloud_bridge", "federated_peer"] | None = None
    status: NodeStatus | None = None


class NodeChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of a node."""

    friendly_name: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class NodeAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A machine or an account. ``status`` is ``disabled`` also when its access key was revoked, and ``unknown`` on an
    agent that does not reach its control plane, whose word it is. ``capabilities`` are what its plugins can be asked
    now, ``lacking`` what they should answer and cannot at present: each with ``capability``, ``plugin_name``,
    ``reason`` (``broken``, ``starting``, ``down``, ``withdrawn``) and ``since``."""

    id: str
    friendly_name: str
    node_kind: str
    status: str
    platform: str | None = None
    role: str | None = None
    vfs_capable: bool | None = None
    capabilities: list[str] = []
    lacking: list[dict[str, Any]] = []
    storage: list[dict[str, Any]] = []
    network_mounts: list[dict[str, Any]] = []


class StatusAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How a node is: overall and by subsystem, with its recent errors and what could not be watched. ``status`` is the
    control plane's word (online, offline, …); of another node the control plane tells by ``connected`` whether its
    link is up, by ``last_heard`` when it last gave a sign, and by ``double`` the address of another machine that runs
    with a copy of its home and is refused."""

    node_id: str
    overall: str
    status: str | None = None
    connected: bool | None = None
    last_heard: str | None = None
    double: str | None = None
    updated_at: str | None = None
    subsystems: dict[str, dict[str, Any]] = {}
    recent_errors: list[dict[str, Any]] = []
    available_plugins: list[dict[str, Any]] = []
    watch_state: Any = None


class StorageAnswer(msgspec.Struct, kw_only=True):
    """The filesystems of a node as it last reported them."""

    items: list[dict[str, Any]]
    cloud_storage: dict[str, Any] | None = None


class Crawl(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to crawl: one instance or all, everything or under some export paths. With ``full`` a crawl source may not
    rely on where it stopped the last time; folders of this machine are always looked at whole."""

    instance: Annotated[str, Meta(pattern=f"^{ids.INSTANCE_PATTERN}{END}")] | None = None
    full: bool = False
    prefixes: Annotated[list[Annotated[str, Meta(pattern="^/", max_length=8192)]], Meta(max_length=100)] = []


class ExclusionsQuery(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which exclusions to list: those under an export path, or all."""

    path: Annotated[str, Meta(pattern="^/", max_length=8192)] | None = None
    limit: Annotated[int, Meta(ge=1, le=5_000, description="At most this many items.")] = 100


class ExclusionAnswer(msgspec.Struct, kw_only=True):
    """Something that is left out of the index. ``kind`` is ``symlink``, ``special`` (a socket, pipe or device),
    ``ignored``, ``unreadable`` or ``inaccessible`` (a whole folder); ``count`` is above 1 only where a plugin does not
    name each thing."""

    kind: str
    export_path: str
    reason: str
    count: int = 1


class ExclusionsAnswer(msgspec.Struct, kw_only=True):
    """A slice of what is left out. While ``more`` is true, ``total`` counts only up to the end of the slice."""

    items: list[ExclusionAnswer]
    total: int
    offset: int
    limit: int
    more: bool


def node_body(document: Mapping[str, Any]) -> dict[str, Any]:
    """A node as the API shows it."""
    hidden = ("node_id", "agent_version", "control_version", "revocation", "heard_by")
    return shown(document, document["node_id"], without=hidden) | {"status": node_status(document)}


def node_status(document: Mapping[str, Any]) -> str:
    """Whether a node is there, as far as it is known here (``NodeAnswer``)."""
    core = state().core
    found = status_of(core.store.reader.get, document)
    if core.control or core.agent is None or found == "disabled":
        return found
    if document["node_id"] == core.node_id:
        return "online"
    link = core.agent.subsystems.get("link")
    return found if link is not None and link()["connected"] else "unknown"


async def get_node_document(node_id: str) -> Mapping[str, Any]:
    """A node's document. Raises ``NotFound``."""
    document = await state().core.store.get(ids.node_document_id(node_id))
    if document is None:
        raise NotFound(MISSING)
    return document


async def ask_node(node_id: str, method: str, params: Mapping[str, Any], timeout: float = 30.0) -> Any:
    """``asking.ask`` from this app."""
    return await asking.ask(state().core, state().links, node_id, method, params, timeout)


async def begin_crawl(node_id: str, *, instance: str | None, full: bool, prefixes: tuple[str, ...] = ()) -> None:
    """Let a node begin to crawl, wherever it is. Raises ``Unavailable`` when it cannot be reached."""
    server = state()
    if asking.is_here(server.core, node_id):
        server.core.agent.check_crawls(instance)
        work = server.core.agent.crawl(instance=instance, full=full, prefixes=prefixes)
        spawn(server, f"crawl {instance or 'all'} {' '.join(prefixes)}", work)
    else:
        far = asking.remote(server.core, server.links, node_id)
        await far.start_crawl(instance=instance, full=full, prefixes=prefixes)


@blueprint.get("")
@validate_querystring(NodeFilter)
@document_response(ListAnswer)
async def list_nodes(query_args: NodeFilter) -> dict[str, Any]:
    """List the nodes."""
    found = [
        body
        for document in await documents_of(state().core.store, "node")
        if query_args.kind in (None, document.get("node_kind", "physical"))
        and query_args.status in (None, (body := node_body(document))["status"])
    ]
    return page_of(found, query_args)


@blueprint.get("/<node_id>")
@document_response(NodeAnswer)
async def get_node(node_id: str) -> Response:
    """Show one node."""
    document = await get_node_document(node_id)
    return document_answer(document, node_body(document))


@blueprint.patch("/<node_id>")
@validate_request(NodeChange)
@document_response(NodeAnswer)
async def change_node(node_id: str, data: NodeChange) -> Response:
    """Rename a node, or enable one again that was disabled."""

    def change(document: dict[str, Any]) -> dict[str, Any] | None:
        changed = dict(document)
        if data.friendly_name is not UNSET:
            changed["friendly_name"] = data.friendly_name
        if data.enabled is True and document.get("status") == "disabled":
            changed["status"] = "offline"
        if changed == document:
            return None
        return {**changed, "control_version": document.get("control_version", 0) + 1}

    if data.enabled is False:
        raise UserError("enabled: expected true; DELETE disables a node", field="enabled")
    if data.friendly_name is not UNSET:
        await _refuse_taken(node_id, data.friendly_name)
    if data.enabled is True:
        _refuse_revoked(await get_node_document(node_id))
    document = await replace(state().core.store, ids.node_document_id(node_id), change, MISSING)
    return document_answer(document, node_body(document))


@blueprint.get("/<node_id>/status")
@document_response(StatusAnswer)
async def get_status(node_id: str) -> Response:
    """Show how a node is; of this process's own agent as of now, of others as they last reported."""
    node = await get_node_document(node_id)
    server = state()
    if node_id == server.core.node_id and server.core.agent is not None:
        return json_answer({"node_id": node_id, "status": node_status(node), **_plain(agent_status(server))})
    if node_id in (server.core.node_id, server.identity.node_id) and server.core.control:
        body = {"node_id": node_id, "status": node_status(node), **await control_plane_status(server)}
        return json_answer(body)
    document = await server.core.store.get(ids.status_document_id(node_id))
    heard = server.liveness.last_heard(node_id)
    body = {"node_id": node_id, **_plain(document or {"overall": "unknown"})}
    body["status"] = node_status(node)
    if server.core.control:
        body["connected"] = server.links.connected(node_id)
    if (double := server.links.double_of(node_id)) is not None:
        body["double"] = double
    if heard is not None:
        body["last_heard"] = times.format_time(int(heard * 1_000_000))
    return json_answer(body)


@blueprint.get("/<node_id>/files")
@validate_querystring(FileFilter)
@document_response(FilesAnswer)
async def list_node_files(node_id: str, query_args: FileFilter) -> Response:
    """List the files of a node."""
    await get_node_document(node_id)
    return await files_answer(msgspec.structs.replace(query_args, node_id=node_id))


@blueprint.get("/<node_id>/exclusions")
@validate_querystring(ExclusionsQuery)
@document_response(ExclusionsAnswer)
async def list_exclusions(node_id: str, query_args: ExclusionsQuery) -> Response:
    """List what is left out of the index, and why. The node looks at its disk for it; nothing is written."""
    server = state()
    agent = (
        server.core.agent if asking.is_here(server.core, node_id) else asking.remote(server.core, server.links, node_id)
    )
    path = None if query_args.path is None else paths.normalize_virtual(query_args.path)
    limit, offset = query_args.limit, query_args.offset
    found = await agent.exclusions(path, limit=limit, offset=offset)
    items = [
        ExclusionAnswer(kind=one.kind, export_path=one.export_path, reason=one.message, count=one.count)
        for one in found.items
    ]
    return json_answer(
        ExclusionsAnswer(items=items, total=offset + len(items), offset=offset, limit=limit, more=found.more)
    )


@blueprint.get("/<node_id>/storage")
@validate_querystring(NoQuery)
@document_response(StorageAnswer)
async def get_storage(node_id: str, query_args: NoQuery) -> Response:
    """Show the filesystems of a node."""
    document = await get_node_document(node_id)
    body = StorageAnswer(items=list(document.get("storage", ())), cloud_storage=document.get("cloud_storage"))
    return json_answer(body)


@blueprint.post("/<node_id>/crawl")
@validate_request(Crawl)
@document_response(Started, 202)
async def crawl(node_id: str, data: Crawl) -> Response:
    """Look for changes on the node. Answers at once; asking again while it runs changes nothing."""
    prefixes = tuple(paths.normalize_virtual(prefix) for prefix in data.prefixes)
    await begin_crawl(node_id, instance=data.instance, full=data.full, prefixes=prefixes)
    return json_answer(started(node_id), 202)


@blueprint.post("/<node_id>/sync")
@document_response(Started, 202)
async def sync(node_id: str) -> Response:
    """Bring every plugin instance of the node up to date: sources are crawled, what works on files is given those that
    it has not done. Answers at once."""
    await begin_crawl(node_id, instance=None, full=False)
    await ask_node(node_id, "full_sync", {})
    return json_answer(started(node_id), 202)


async def _refuse_taken(node_id: str, name: str) -> None:
    """Raise ``Conflict`` for the name of another machine: commands name machines so, and folders of the tree."""
    for node in await documents_of(state().core.store, "node"):
        if node["node_id"] != node_id and has_name(node, name):
            other = node["node_id"]
            raise Conflict(f"{other} is called {name} already", field="friendly_name", node_id=other)


def _refuse_revoked(node: Mapping[str, Any]) -> None:
    """Raise ``Conflict`` for a node that stays disabled as long as its access key is."""
    key = node.get("access_key_id")
    if status_of(state().core.store.reader.get, {**node, "status": ""}) == "disabled":
        raise Conflict(
            f"the access key {key} of this node was revoked: mosaicfs credentials enable {key} lets it in again",
            access_key_id=key,
        )


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if not name.startswith("_") and name != "type"}
