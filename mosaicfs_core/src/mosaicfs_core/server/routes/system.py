"""Health and facts of the instance: ``/api/health`` and ``/api/system``."""

from __future__ import annotations

import logging
import platform
import sqlite3
import sys
import time
from importlib.metadata import version
from typing import Any

import msgspec
from quart import Blueprint, Response
from quart_schema import document_response, validate_request

from mosaicfs_core.documents import times
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.server.background import spawn
from mosaicfs_core.server.listing import json_answer
from mosaicfs_core.server.state import ServerState, state

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
    """What runs. ``documents`` counts the live documents by type, ``agent`` and ``plugins`` tell how each is; ``hub``
    is null where none is configured."""

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


class Started(msgspec.Struct, kw_only=True):
    """It has begun; ``GET nodes/{id}/status`` tells how far it is."""

    started: bool = True
    node_id: str


@blueprint.get("/health")
@document_response(HealthAnswer)
async def health() -> Response:
    """Say whether the instance works. Public; 503 when it does not."""
    server = state()
    parts = {"store": "healthy", **_agent_parts(server)}
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
    return json_answer(body, 503 if parts["store"] == "unhealthy" else 200)


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
        documents={name: counts["live"] for name, counts in facts.types.items()},
        agent=_agent_parts(server),
        plugins={name: plugin.status for name, plugin in server.core.host.plugins.items()},
        hub=None if server.core.hub is None else msgspec.convert(server.core.hub.facts(), HubAnswer),
    )
    return json_answer(body)


@blueprint.post("/system/reindex")
@validate_request(Reindex)
@document_response(Started, 202)
async def reindex(data: Reindex) -> Response:
    """Crawl everything again on this machine. Answers at once; asking again while it runs changes nothing."""
    server = state()
    spawn(server, "reindex", server.core.agent.crawl(full=data.full))
    return json_answer(Started(node_id=server.core.node_id), 202)


def agent_status(server: ServerState) -> dict[str, Any]:
    """What the agent of this process says of itself, as the API shows it; empty when there is none."""
    agent = server.core.agent
    return {} if agent is None else {name: value for name, value in agent.status().items() if name[0] != "_"}


def _agent_parts(server: ServerState) -> dict[str, str]:
    subsystems = agent_status(server).get("subsystems", {})
    return {name: str(part.get("status", "healthy")) for name, part in subsystems.items()}
