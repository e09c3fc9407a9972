"""``Idempotency-Key``: a POST repeated with the same key gives the first answer again instead of doing it twice.

Answers are kept in memory for a while, bounded in number; a restart forgets them. A key belongs to its caller and
address; the same key with another body is refused.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from quart import Quart, Response, current_app, g, request

from mosaicfs_core.errors import Conflict, UserError
from mosaicfs_core.server.state import principal

KEEP_SECONDS: Final = 600.0
MAX_KEPT: Final = 1000
MAX_KEY: Final = 200
KEY_HEADER: Final = "Idempotency-Key"
_EXTENSION: Final = "mosaicfs_idempotency"


class _Kept:
    """One key's request and, once it is done, its answer (status, headers, body)."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.since = time.monotonic()
        self.lock = asyncio.Lock()
        self.answer: tuple[int, dict[str, str], bytes] | None = None


def install(app: Quart) -> None:
    """Let every POST of the app, whoever brought it, honour ``Idempotency-Key``. Call it once all routes are there."""
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    for endpoint in endpoints:
        app.view_functions[endpoint] = _repeatable(app, app.view_functions[endpoint])


def _repeatable(app: Quart, view: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The view, which answers as it did before where a caller that is known repeats a POST with its key.

    Only successful answers in JSON are kept: a failure may be repeated, and a stream of bytes has no place in memory.
    """

    @functools.wraps(view)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = request.headers.get(KEY_HEADER) if request.method == "POST" else None
        if key is None or g.get("principal") is None:
            return await app.ensure_async(view)(*args, **kwargs)
        if not 0 < len(key) <= MAX_KEY:
            raise UserError(f"{KEY_HEADER}: expected 1 to {MAX_KEY} characters", field=KEY_HEADER)
        kept = _kept(key, await _digest())
        async with kept.lock:
            if kept.answer is None:
                made = await app.ensure_async(view)(*args, **kwargs)
                answer = cast(Response, await app.make_response(made))
                if answer.status_code < 300 and answer.is_json:
                    kept.answer = (answer.status_code, dict(answer.headers), await answer.get_data(as_text=False))
                return answer
        status, headers, body = kept.answer
        return Response(body, status=status, headers={**headers, "Idempotency-Replayed": "true"})

    return wrapper


async def _digest() -> bytes:
    """What tells the request from another with the same key: its query and its body."""
    body = cast(bytes, await request.get_data(cache=True, as_text=False))
    return hashlib.sha256(hashlib.sha256(request.query_string).digest() + body).digest()


def _kept(key: str, digest: bytes) -> _Kept:
    table: OrderedDict[Any, _Kept] = current_app.extensions.setdefault(_EXTENSION, OrderedDict())
    asking, oldest = principal(), time.monotonic() - KEEP_SECONDS
    while table and (len(table) >= MAX_KEPT or next(iter(table.values())).since < oldest):
        table.popitem(last=False)
    place = (asking.kind, asking.access_key_id, request.method, request.path, key)
    kept = table.setdefault(place, _Kept(digest))
    if kept.digest != digest:
        raise Conflict("this Idempotency-Key was used for another request")
    return kept
