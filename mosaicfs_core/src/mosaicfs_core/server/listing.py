"""Lists and documents as the API shows them: pages, short ids. Pure functions over plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from quart import Response, request

from mosaicfs_core.hooks import etag_matches, etag_of

MAX_PAGE: Final = 500


class Paging(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which slice of a list is wanted."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="At most this many items.")] = 100
    offset: Annotated[int, Meta(ge=0, lt=2**31, description="Skip this many items.")] = 0


class NoQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """This address takes no query parameters."""


class ListAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A slice of a list. ``total`` is exact up to 1,000; beyond that ``more`` is true. ``cursor`` leads on."""

    items: list[dict[str, Any]]
    total: int
    offset: int
    limit: int
    more: bool = False
    cursor: str | None = None


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(msgspec.json.encode(value), status=status, headers=dict(headers or {}), mimetype="application/json")


def page_of(items: Sequence[Mapping[str, Any]], paging: Paging) -> dict[str, Any]:
    """A slice of a list that is at hand whole."""
    part = items[paging.offset : paging.offset + paging.limit]
    return {"items": part, "total": len(items), "offset": paging.offset, "limit": paging.limit}


def shown(document: Mapping[str, Any], short_id: str, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """A document as the API shows it: a short ``id`` first, nothing that belongs to the store."""
    hidden = {"type", *without}
    body = {key: value for key, value in document.items() if not key.startswith("_") and key not in hidden}
    return {"id": short_id, **body}


def document_answer(document: Mapping[str, Any], body: Mapping[str, Any], status: int = 200) -> Response:
    """A document with its entity tag; 304 when the caller has it already."""
    etag = etag_of(document)
    if status == 200 and request.method in ("GET", "HEAD"):
        if etag_matches(request.headers.get("If-None-Match"), etag, weak=True):
            return Response(b"", status=304, headers={"ETag": etag})
        return json_answer(body, status, {"ETag": etag, "Cache-Control": "private, no-cache"})
    return json_answer(body, status, {"ETag": etag})
