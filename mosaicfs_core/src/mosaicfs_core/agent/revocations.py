"""Revocations that this machine remembers and its control plane, restored from a backup, may not."""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from mosaicfs_core.agent.asked import asked
from mosaicfs_core.documents.standing import number_of
from mosaicfs_core.errors import NotFound, UserError
from mosaicfs_core.security.requests import Requests
from mosaicfs_core.store import Reader, Store

logger = logging.getLogger(__name__)

TOGETHER: Final = 1000


class _Key(msgspec.Struct):
    access_key_id: str
    revocations: int = 0


class _Known(msgspec.Struct):
    """What the control plane knows: how many times each key and node was disabled."""

    items: list[_Key]
    nodes: dict[str, int] = {}

    def numbers(self) -> dict[str, int]:
        """By document id."""
        keys = {f"credential::{key.access_key_id}": key.revocations for key in self.items}
        return keys | {f"node::{node_id}": number for node_id, number in self.nodes.items()}


async def bring_back(store: Store, requests: Requests) -> None:
    """Tell the control plane of what it has forgotten to have disabled, before its state is taken over here. Raises
    ``Unavailable`` when it cannot be reached."""
    remembered = await store.read(_disabled)
    if not remembered:
        return
    try:
        known = await asked(requests, "GET", "/api/agent/credentials")
        there = msgspec.json.decode(known, type=_Known).numbers()
    except msgspec.MsgspecError as error:
        raise UserError(f"what answers there is no control plane: {error}") from None
    except NotFound:
        logger.info("the control plane is of a version that takes no revocations back")
        return
    lost = [one for one in remembered if there.get(one["id"], 0) < one["number"]]
    for start in range(0, len(lost), TOGETHER):
        body = msgspec.json.encode({"items": lost[start : start + TOGETHER]})
        await asked(requests, "POST", "/api/agent/revocations", body)


def _disabled(reader: Reader) -> list[dict[str, Any]]:
    """The revocations that hold here, as the control plane takes them."""
    keys = [document for document in reader.documents_of("credential") if document.get("enabled", True) is not True]
    nodes = [document for document in reader.documents_of("node") if document.get("status") == "disabled"]
    return [
        {"id": document["_id"], **document["revocation"]} for document in (*keys, *nodes) if number_of(document) > 0
    ]
