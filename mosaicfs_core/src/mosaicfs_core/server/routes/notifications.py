"""What the user should know of: ``/api/notifications``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring

from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.notifications import SEVERITIES, acknowledged
from mosaicfs_core.server.listing import ListAnswer, Paging, document_answer, json_answer, page_of, shown
from mosaicfs_core.server.state import state
from mosaicfs_core.server.stored import documents_of, replace

blueprint = Blueprint("notifications", __name__, url_prefix="/api/notifications")

Severity = Literal["info", "warning", "error"]
_STATUSES: Final = ("active", "acknowledged", "resolved")
_MISSING: Final = "there is no such notification"


class NotificationFilter(Paging, kw_only=True, forbid_unknown_fields=True):
    """Which notifications: in this state, of this severity."""

    status: Literal["active", "acknowledged", "resolved"] | None = None
    severity: Severity | None = None


class BySeverity(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Those of this severity alone."""

    severity: Severity | None = None


class History(Paging, kw_only=True, forbid_unknown_fields=True):
    """Since when something must have happened."""

    since: Annotated[str, Meta(max_length=40, description="ISO 8601; a date alone is its midnight, UTC.")] | None = None


class NotificationAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A condition that a machine, or the control plane, tells of (``source``). ``active`` until somebody takes note of
    it or it is over (``resolved``); it is active again when it comes back or gets worse."""

    id: str
    source: dict[str, Any]
    condition_key: str
    severity: str
    status: str
    title: str
    message: str
    first_seen: str
    last_seen: str
    occurrence_count: int
    actions: list[dict[str, Any]] = []
    acknowledged_at: str | None = None
    resolved_at: str | None = None


class Acknowledged(msgspec.Struct, kw_only=True):
    """How many notifications are taken note of by this."""

    acknowledged: int


@blueprint.get("")
@validate_querystring(NotificationFilter)
@document_response(ListAnswer)
async def list_notifications(query_args: NotificationFilter) -> dict[str, Any]:
    """List what the user should know of, or should have: what is active first, the worst and then the latest first."""
    found: list[dict[str, Any]] = []
    for status in _STATUSES if query_args.status is None else (query_args.status,):
        found += sorted(await _of(status, query_args.severity), key=_worst_first, reverse=True)
    return page_of([_body(document) for document in found], query_args)


@blueprint.get("/history")
@validate_querystring(History)
@document_response(ListAnswer)
async def history(query_args: History) -> dict[str, Any]:
    """List all that was told, over or not, by when something last happened to it: the latest first."""
    found = await documents_of(state().core.store, "notification")
    if query_args.since is not None:
        since = times.parse_time(query_args.since)
        found = [document for document in found if times.parse_time(_last(document)) >= since]
    return page_of([_body(document) for document in sorted(found, key=_last, reverse=True)], query_args)


@blueprint.post("/<notification_id>/acknowledge")
@document_response(NotificationAnswer)
async def acknowledge(notification_id: str) -> Response:
    """Take note of a notification: it is not active any more, until it comes back or gets worse."""
    identifier, now = ids.full_notification_id(notification_id), times.now_micros()
    document = await replace(state().core.store, identifier, partial(acknowledged, now=now), _MISSING)
    return document_answer(document, _body(document))


@blueprint.post("/acknowledge-all")
@validate_querystring(BySeverity)
@document_response(Acknowledged)
async def acknowledge_all(query_args: BySeverity) -> Response:
    """Take note of all that is active, or of all of one severity."""
    store, now, count = state().core.store, times.now_micros(), 0

    def apply(present: dict[str, Any] | None) -> dict[str, Any] | None:
        nonlocal count
        changed = None if present is None else acknowledged(present, now)
        count += changed is not None
        return changed

    for document in await _of("active", query_args.severity):
        await store.update(document["_id"], apply)
    return json_answer(Acknowledged(acknowledged=count))


async def _of(status: str, severity: str | None) -> list[dict[str, Any]]:
    return await documents_of(state().core.store, "notification", status, *([] if severity is None else [severity]))


def _worst_first(document: Mapping[str, Any]) -> tuple[int, str]:
    return SEVERITIES.index(document["severity"]), document["last_seen"]


def _last(document: Mapping[str, Any]) -> str:
    """When a condition was last seen, taken note of or over."""
    return max(document.get(field) or "" for field in ("last_seen", "acknowledged_at", "resolved_at"))


def _body(document: Mapping[str, Any]) -> dict[str, Any]:
    body = {"message": "", "occurrence_count": 1, **shown(document, ids.short_notification_id(document["_id"]))}
    return {"id": body.pop("id"), **body}
