"""Whether a node may still speak, act and be asked: by its document and its access key. Pure.

Everything that lets a node in, or goes to it, asks here: signatures, feeds and links under way, routes to its files,
and whether it is counted as present.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from mosaicfs_core.documents.ids import credential_document_id, node_document_id

Get: TypeAlias = Callable[[str], Mapping[str, Any] | None]
"""A document by its id, or None: ``reader.get``."""
DISABLED: Final = "was disabled"
KEY_OF: Final = "the access key of"
"""Words by which a refusal tells what it was disabled by: the command line mends either in its own way."""


def key_of(node: Mapping[str, Any]) -> str | None:
    """The id of the ``credential`` document that a node was enrolled with; None for one that a user registered."""
    access_key_id = node.get("access_key_id")
    return None if access_key_id is None else credential_document_id(access_key_id)


def number_of(document: Mapping[str, Any]) -> int:
    """How many times a ``node`` or ``credential`` was disabled (``security.revocations``)."""
    revocation = document.get("revocation") or {}
    return int(revocation.get("number", 0))


def why_disabled(node: Mapping[str, Any], credential: Mapping[str, Any] | None) -> str:
    """Why a node may not speak any more, empty when it may. ``credential`` is the document that ``key_of`` names.

    A key that has not arrived here yet lets nobody in, nor one that is bound to another node.
    """
    node_id = node["node_id"]
    if node.get("status") == "disabled" or node.get("node_kind") == "federated_peer":
        return f"the node {node_id} {DISABLED}"
    if key_of(node) is None:
        return ""
    if credential is None or credential.get("enabled", True) is not True or credential.get("node_id") != node_id:
        return f"{KEY_OF} the node {node_id} {DISABLED}"
    return ""


def status_of(get: Get, node: Mapping[str, Any]) -> str:
    """How a node is to be shown: one whose access key was revoked is disabled, whatever else was written of it."""
    key = key_of(node)
    credential = None if key is None else get(key)
    revoked = credential is not None and credential.get("enabled", True) is not True
    return "disabled" if revoked else str(node.get("status", "offline"))


def why_refused(get: Get, node_id: str) -> str:
    """``why_disabled`` of a node by its id; one that is not known may not speak either."""
    node = get(node_document_id(node_id))
    return f"the node {node_id} is not known here" if node is None else _why(get, node)


def enabled_node(get: Get, node_id: str) -> Mapping[str, Any] | None:
    """The document of a node that may speak; None for any other."""
    node = get(node_document_id(node_id))
    return None if node is None or _why(get, node) else node


def _why(get: Get, node: Mapping[str, Any]) -> str:
    key = key_of(node)
    return why_disabled(node, None if key is None else get(key))
