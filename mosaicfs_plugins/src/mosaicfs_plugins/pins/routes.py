"""``/api/pins``: which files stay on which nodes, and how far they are."""

from __future__ import annotations

from quart import Blueprint, Response
from quart_schema import document_response, validate_querystring, validate_request

from mosaicfs_core.hooks import RoutesContext
from mosaicfs_plugins.answers import answer, if_match
from mosaicfs_plugins.pins import model
from mosaicfs_plugins.pins.service import PinService


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
        return answer(body, document=version)

    @blueprint.put("")
    @validate_request(model.PinChange)
    @document_response(model.PinAnswer)
    async def put_pin(data: model.PinChange) -> Response:
        """Make a pin, or change it: what it holds and the nodes that it is on. The nodes begin as soon as the change
        has reached them."""
        body, version = await service.put(data, if_match())
        return answer(body, document=version)

    @blueprint.delete("")
    @validate_querystring(model.PinTarget)
    @document_response(model.RemovedAnswer)
    async def remove_pin(query_args: model.PinTarget) -> Response:
        """Take a pin from all its nodes, or from one. Its files stay until room is wanted."""
        return answer(await service.remove(query_args, if_match()))

    return blueprint
