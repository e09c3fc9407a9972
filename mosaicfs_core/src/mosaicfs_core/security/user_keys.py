"""The key that people and scripts sign with: derived from the secret of an access key, the same on both sides."""

from __future__ import annotations

import re
from typing import Final

from argon2.low_level import Type, hash_secret_raw

from mosaicfs_core.errors import UserError
from mosaicfs_core.security.signatures import no_key_id

KEY_ID_PATTERN: Final = re.compile(r"MOSAICFS_[0-9a-f]{16}")
SECRET_PATTERN: Final = re.compile(r"mosaicfs_[A-Za-z0-9_-]{43}")

# Both sides of a signed request derive the same key, so these numbers are part of the protocol.
SIGNING_TIME_COST: Final = 2
SIGNING_MEMORY_KIB: Final = 19 * 1024
SIGNING_PARALLELISM: Final = 1
SIGNING_KEY_BYTES: Final = 32


def derive_signing_key(access_key_id: str, secret: str) -> bytes:
    """The 32-byte key both sides sign requests with: Argon2id of the secret, salted with the key id.

    Takes tens of milliseconds: call it in a thread. Raises ``UserError`` for what is no access key id.
    """
    if KEY_ID_PATTERN.fullmatch(access_key_id) is None:
        raise UserError(no_key_id(access_key_id))
    return hash_secret_raw(
        secret.encode(),
        access_key_id.encode(),
        time_cost=SIGNING_TIME_COST,
        memory_cost=SIGNING_MEMORY_KIB,
        parallelism=SIGNING_PARALLELISM,
        hash_len=SIGNING_KEY_BYTES,
        type=Type.ID,
    )


class UserSigner:
    """``node_keys.Signer`` of an access key: the same key for every destination, which the signature names."""

    def __init__(self, access_key_id: str, signing_key: bytes) -> None:
        self._access_key_id = access_key_id
        self._signing_key = signing_key

    @classmethod
    def from_secret(cls, access_key_id: str, secret: str) -> UserSigner:
        """Derive the key. Takes tens of milliseconds. Raises ``UserError``."""
        return cls(access_key_id, derive_signing_key(access_key_id, secret))

    @property
    def key_id(self) -> str:
        """The access key id."""
        return self._access_key_id

    def key_for(self, destination: str) -> bytes:
        """The signing key."""
        return self._signing_key

    def __repr__(self) -> str:
        return f"UserSigner({self._access_key_id})"
