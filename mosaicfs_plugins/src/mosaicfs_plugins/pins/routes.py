"""``/api/pins``: which files stay on which nodes, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from quart import Blueprint, Response, request
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.hooks import RoutesContext, etag_of, require_fresh
from mosaicfs_plugins.pins import model
from mosaicfs_plugins.pins.service import Fresh, PinService


def make_blueprint(context: RoutesContext) -> Blueprint:
    """The blueprint over a context."""
    blueprint = Blueprint("pins", __name__, url_prefix="/api/pins")
    service = PinService(context)

    @blueprint.get("")
    @validate_querystring(model.PinFilter)
    @document_response(model.PinsAnswer)
    async def list_pins(query_args: model.PinFilter) -> Response:
        """List the pins and how far each node is with them; asked for one by name, the answer has its ``ETag``."""
        page, version = await service.pins(query_args)
        body = {"items": list(page.items), "total": page.total, "offset": page.offset, "limit": page.limit}
        return _answer(body, version)

    @blueprint.put("")
    @validate_request(model.PinChange)
    @document_response(model.PinAnswer)
    async def put_pin(data: model.PinChange) -> Response:
        """Make a pin, or change it: what it holds and the nodes that it is on. The nodes begin as soon as the change
        has reached them."""
        return _answer(*await service.put(data, _if_match()))

    @blueprint.delete("")
    @validate_querystring(model.PinTarget)
    @document_response(model.RemovedAnswer)
    async def remove_pin(query_args: model.PinTarget) -> Response:
        """Take a pin from all its nodes, or from one. Its files stay until room is wanted."""
        return _answer(await service.remove(query_args, _if_match()))

    return blueprint


def _if_match() -> Fresh:
    """The check that the request's ``If-Match`` asks for; read here because a request is at hand only inside a view."""
    return partial(require_fresh, request.headers.get("If-Match"))


def _answer(body: Any, version: Mapping[str, Any] | None = None) -> Response:
    response = Response(msgspec.json.encode(body), mimetype="application/json")
    if version is not None:
        response.headers["ETag"] = etag_of(version)
        response.headers["Cache-Control"] = "private, no-cache"
    return response
