"""The few pages there are before the real ones: what runs here, and the API's documentation. All assets are our own."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from quart import Blueprint, Response
from quart_schema import hide

from mosaicfs_core.errors import NotFound
from mosaicfs_core.server.security import PAGE_POLICY

blueprint = Blueprint("pages", __name__)

# Only these are served; a name from the address is never joined to a path.
_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "docs.html": "text/html; charset=utf-8",
    "index.js": "text/javascript; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def _asset(name: str) -> Response:
    body = (files("mosaicfs_core.server") / "static" / name).read_bytes()
    headers = {"Content-Type": _TYPES[name], "Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
    return Response(body, headers=headers)


@blueprint.get("/")
@hide
async def index() -> Response:
    """What runs here; opens the one-time login link."""
    return _asset("index.html")


@blueprint.get("/api/docs")
@hide
async def docs() -> Response:
    """The API's documentation, drawn from its description."""
    return _asset("docs.html")


@blueprint.get("/static/<name>")
@hide
async def asset(name: str) -> Response:
    """A script, style or picture of the pages."""
    if name not in _TYPES:
        raise NotFound("there is nothing at this address")
    return _asset(name)
