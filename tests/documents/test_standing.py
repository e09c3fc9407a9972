"""Protects against machines that were revoked: whoever lets a node in asks the same, and gets the same answer."""

from __future__ import annotations

from typing import Any

import pytest

from mosaicfs_core.documents.standing import enabled_node, key_of, why_disabled, why_refused

NODE = "node-laptop-aaaa"
KEY = "MOSAICFS_0123456789abcdef"
CREDENTIAL: dict[str, Any] = {"_id": f"credential::{KEY}", "enabled": True, "node_id": NODE}


def node(**fields: Any) -> dict[str, Any]:
    return {"_id": f"node::{NODE}", "node_id": NODE, "status": "online", "access_key_id": KEY, **fields}


@pytest.mark.parametrize(
    ("document", "credential", "why"),
    [
        (node(), CREDENTIAL, ""),
        (node(status="offline"), CREDENTIAL, ""),
        (node(access_key_id=None), None, ""),
        (node(status="disabled"), CREDENTIAL, "the node"),
        (node(status="disabled", access_key_id=None), None, "the node"),
        (node(node_kind="federated_peer"), CREDENTIAL, "the node"),
        (node(), None, "access key"),
        (node(), {**CREDENTIAL, "enabled": False}, "access key"),
        (node(), {**CREDENTIAL, "enabled": "yes"}, "access key"),
        (node(), {**CREDENTIAL, "node_id": "node-other-aaaa"}, "access key"),
        (node(), {"_id": CREDENTIAL["_id"], "enabled": True}, "access key"),
    ],
)
def test_a_node_speaks_while_neither_it_nor_its_key_was_disabled(
    document: dict[str, Any], credential: dict[str, Any] | None, why: str
) -> None:
    reason = why_disabled(document, credential)
    assert (why in reason) if why else reason == ""
    documents = {one["_id"]: one for one in (document, credential) if one is not None}
    assert why_refused(documents.get, NODE) == reason
    assert enabled_node(documents.get, NODE) == (None if why else document)


def test_a_node_that_is_not_known_does_not_speak() -> None:
    assert "not known" in why_refused({}.get, NODE)
    assert enabled_node({}.get, NODE) is None


def test_the_key_of_a_node_is_the_one_it_was_enrolled_with() -> None:
    assert key_of(node()) == CREDENTIAL["_id"]
    assert key_of({"node_id": NODE}) is None
