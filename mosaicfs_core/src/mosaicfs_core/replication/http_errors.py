"""A CouchDB-shaped error answer as an error of ours. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import MosaicError, NotAllowed, NotFound, NotSignedIn, Stale, Unavailable, UserError
from ..security import answers

_LATER: Final = frozenset({408, 425, 429})


def error_of(status: int, body: bytes, retry_after: str | None = None) -> MosaicError:
    """``Unavailable`` for what may work later, ``NotFound`` also for what a server has no answer to, otherwise what is
    wrong with the request or its sender."""
    said = _said(body)
    if isinstance(said.get("error"), dict) and 400 <= status < 500 and status not in _LATER:
        return answers.error_of(status, "", retry_after, body)  # refused before the database was asked
    message = _message(status, said)
    if status in (404, 405, 501):
        return NotFound(message)
    if status in _LATER or status >= 500:
        return Unavailable(message, _seconds(retry_after))
    if status == 401:
        return NotSignedIn(message)
    if status == 403:
        return NotAllowed(message)
    if status == 409:
        return Stale(message)
    return UserError(message)


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        return {}
    return said if isinstance(said, dict) else {}


def _message(status: int, said: dict[str, Any]) -> str:
    parts = [said[key] for key in ("error", "reason", "message") if isinstance(said.get(key), str)]
    return ": ".join(["the database answered " + str(status), *parts])


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:  # a date: the back-off decides
        return None
