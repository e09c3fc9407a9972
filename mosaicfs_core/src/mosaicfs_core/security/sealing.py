"""Values sealed to a node's public key: whoever knows that can seal, and that node alone can open.

A sealed value is text: ``sealed1.`` and base64url of a fresh X25519 public key (32 bytes) and AES-256-GCM over the
JSON of the value. The key is HKDF-SHA256 of what the fresh key and the node's share, bound to both; it is bound to the
``place`` where it stands, so that it cannot be moved to where it would be handed to somebody else.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mosaicfs_core.errors import UserError
from mosaicfs_core.security.node_keys import KEY_BYTES, NodeKey

_PREFIX: Final = "sealed1."
_CONTEXT: Final = b"mosaicfs sealed value 1"
# Each key seals one value, so its nonce need not differ from others'.
_NONCE: Final = bytes(12)


def is_sealed(value: Any) -> bool:
    """Whether a value is a sealed one."""
    return isinstance(value, str) and value.startswith(_PREFIX)


def seal(value: Any, public_key: str, place: str) -> str:
    """Seal anything that JSON can hold. Raises ``UserError`` when the public key is none."""
    fresh = NodeKey.generate()
    key = _key(fresh, public_key, fresh.public, public_key)
    inner = AESGCM(key).encrypt(_NONCE, msgspec.json.encode(value), place.encode())
    return _PREFIX + base64.urlsafe_b64encode(base64.b64decode(fresh.public) + inner).decode()


def unseal(sealed: str, own: NodeKey, place: str) -> Any:
    """The value again. Raises ``UserError`` when it was sealed for another key or place, or is damaged."""
    try:
        raw = base64.urlsafe_b64decode(sealed.removeprefix(_PREFIX))
        fresh = base64.b64encode(raw[:KEY_BYTES]).decode()
        inner = AESGCM(_key(own, fresh, fresh, own.public)).decrypt(_NONCE, raw[KEY_BYTES:], place.encode())
        return msgspec.json.decode(inner)
    except (InvalidTag, binascii.Error, ValueError, UserError):
        raise UserError("it was sealed for another key than this machine's") from None


def _key(ours: NodeKey, theirs: str, fresh: str, recipient: str) -> bytes:
    return ours.agreed(theirs, b"\0".join((_CONTEXT, fresh.encode(), recipient.encode())))
