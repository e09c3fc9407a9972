"""Headers of every answer, and bounds of every request."""

from __future__ import annotations

from typing import Final

from quart import Quart, Response, request
from werkzeug.exceptions import UnsupportedMediaType

MAX_BODY_BYTES: Final = 2 * 1024 * 1024
BODY_SECONDS: Final = 30
BATCH_SECONDS: Final = 300
"""For a batch of replicated documents, which is larger than any other body."""

RAW_BODIES: Final = frozenset({"agents.relay"})
"""Views that take bytes as they are; a signed header opens them, which no form of another site can send."""

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
# What a user's own file may do when a browser shows it: be drawn and played, in an origin of its own, without script.
CONTENT_POLICY: Final = (
    "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline';"
    " frame-ancestors 'self'"
)

_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": DATA_POLICY,
    "Cache-Control": "no-store",
}


def install(app: Quart) -> None:
    """Bound requests and put the headers on every answer of the app; a view's own header wins."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["BODY_TIMEOUT"] = BODY_SECONDS

    @app.before_request
    async def _json_only() -> None:
        if request.endpoint is None or request.endpoint in RAW_BODIES:
            return  # what is not there, or takes no such method, is told as that
        bodiless = request.method in ("GET", "HEAD") or request.content_length == 0  # some clients name a type even so
        if "Content-Type" in request.headers and not bodiless and not request.is_json:
            raise UnsupportedMediaType

    @app.after_request
    async def _headers(response: Response) -> Response:
        for name, value in _ALWAYS.items():
            response.headers.setdefault(name, value)
        return response
