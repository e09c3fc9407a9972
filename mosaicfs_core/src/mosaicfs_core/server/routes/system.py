"""Health and facts of the instance: ``/api/health`` and ``/api/system``."""

from __future__ import annotations

import logging
import platform
import sqlite3
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Literal

import msgspec
from quart import Blueprint, Response
from quart_schema import document_response, validate_request

from mosaicfs_core import disk_room
from mosaicfs_core.documents import times
from mosaicfs_core.documents.standing import why_refused
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.server.background import spawn
from mosaicfs_core.server.identity import CONTROL_ROLE
from mosaicfs_core.server.link.remote import RemoteAgent
from mosaicfs_core.server.listing import json_answer
from mosaicfs_core.server.state import ServerState, state
from mosaicfs_core.server.stored import documents_of

logger = logging.getLogger(__name__)
blueprint = Blueprint("system", __name__, url_prefix="/api")


class Part(msgspec.Struct, kw_only=True):
    """How one subsystem is: ``healthy``, ``degraded`` or ``unhealthy``."""

    status: str


class HealthAnswer(msgspec.Struct, kw_only=True):
    """How the instance is, by subsystem; without details, since nobody has to sign in to read it."""

    status: str
    subsystems: dict[str, Part]


class LeaseAnswer(msgspec.Struct, kw_only=True):
    """Who does what must happen once: ``held`` when it is this control plane, ``holder`` its node id ("": nobody),
    ``until`` when by its clock unless it goes on."""

    held: bool
    holder: str
    until: str
    term: int


class HubAnswer(msgspec.Struct, kw_only=True):
    """The link to the hub. ``state`` as of a replication; ``pushed``, ``pulled``, ``pending`` and ``refused`` count
    documents, ``lag_s`` is for how many seconds the two have not been level."""

    status: str
    detail: str
    url: str
    state: str
    pushed: int
    pulled: int
    pending: int
    lag_s: float
    refused: int
    last_error: str | None
    lease: LeaseAnswer


class InfoAnswer(msgspec.Struct, kw_only=True):
    """What runs. ``documents`` counts the live documents by type (of files those that are there, not those that are
    remembered), ``agent`` and ``plugins`` tell how each is; ``hub`` is null where none is configured."""

    version: str
    instance_id: str
    node_id: str
    started_at: str
    uptime_s: int
    python: str
    platform: str
    update_seq: int
    documents: dict[str, int]
    agent: dict[str, str]
    plugins: dict[str, str]
    hub: HubAnswer | None = None


