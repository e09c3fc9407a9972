"""A CouchDB-shaped error answer as an error of ours. Pure.

Of CouchDB 3, which is a cluster even on one node: 500 is what one of its parts could not do (a shard is down, a request
took too long), with an object, or after ``_bulk_docs`` with the list of rows; 412 ``nodedown`` is said by a node in
maintenance. What has no such shape comes from something in between and says nothing about documents.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import MosaicError, NotAllowed, NotFound, NotSignedIn, Stale, Unavailable, UserError
from ..security import answers
from .peer import Choked

_LATER: Final = frozenset({408, 425, 429})
_NO_ANSWER: Final = frozenset({404, 405, 501})
_PASSING: Final = frozenset({"nodedown"})
TOO_LARGE: Final = 413


def error_of(status: int, body: bytes, retry_after: str | None = None) -> MosaicError:
    """``Choked`` for a request that the database failed at, or that something in between did not let through,
    ``Unavailable`` for what may work later, ``NotFound`` also for what a server has no answer to, otherwise what is
    wrong with the request or its sender. ``status`` is in the details."""
    said = _said(body)
    name = said.get("error")
    if isinstance(name, dict) and 400 <= status < 500 and status not in _LATER:
        return answers.error_of(status, "", retry_after, body)  # refused before the database was asked
    message = _message(status, said)
    its_own = isinstance(name, str)
    if name in _PASSING or (status == 500 and its_own):
        return Choked(message, _seconds(retry_after), status=status)
    if status < 400 or status in _LATER or (status >= 500 and status not in _NO_ANSWER):
        return Unavailable(message, _seconds(retry_after), status=status)
    if status in _NO_ANSWER:
        return NotFound(message) if its_own or status != 404 else Unavailable(message, status=status)
    return _refusal(status, message, its_own)


def _refusal(status: int, message: str, its_own: bool) -> MosaicError:
    if status == 401:
        return NotSignedIn(message)
    if status == 403:
        return NotAllowed(message)
    if status == 409:
        return Stale(message)
    return UserError(message, status=status) if its_own else Choked(message, status=status)


def _said(body: bytes) -> dict[str, Any]:
    """The object that is said; of a list of rows the first error."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        return {}
    rows = said if isinstance(said, list) else [said]
    return next((row for row in rows if isinstance(row, dict) and "error" in row), {})


def _message(status: int, said: dict[str, Any]) -> str:
    parts = [said[key] for key in ("error", "reason", "message") if isinstance(said.get(key), str)]
    if not parts:
        return f"something before the database answered {status}"
    return ": ".join([f"the database answered {status}", *parts])


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:  # a date: the back-off decides
        return None
