"""Revocations that outlive the control plane's own memory of them. Pure.

What is disabled (an access key, a node) carries how many times that was done, and a proof that only the control plane
could make. Both travel to every node. A control plane that was restored from a backup, in which the key still holds,
believes whoever brings them back: a proof cannot be made up, and one of a revocation that was taken back has a number
that the document has reached already.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from mosaicfs_core.documents.standing import number_of


def next_revocation(key: bytes, document: Mapping[str, Any]) -> dict[str, Any]:
    """What a document carries that is disabled now."""
    number = number_of(document) + 1
    return {"number": number, "proof": _proof(key, document["_id"], number)}


def holds(key: bytes, document_id: str, number: int, proof: str) -> bool:
    """Whether the holder of ``key`` disabled the document that many times."""
    return hmac.compare_digest(_proof(key, document_id, number).encode(), proof.encode())


def _proof(key: bytes, document_id: str, number: int) -> str:
    return hmac.new(key, f"{document_id}\n{number}".encode(), hashlib.sha256).hexdigest()
