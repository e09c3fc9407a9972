"""What plugins have to do on a node: ``/api/nodes/{id}/plugins/{name}/jobs`` and ``…/sync``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.documents import times
from mosaicfs_core.server.listing import json_answer
from mosaicfs_core.server.routes.nodes import ask_node
from mosaicfs_core.server.routes.system import Started, started

blueprint = Blueprint("jobs", __name__, url_prefix="/api")

_TIMES = ("created_at", "not_before", "started_at", "last_sync", "last_at", "next_due")


class JobsQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which jobs: those of a status, after the one that ``cursor`` names."""

    status: Literal["pending", "in_flight", "failed"] = "pending"
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: Annotated[int, Meta(ge=0, lt=2**53)] = 0


class JobsAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A slice of an instance's jobs, and how its queue stands: ``counts`` by status, the full sync under way, what it
    used of its budget today. ``waits`` says why nothing is taken at present."""

    items: list[dict[str, Any]]
    total: int
    counts: dict[str, int]
    paused: bool
    enabled: bool
    usage: dict[str, Any]
    waits: str = ""
    sync: dict[str, Any] | None = None
    last_sync: str | None = None
    cursor: int | None = None


class Retry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which failed jobs to try again: these, by ``sequence``, or all."""

    sequences: Annotated[list[int], Meta(max_length=10_000)] | None = None


class RetryAnswer(msgspec.Struct, kw_only=True):
    """How many jobs will be tried again."""

    retried: int


@blueprint.get("/nodes/<node_id>/plugins/<name>/jobs")
@validate_querystring(JobsQuery)
@document_response(JobsAnswer)
async def list_jobs(node_id: str, name: str, query_args: JobsQuery) -> Response:
    """List what an instance has to do, is doing, or could not do, and how its queue stands. The node is asked."""
    params = {"instance": name, "status": query_args.status, "after": query_args.cursor, "limit": query_args.limit}
    found = await ask_node(node_id, "jobs", params)
    standing = _readable(found["standing"])
    answer = JobsAnswer(
        items=[_readable(job) for job in found["items"]],
        total=found["total"],
        counts=standing["counts"],
        paused=standing["paused"],
        enabled=standing["enabled"],
        usage=standing["usage"],
        waits=found["waits"],
        sync=standing["sync"],
        last_sync=standing["last_sync"],
        cursor=found["cursor"],
    )
    return json_answer(answer)


@blueprint.post("/nodes/<node_id>/plugins/<name>/jobs/retry")
@validate_request(Retry)
@document_response(RetryAnswer)
async def retry_jobs(node_id: str, name: str, data: Retry) -> Response:
    """Let jobs that failed for good be tried again."""
    found = await ask_node(node_id, "jobs_retry", {"instance": name, "sequences": data.sequences})
    return json_answer(RetryAnswer(retried=found["retried"]))


@blueprint.post("/nodes/<node_id>/plugins/<name>/sync")
@document_response(Started, 202)
async def sync_instance(node_id: str, name: str) -> Response:
    """Begin a full sync of an instance: it is given every file that it has not done as it is now. Answers at once;
    asking again while it runs changes nothing."""
    await ask_node(node_id, "full_sync", {"instance": name})
    return json_answer(started(node_id), 202)


def _readable(value: Any) -> Any:
    """Times of the queue, which are microseconds, as the API writes them; 0 is none."""
    if not isinstance(value, dict):
        return value
    return {name: _time(item) if name in _TIMES else _readable(item) for name, item in value.items()}


def _time(micros: int | None) -> str | None:
    return times.format_time(micros) if micros else None
