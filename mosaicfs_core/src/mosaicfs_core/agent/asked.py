"""Questions to the control plane in requests of their own, before anything is replicated."""

from __future__ import annotations

from typing import Final

import aiohttp

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.security.requests import Requests, raise_for_error

TIMEOUT_S: Final = 30.0
_JSON: Final = {"Content-Type": "application/json"}


async def asked(requests: Requests, method: str, path: str, body: bytes | None = None) -> bytes:
    """The body of the answer. Raises the ``MosaicError`` that it stands for: ``NotFound`` where the control plane is of
    a version that does not know the path, ``Unavailable`` when it cannot be reached."""
    headers = None if body is None else _JSON
    try:
        async with requests.request(method, path, body=body, headers=headers, timeout=TIMEOUT_S) as answer:
            await raise_for_error(answer)
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"the control plane's answer broke off: {error}") from error
