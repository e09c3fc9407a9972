"""Disabling access keys and nodes, now and again after this control plane was set back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mosaicfs_core.documents import type_of_id
from mosaicfs_core.documents.standing import number_of
from mosaicfs_core.security import revocations
from mosaicfs_core.server.state import ServerState

logger = logging.getLogger(__name__)


def disabled(document: Mapping[str, Any], revocation: Mapping[str, Any]) -> dict[str, Any]:
    """A ``credential`` or ``node`` document that is disabled. Pure."""
    if type_of_id(document["_id"]) == "credential":
        return {**document, "enabled": False, "revocation": revocation}
    version = document.get("control_version", 0) + 1
    return {**document, "status": "disabled", "control_version": version, "revocation": revocation}


def still_holds(credential: Mapping[str, Any] | None, revocations: int | None) -> bool:
    """Whether a key opens what it opened when it had been disabled so many times (None: not remembered): not if it was
    disabled since, here or at another control plane, even if it is enabled again. Pure."""
    if credential is None or credential.get("enabled", True) is not True:
        return False
    return revocations is None or number_of(credential) <= revocations


async def take_back(server: ServerState, document_id: str, number: int, proof: str) -> bool:
    """Disable again what a node remembers as disabled and this control plane does not; whether it did.

    Nothing is done for a proof that does not hold, or that is of a revocation known here, taken back or not.
    """
    if type_of_id(document_id) not in ("credential", "node"):
        return False
    if not revocations.holds(server.revocation_key, document_id, number, proof):
        logger.warning("a revocation of %s is not of this control plane", document_id, extra={"operation": "revoke"})
        return False
    changed = False

    def apply(document: dict[str, Any] | None) -> dict[str, Any] | None:
        nonlocal changed
        changed = document is not None and number_of(document) < number
        return disabled(document, {"number": number, "proof": proof}) if document is not None and changed else None

    document = await server.core.store.update(document_id, apply)
    if changed and document is not None:
        if access_key_id := document.get("access_key_id") if type_of_id(document_id) == "credential" else None:
            await server.sessions.end_all_of(access_key_id)
        logger.warning(
            "%s was disabled before this control plane was restored, and is disabled again",
            document_id,
            extra={"operation": "revoke"},
        )
    return changed
