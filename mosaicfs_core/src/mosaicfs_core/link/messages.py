"""The messages of a link: one JSON object in each, requests and answers both ways. Pure.

* ``{"id": 7, "method": "crawl", "params": {…}}`` asks; ids are the asker's own and unique among its open requests;
* ``{"id": 7, "result": …}`` or ``{"id": 7, "error": {"code", "message", "details"?, "retry_after"?}}`` answers;
* ``{"id": 7, "cancel": true}`` takes a request back: nobody waits for its answer any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from mosaicfs_core.errors import MosaicError, Unavailable, UserError, error_told

MESSAGE_LIMIT: Final = 1 << 20
"""Bytes of the longest message that is sent or taken."""
MAX_ID: Final = 2**53
MAX_METHOD: Final = 64
MAX_TEXT: Final = 4096
"""Characters of an error's message, and bytes of its details: what is longer stays at home."""


class ReaderWaits(Unavailable):
    """Whoever reads a relayed file has not taken the pieces that are there: the next one may be sent again at once."""

    code = "reader_waits"


class BrokenLink(MosaicError):
    """The other side does not speak this protocol; the connection is of no more use."""

    code = "broken_link"


class Request(NamedTuple):
    """The other side asks."""

    id: int
    method: str
    params: dict[str, Any]


class Answer(NamedTuple):
    """The other side answers: ``error`` is None when it went well."""

    id: int
    result: Any
    error: MosaicError | None


class Cancel(NamedTuple):
    """The other side takes its request back."""

    id: int


def decode(data: str | bytes) -> Request | Answer | Cancel:
    """What a message says. Raises ``BrokenLink`` for anything that is none."""
    if len(data) > MESSAGE_LIMIT:
        raise BrokenLink(f"a message of more than {MESSAGE_LIMIT} bytes")
    try:
        message = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise BrokenLink("a message that is not JSON") from None
    if not isinstance(message, dict):
        raise BrokenLink("a message that is no object")
    number = message.get("id")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < MAX_ID:
        raise BrokenLink("a message without an id")
    if "method" in message:
        method, params = message["method"], message.get("params", {})
        if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD or not isinstance(params, dict):
            raise BrokenLink("a request without a method, or whose params are no object")
        return Request(number, method, params)
    if "error" in message:
        return Answer(number, None, error_of(message["error"]))
    if "result" in message:
        return Answer(number, message["result"], None)
    if message.get("cancel") is True:
        return Cancel(number)
    raise BrokenLink("a message that neither asks nor answers")


def encode(message: Mapping[str, Any]) -> str:
    """A message as text. Raises ``UserError`` when it is too long to be sent, ``TypeError`` for what is no JSON."""
    data = msgspec.json.encode(message)
    if len(data) > MESSAGE_LIMIT:
        raise UserError(f"the message has {len(data):,} bytes, at most {MESSAGE_LIMIT:,} can be sent: ask for less")
    return data.decode()


def error_body(error: MosaicError) -> dict[str, Any]:
    """An error as it travels."""
    body: dict[str, Any] = {"code": error.code, "message": error.message[:MAX_TEXT]}
    details = {key: value for key, value in error.details.items() if value not in (None, "")}
    details = msgspec.to_builtins(details, enc_hook=str, str_keys=True)
    if details and len(msgspec.json.encode(details)) <= MAX_TEXT:
        body["details"] = details
    if isinstance(error, Unavailable) and error.retry_after is not None:
        body["retry_after"] = error.retry_after
    return body


def error_of(body: Any) -> MosaicError:
    """The error that came, as the class of ours that its code names; ``MosaicError`` for other codes."""
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        raise BrokenLink("an error without a message")
    given, after = body.get("details"), body.get("retry_after")
    return error_told(
        str(body.get("code", MosaicError.code)),
        body["message"],
        given if isinstance(given, dict) else {},
        retry_after=float(after) if isinstance(after, int | float) else None,
    )
