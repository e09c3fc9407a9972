"""The key pair of a node (X25519), and the keys that two nodes sign with.

The private key never leaves its machine: it lies in the home's ``node_key`` (32 bytes in base64, mode 0600). Public
keys are text (base64 of 32 bytes) in the ``node`` documents. Two nodes derive the same 32-byte key from their shared
secret and both ids; nobody else can, whatever database or backup they hold.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mosaicfs_core.errors import NotAllowed, UserError
from mosaicfs_core.home import Home, write_private

KEY_BYTES: Final = 32
_CONTEXT: Final = b"mosaicfs node signature 1"
_CACHED_PEERS: Final = 1024


class Signer(Protocol):
    """Who signs a request: the id that goes into the header, and the key for a destination."""

    @property
    def key_id(self) -> str:
        """A user's access key id, or a node's id."""

    def key_for(self, destination: str) -> bytes:
        """The key that requests to this node are signed with. Raises ``NotAllowed`` when there is none."""


class NodeKey:
    """A node's key pair."""

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private
        self.public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
        self._shared = functools.lru_cache(_CACHED_PEERS)(self._derive)

    @classmethod
    def generate(cls) -> NodeKey:
        """A fresh pair."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def of_home(cls, home: Home) -> NodeKey:
        """The pair of a home, made on first use. Raises ``UserError`` when its file is damaged."""
        try:
            text = home.node_key_file.read_bytes()
        except FileNotFoundError:
            made = cls.generate()
            write_private(home.node_key_file, base64.b64encode(made._private.private_bytes_raw()) + b"\n")
            return made
        raw = _raw(text.strip())
        if raw is None:
            raise UserError(f"{home.node_key_file} is damaged: restore it, or delete it and enrol this machine again")
        return cls(X25519PrivateKey.from_private_bytes(raw))

    def shared_with(self, own_id: str, peer_id: str, peer_public: str) -> bytes:
        """The 32-byte key that two nodes sign requests to one another with; both derive the same.

        Raises ``UserError`` when the peer's public key is none.
        """
        return self._shared(own_id, peer_id, peer_public)

    def _derive(self, own_id: str, peer_id: str, peer_public: str) -> bytes:
        first, second = sorted((own_id, peer_id))
        return self.agreed(peer_public, b"\0".join((_CONTEXT, first.encode(), second.encode())), f" of {peer_id}")

    def agreed(self, public: str, purpose: bytes, whose: str = "") -> bytes:
        """32 bytes that the holder of the other private key gets as well; each ``purpose`` has its own.

        Raises ``UserError`` when ``public`` is no public key (``whose``: " of …", for its words).
        """
        raw = _raw(public.encode("utf-8", "replace"))
        if raw is None:
            raise UserError(f"the public key{whose} is damaged")
        try:
            secret = self._private.exchange(X25519PublicKey.from_public_bytes(raw))
        except ValueError:  # a point of low order, with which everybody shares the same secret
            raise UserError(f"the public key{whose} is no safe key") from None
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(secret)

    def __repr__(self) -> str:
        return f"NodeKey({self.public})"


class NodeSigner:
    """``Signer`` of a node: ``public_key_of`` tells a peer's public key, or None when it is not known."""

    def __init__(self, node_id: str, key: NodeKey, public_key_of: Callable[[str], str | None]) -> None:
        self._node_id = node_id
        self._key = key
        self._public_key_of = public_key_of

    @property
    def key_id(self) -> str:
        """This node's id."""
        return self._node_id

    def key_for(self, destination: str) -> bytes:
        """The key shared with the destination. Raises ``NotAllowed`` while its public key is not known here."""
        public = self._public_key_of(destination)
        if public is None:
            raise NotAllowed(
                f"the public key of {destination} is not known here: it is not enrolled, or not yet heard of"
            )
        return self._key.shared_with(self._node_id, destination, public)


def is_public_key(text: str) -> bool:
    """Whether a text is a public key that a shared secret can safely be made with."""
    if _raw(text.encode("utf-8", "replace")) is None:
        return False
    try:
        NodeKey.generate().shared_with("a", "b", text)
    except UserError:
        return False
    return True


def _raw(text: bytes) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == KEY_BYTES and base64.b64encode(raw) == text else None
