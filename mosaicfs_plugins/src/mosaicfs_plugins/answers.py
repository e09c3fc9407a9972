"""What the routes of these plugins have in common: the version that a request asks for, and answers that name one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import msgspec
from quart import Response, request

from mosaicfs_core.hooks import etag_of, require_fresh

Fresh: TypeAlias = Callable[[Mapping[str, Any] | None], None]
"""Told the document that is about to change (None: there is none); raises ``Stale`` when the caller knew another."""


def if_match() -> Fresh:
    """The check that the request's ``If-Match`` asks for; read here because a request is at hand only inside a view."""
    return partial(require_fresh, request.headers.get("If-Match"))


def answer(body: Any, status: int = 200, document: Mapping[str, Any] | None = None) -> Response:
    """A JSON answer, with the entity tag of the document it shows."""
    response = Response(msgspec.json.encode(body), status=status, mimetype="application/json")
    if document is not None:
        response.headers["ETag"] = etag_of(document)
        response.headers["Cache-Control"] = "private, no-cache"
    return response
