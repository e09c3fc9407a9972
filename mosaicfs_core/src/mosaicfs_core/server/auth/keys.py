"""Access keys and what is kept of them: pure functions over text and bytes, no I/O.

An access key is a public id ``MOSAICFS_`` + 16 hexadecimal digits and a secret ``mosaicfs_`` + 43 URL-safe base64
characters (256 random bits), shown once. Two things are kept of the secret: an Argon2id hash, to check a login, and the
signing key derived from it (``security.user_keys``), wrapped under a key of the instance, to check signed requests.
"""

from __future__ import annotations

import base64
import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mosaicfs_core.errors import UserError

# The secret carries 256 random bits, so no high cost has to save a weak password: what OWASP recommends (19 MiB, two
# passes, about 30 ms) is plenty, and it bounds what a flood of logins can cost us.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)

_NONCE_BYTES: Final = 12
_WRAP_PREFIX: Final = "aesgcm1."


def new_secret_key() -> str:
    """A fresh secret: ``mosaicfs_`` and 43 URL-safe characters."""
    return "mosaicfs_" + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """The Argon2id hash of a secret as a PHC string. Takes tens of milliseconds: call it in a thread."""
    return _HASHER.hash(secret)


def verify_secret(phc: str, secret: str) -> bool:
    """Whether the secret belongs to the hash. Takes tens of milliseconds whatever the answer: call it in a thread."""
    try:
        return _HASHER.verify(phc, secret)
    except (VerificationError, InvalidHashError):
        return False


def dummy_hash() -> str:
    """A hash no secret matches, to spend the same time on an unknown key id as on a known one."""
    return _HASHER.hash(secrets.token_urlsafe(32))


def subkey(instance_key: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose, derived from the instance key (HKDF-SHA256), so that no key serves two."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"mosaicfs " + purpose.encode()).derive(instance_key)


def wrap_signing_key(wrapping_key: bytes, access_key_id: str, signing_key: bytes) -> str:
    """Encrypt a signing key for storage (AES-256-GCM, bound to its key id); text."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(wrapping_key).encrypt(nonce, signing_key, access_key_id.encode())
    return _WRAP_PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode()


def unwrap_signing_key(wrapping_key: bytes, access_key_id: str, wrapped: str) -> bytes:
    """The signing key again. Raises ``UserError`` when it was made under another instance key or another key id."""
    if not wrapped.startswith(_WRAP_PREFIX):
        raise UserError("the signing key is not in a known form; make a new credential")
    try:
        sealed = base64.urlsafe_b64decode(wrapped[len(_WRAP_PREFIX) :])
        return AESGCM(wrapping_key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], access_key_id.encode())
    except (InvalidTag, ValueError) as error:
        raise UserError("the signing key was made under another instance key; make a new credential") from error
