"""Secrets that held, so that they are not checked by a costly hash with every request. In memory alone."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from typing import Final

MAX_REMEMBERED: Final = 64


class Remembered:
    """Secrets that held: by key id a digest of the secret and of the hash that it was checked against, the least
    recently used forgotten first."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._held: OrderedDict[str, bytes] = OrderedDict()

    def holds(self, access_key_id: str, secret: str, secret_hash: str) -> bool:
        """Whether this secret held before, against this very hash."""
        held = self._held.get(access_key_id)
        if held is None or not hmac.compare_digest(held, self._digest(secret, secret_hash)):
            return False
        self._held.move_to_end(access_key_id)
        return True

    def remember(self, access_key_id: str, secret: str, secret_hash: str) -> None:
        """It held."""
        self._held[access_key_id] = self._digest(secret, secret_hash)
        self._held.move_to_end(access_key_id)
        while len(self._held) > MAX_REMEMBERED:
            self._held.popitem(last=False)

    def _digest(self, secret: str, secret_hash: str) -> bytes:
        return hmac.digest(self._key, f"{secret_hash}\0{secret}".encode(), "sha256")
