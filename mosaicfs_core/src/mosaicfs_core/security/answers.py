"""Error answers of another party, as errors of ours. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mosaicfs_core.errors import (
    Conflict,
    MosaicError,
    NotAllowed,
    NotFound,
    NotSignedIn,
    Stale,
    Unavailable,
    UserError,
    error_told,
)

_BY_STATUS: Final[dict[int, type[MosaicError]]] = {
    400: UserError,
    401: NotSignedIn,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: Stale,
    413: UserError,
    416: UserError,
    422: UserError,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_of(status: int, reason: str, retry_after: str | None, data: bytes) -> MosaicError:
    """The error that an answer of 400 or more stands for: ours by its code and message, a foreign one by its status.

    ``retry_after`` is the header's value; ``data`` the body, of which a JSON object that is no error of ours is kept
    under ``answer`` in the details.
    """
    try:
        body = json.loads(data)["error"]
        code, message, details = str(body["code"]), str(body["message"]), dict(body.get("details") or {})
    except (ValueError, KeyError, TypeError, RecursionError):
        code, message, details = "error", f"the server answered {status} {reason}", _told(data)
    after = retry_after or ""
    return error_told(
        code,
        message,
        details,
        retry_after=float(after) if after.isdecimal() else None,
        otherwise=_BY_STATUS.get(status, MosaicError),
    )


def _told(data: bytes) -> dict[str, Any]:
    """An answer that is no error of ours and yet says something, as health does with 503."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return {"answer": body} if isinstance(body, Mapping) else {}
