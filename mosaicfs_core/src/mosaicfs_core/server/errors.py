"""The one error shape: ``{"error": {"code", "message", "details"?}}``, for our errors, the framework's, and surprises.

Never a stack trace, a revision, or a path of the server: what was not raised on purpose is logged under an id, and the
answer names only the id.
"""

from __future__ import annotations

import logging
import math
import secrets
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from quart import Quart, Response
from quart_schema import RequestSchemaValidationError
from werkzeug.exceptions import HTTPException

from mosaicfs_core.errors import (
    Conflict,
    MosaicError,
    NoRoom,
    NotAllowed,
    NotFound,
    NotSignedIn,
    PluginError,
    Stale,
    Unavailable,
    UserError,
)
from mosaicfs_core.store.failures import read_error
from mosaicfs_core.wording import in_words

logger = logging.getLogger(__name__)


class ErrorDetail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``code`` is stable and for programs, ``message`` is for people; ``details`` names fields and limits."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class ErrorAnswer(msgspec.Struct, kw_only=True):
    """Something went wrong; nothing was changed unless the message says so."""

    error: ErrorDetail


class TooManyRequests(Unavailable):
    """The caller asked too often; ``retry_after`` says when to come again."""

    code = "too_many_requests"


class NotAcceptableRange(UserError):
    """A range lies wholly outside of the file; ``size`` is the file's."""

    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"the range lies outside of the {size} bytes there are", size=size)
        self.size = size


# The first class that fits wins, so a class stands before its bases.
_STATUS: Final[tuple[tuple[type[MosaicError], HTTPStatus], ...]] = (
    (NotAcceptableRange, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    (TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    (NotSignedIn, HTTPStatus.UNAUTHORIZED),
    (NotAllowed, HTTPStatus.FORBIDDEN),
    (UserError, HTTPStatus.BAD_REQUEST),
    (NotFound, HTTPStatus.NOT_FOUND),
    (Stale, HTTPStatus.PRECONDITION_FAILED),
    (Conflict, HTTPStatus.CONFLICT),
    (PluginError, HTTPStatus.BAD_GATEWAY),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (NoRoom, HTTPStatus.INSUFFICIENT_STORAGE),
)

_FRAMEWORK_CODES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid", "the request could not be understood: expected valid JSON"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not take this method"),
    408: ("timeout", "the request took too long to arrive"),
    413: ("too_large", "the request is larger than this server takes"),
    415: ("unsupported_media_type", "send JSON with Content-Type: application/json"),
}


MAX_TEXT: Final = 2000
"""Characters of a message or a detail: what a caller sent is not sent back by the megabyte."""


def error_answer(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer in the error shape."""
    detail = ErrorDetail(code=code, message=_short(message), details=_short(dict(details)) if details else None)
    body = msgspec.json.encode(ErrorAnswer(error=detail), enc_hook=str)
    return Response(body, status=status, headers=dict(headers or {}), mimetype="application/json")


def status_of(error: MosaicError) -> HTTPStatus:
    """The HTTP status of one of our errors."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def headers_of(error: MosaicError) -> dict[str, str]:
    """The headers that go with one of our errors, in whatever shape its answer has."""
    headers: dict[str, str] = {}
    if isinstance(error, NotSignedIn):
        headers["WWW-Authenticate"] = 'Bearer realm="mosaicfs"'
    if isinstance(error, Unavailable) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, NotAcceptableRange):
        headers["Content-Range"] = f"bytes */{error.size}"
    return headers


def answer_for(error: MosaicError) -> Response:
    """One of our errors as an answer, with the headers that go with its status."""
    details = {key: value for key, value in error.details.items() if value not in (None, "")}
    return error_answer(status_of(error), error.code, error.message, details, headers_of(error))


def install(app: Quart) -> None:
    """Answer every error of the app in the one shape."""

    @app.errorhandler(MosaicError)
    async def _ours(error: MosaicError) -> Response:
        if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, Unavailable):
            logger.error("request failed", exc_info=error)
        return answer_for(error)

    @app.errorhandler(sqlite3.Error)
    async def _of_the_store(error: sqlite3.Error) -> Response:
        # What reads the replica directly on the loop; the store's own methods have told theirs already.
        told = read_error(error)
        return answer_for(told) if isinstance(told, MosaicError) else _surprise(error)

    @app.errorhandler(RequestSchemaValidationError)
    async def _invalid(error: RequestSchemaValidationError) -> Response:
        message, field = _explain(error.validation_error)
        return error_answer(HTTPStatus.BAD_REQUEST, "invalid", message, {"field": field} if field else None)

    @app.errorhandler(HTTPException)
    async def _framework(error: HTTPException) -> Response:
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _surprise(getattr(error, "original_exception", None) or error)
        code, message = _FRAMEWORK_CODES.get(status, ("invalid", "the request could not be understood"))
        headers = dict(error.get_headers())
        return error_answer(status, code, message, headers={"Allow": headers["Allow"]} if "Allow" in headers else None)

    @app.errorhandler(Exception)
    async def _unexpected(error: Exception) -> Response:
        return _surprise(error)


def _short(value: Any) -> Any:
    """The value with its texts cut to ``MAX_TEXT``."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
    if isinstance(value, Mapping):
        return {_short(key): _short(inner) for key, inner in value.items()}
    return value


def incident_of(error: BaseException) -> tuple[str, str]:
    """Log an error that nobody foresaw: the id that it has in the log, and what the caller may know."""
    incident = secrets.token_hex(4)
    logger.error("unexpected error %s", incident, exc_info=error)
    return incident, f"something went wrong inside the server; the log has the details under {incident}"


def _surprise(error: BaseException) -> Response:
    incident, message = incident_of(error)
    return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", message, {"incident": incident})


def _explain(error: Exception) -> tuple[str, str]:
    """A validation error as a sentence that begins with the dotted path of its field, and that path ("" for the
    whole)."""
    if not isinstance(error, msgspec.ValidationError):
        return f"the body: {error}", ""
    field, problem = in_words(error)
    return f"{field or 'the body'}: {problem}", field