class Reindex(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How to index again: with ``full`` a crawl source may not rely on where it stopped the last time.
    Folders of this machine are always looked at whole."""

    full: bool = True


class Started(msgspec.Struct, kw_only=True, omit_defaults=True):
    """It has begun; ``GET nodes/{id}/status`` tells how far it is. ``nodes`` are the others that have begun as well."""

    started: Literal[True]
    node_id: str
    nodes: list[str] = []


@blueprint.get("/health")
@document_response(HealthAnswer)
@document_response(HealthAnswer, 503)
async def health() -> Response:
    """Say whether the instance works. Public; 503 when its replica cannot be read or written, on a full disk say."""
    server = state()
    disk = str(disk_room.subsystem(server.core.home.path, server.core.store.failure)["status"])
    parts = {"store": "healthy", **_agent_parts(server), "disk": disk}
    try:
        await server.core.store.info()
    except (MosaicError, sqlite3.Error) as error:
        logger.warning("the replica cannot be read", extra={"operation": "health", "error": error})
        parts["store"] = "unhealthy"
    if server.core.hub is not None:
        parts["hub"] = str(server.core.hub.facts()["status"])
    if not server.core.store.writable:
        parts["store"] = "unhealthy"
    worst = next((grade for grade in ("unhealthy", "degraded") if grade in parts.values()), "healthy")
    body = HealthAnswer(status=worst, subsystems={name: Part(status=grade) for name, grade in parts.items()})
    return json_answer(body, 503 if "unhealthy" in (parts["store"], disk) else 200)


@blueprint.get("/system/info")
@document_response(InfoAnswer)
async def info() -> Response:
    """Show what runs: versions, ids, counts, plugins, and what the agent does."""
    server = state()
    facts = await server.core.store.info()
    body = InfoAnswer(
        version=version("mosaicfs-core"),
        instance_id=facts.instance_id,
        node_id=server.core.node_id,
        started_at=times.format_time(int(server.started * 1_000_000)),
        uptime_s=int(time.time() - server.started),
        python=platform.python_version(),
        platform=sys.platform,
        update_seq=facts.update_seq,
        documents={name: counts["live"] for name, counts in facts.types.items()} | {"file": facts.files},
        agent=_agent_parts(server),
        plugins={name: plugin.status for name, plugin in server.core.host.plugins.items()},
        hub=None if server.core.hub is None else msgspec.convert(server.core.hub.facts(), HubAnswer),
    )
    return json_answer(body)


@blueprint.post("/system/reindex")
@validate_request(Reindex)
@document_response(Started, 202)
async def reindex(data: Reindex) -> Response:
    """Crawl everything again, on this machine and on every node that is connected. Answers at once; asking again while
    it runs changes nothing."""
    server = state()
    if server.core.agent is not None:
        spawn(server, "reindex", server.core.agent.crawl(full=data.full))
    begun: list[str] = []
    for node_id in sorted(server.links.nodes):
        try:
            await RemoteAgent(server.links, node_id).start_crawl(instance=None, full=data.full, prefixes=())
        except MosaicError as error:  # it left at this moment, and crawls when it comes back
            logger.info("%s cannot crawl now: %s", node_id, error, extra={"operation": "reindex"})
        else:
            begun.append(node_id)
    return json_answer(started(server.core.node_id, begun), 202)


def started(node_id: str, others: Sequence[str] = ()) -> Started:
    """The answer to a request that begins something."""
    return Started(started=True, node_id=node_id, nodes=list(others))


async def control_plane_status(server: ServerState) -> dict[str, Any]:
    """How the control plane of this process is, in the form of an agent's status."""
    nodes = [
        node
        for node in await documents_of(server.core.store, "node")
        if node.get("role") != CONTROL_ROLE and not why_refused(server.core.store.reader.get, node["node_id"])
    ]
    away = sorted(str(node["friendly_name"]) for node in nodes if node.get("status") == "offline")
    failing = server.core.failing
    conflicts = (await server.core.store.info()).conflicts
    subsystems: dict[str, dict[str, Any]] = {
        "store": {"status": "healthy" if server.core.store.writable else "unhealthy", "detail": ""},
        "disk": disk_room.subsystem(server.core.home.path, server.core.store.failure),
        "nodes": {
            "status": "healthy",
            "detail": f"{len(nodes) - len(away)} of {len(nodes)} online"
            + (f"; away: {', '.join(away)}" if away else ""),
            "connected": sorted(server.links.nodes),
        },
        "replication": {
            "status": "healthy",
            "detail": f"{conflicts} conflicts are not settled yet" if conflicts else "",
        },
        "tasks": {
            "status": "degraded" if failing else "healthy",
            "detail": "; ".join(f"{name}: {reason}" for name, reason in sorted(failing.items())),
        },
    }
    if server.core.hub is not None:
        subsystems["hub"] = server.core.hub.facts()
    grades = {str(part["status"]) for part in subsystems.values()}
    worst = next((grade for grade in ("unhealthy", "degraded") if grade in grades), "healthy")
    return {"overall": worst, "subsystems": subsystems}


def agent_status(server: ServerState) -> dict[str, Any]:
    """What the agent of this process says of itself, as the API shows it; empty when there is none."""
    agent = server.core.agent
    return {} if agent is None else {name: value for name, value in agent.status().items() if name[0] != "_"}


def _agent_parts(server: ServerState) -> dict[str, str]:
    subsystems = agent_status(server).get("subsystems", {})
    return {name: str(part.get("status", "healthy")) for name, part in subsystems.items()}
