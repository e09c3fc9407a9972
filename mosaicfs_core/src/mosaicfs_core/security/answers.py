"""Error answers of another party, as errors of ours. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mosaicfs_core.errors import (
    ClockSkew,
    Conflict,
    MosaicError,
    NotAllowed,
    NotFound,
    NotSignedIn,
    PluginError,
    Stale,
    Unavailable,
    UserError,
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
    kind = ClockSkew if code == ClockSkew.code else _BY_STATUS.get(status)
    if kind is not None:
        error: MosaicError = kind(message, **details)
    elif code == PluginError.code:
        error = PluginError(message, str(details.pop("plugin", "")), str(details.pop("hook", "")), **details)
    elif status in (429, 502, 503, 504):
        details.pop("retry_after", None)
        after = retry_after or ""
        error = Unavailable(message, retry_after=float(after) if after.isdecimal() else None, **details)
    else:
        error = MosaicError(message, **details)
    error.code = code
    return error


def _told(data: bytes) -> dict[str, Any]:
    """An answer that is no error of ours and yet says something, as health does with 503."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return {"answer": body} if isinstance(body, Mapping) else {}
