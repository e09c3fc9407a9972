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
from typing import Any, Final, ParamSpec, cast

from quart import Response, current_app, request

from mosaicfs_core.errors import Conflict, UserError
from mosaicfs_core.server.state import principal

P = ParamSpec("P")
KEEP_SECONDS: Final = 600.0
MAX_KEPT: Final = 1000
MAX_KEY: Final = 200
_EXTENSION: Final = "mosaicfs_idempotency"


class _Kept:
    """One key's request and, once it is done, its answer (status, headers, body)."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.since = time.monotonic()
        self.lock = asyncio.Lock()
        self.answer: tuple[int, dict[str, str], bytes] | None = None


def idempotent(view: Callable[P, Awaitable[Response]]) -> Callable[P, Awaitable[Response]]:
    """Let a POST view honour ``Idempotency-Key``. Only successful answers are kept: a failure may be repeated."""

    @functools.wraps(view)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Response:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return await view(*args, **kwargs)
        if not 0 < len(key) <= MAX_KEY:
            raise UserError(f"Idempotency-Key: expected 1 to {MAX_KEY} characters", field="Idempotency-Key")
        kept = _kept(key, hashlib.sha256(cast(bytes, await request.get_data(cache=True, as_text=False))).digest())
        async with kept.lock:
            if kept.answer is None:
                answer = await view(*args, **kwargs)
                if answer.status_code < 300:
                    kept.answer = (answer.status_code, dict(answer.headers), await answer.get_data(as_text=False))
                return answer
        status, headers, body = kept.answer
        return Response(body, status=status, headers={**headers, "Idempotency-Replayed": "true"})

    return wrapper


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
