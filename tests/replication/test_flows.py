"""Protects every machine from a compromised one: what a node may write, and what leaves the control plane for whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.errors import InvalidDocument, NotAllowed
from mosaicfs_core.replication import descriptions, flows
from mosaicfs_core.replication.flows import Access
from mosaicfs_core.store.selector import compile_selector

NODE = "node-laptop-7f3a"
OTHER = "node-desktop-b2c4"
KEY = "MOSAICFS_0123456789abcdef"
TIME = "2026-02-16T09:22:00.000000Z"
PATH = "/home/user/report.pdf"

OWN = {
    "file": f"file::{NODE}::5c1e0000-0000-5000-8000-000000000000",
    "agent_status": d.status_document_id(NODE),
    "utilization_snapshot": d.utilization_document_id(NODE, TIME),
    "annotation": d.annotation_id(NODE, PATH, "ocr"),
    "annotation of another's file": d.annotation_id(OTHER, PATH, "ocr", NODE),
    "notification": d.notification_document_id(NODE, "disk_full:/home::x"),
    "label_assignment": d.label_assignment_id(NODE, PATH),
}
NOT_OWN = {
    "file": f"file::{OTHER}::5c1e0000-0000-5000-8000-000000000000",
    "agent_status": d.status_document_id(OTHER),
    "utilization_snapshot": d.utilization_document_id(OTHER, TIME),
    "annotation": d.annotation_id(OTHER, PATH, "ocr"),
    "another's annotation of our file": d.annotation_id(NODE, PATH, "ocr", OTHER),
    "notification": d.notification_document_id(OTHER, "disk_full"),
    "the control plane's notification": d.notification_document_id("control-plane", "disk_full"),
    "label_assignment": d.label_assignment_id(OTHER, PATH),
    "node": d.node_document_id(OTHER),
    "virtual_directory": d.directory_document_id("/x"),
    "root": "dir::root",
    "credential": d.credential_document_id(KEY),
    "label_rule": d.label_rule_id("5c1e0000-0000-5000-8000-000000000000"),
    "plugin": d.plugin_document_id(OTHER, "localfs"),
    "its plugin": d.plugin_document_id(NODE, "localfs"),
    "design": "_design/validate",
    "unknown": "thing::x",
    "no id": "",
    "prefix alone": "file",
}
CLAIMS: tuple[dict[str, Any], ...] = (
    {},
    {"node_id": NODE},
    {"annotated_by": NODE},
    {"source": {"node_id": NODE}},
    {"type": "file", "source": {"node_id": NODE}},
    {"type": "annotation", "annotated_by": NODE},
    {"type": "agent_status", "node_id": NODE},
    {"type": "notification", "source": {"node_id": NODE}},
    {"type": "label_assignment", "node_id": NODE},
    {"type": "node", "node_id": NODE},
    {"type": None},
    {"type": 7},
    {"type": []},
    {"node_id": []},
    {"source": [], "annotated_by": {}},
)


def names(cases: dict[str, str]) -> dict[str, Any]:
    return {"argvalues": list(cases.values()), "ids": list(cases)}


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("document_id", **names(OWN))
def test_a_node_writes_its_own(document_id: str, deleted: bool) -> None:
    document = {"_id": document_id, "type": d.type_of_id(document_id), "_deleted": deleted}
    assert Access.for_node(NODE).refusal(document) is None
    assert Access.for_node(OTHER).refusal(document)
    assert flows.owned_by(NODE)(document)
    bare = {"_id": document_id, "_deleted": True}
    assert Access.for_node(NODE).refusal(bare) is None


@pytest.mark.parametrize("document_id", **names(NOT_OWN))
@pytest.mark.parametrize("deleted", [False, True])
def test_a_node_writes_nothing_else_whatever_it_claims(document_id: str, deleted: bool) -> None:
    for claim in CLAIMS:
        document = {"_id": document_id, "_deleted": deleted, **claim}
        assert Access.for_node(NODE).refusal(document), claim
        assert not flows.owned_by(NODE)(document)


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("file", {"source": {"node_id": OTHER}}),
        ("agent_status", {"node_id": OTHER}),
        ("utilization_snapshot", {"node_id": OTHER}),
        ("annotation", {"annotated_by": OTHER}),
        ("annotation of another's file", {"annotated_by": OTHER}),
        ("notification", {"source": {"node_id": OTHER}}),
        ("label_assignment", {"node_id": OTHER}),
        *[(name, {"type": "credential"}) for name in OWN],
    ],
)
def test_nor_its_own_in_anothers_name(name: str, claim: dict[str, Any]) -> None:
    assert not flows.owned_by(NODE)({"_id": OWN[name], **claim})


def node_document(**fields: Any) -> dict[str, Any]:
    return {
        "_id": d.node_document_id(NODE),
        "type": "node",
        "node_id": NODE,
        "friendly_name": "Laptop",
        "public_key": "mine",
        "status": "online",
        "control_version": 3,
        **fields,
    }


REV = f"3-{'a' * 32}"
SENT = {"_rev": REV, "_revisions": {"start": 3, "ids": ["a" * 32, "b" * 32]}}


@pytest.mark.parametrize(
    "claim",
    [
        {"friendly_name": "Mine now"},
        {"friendly_name": "Laptop of old", "control_version": 2},
        {"status": "disabled", "control_version": 4},
        {"control_version": True},
        {"control_version": 3.0, "role": "control-plane"},
        {"network_mounts": [{"mount_id": "x"}]},
        {"public_key": "another", "access_key_id": KEY, "node_kind": "cloud_bridge", "bridge_type": "x"},
        {"added_by_a_newer_version": "and trusted there"},
        {"node_id": NODE, "type": "node"},
    ],
)
def test_of_its_own_document_a_node_writes_what_it_says_of_itself_alone(claim: dict[str, Any]) -> None:
    stored = node_document(_rev="2-x", platform="old", vfs_backend="gone")
    sent = {**node_document(), "platform": "linux", "agent_version": 9, **claim, **SENT}
    kept = descriptions.taken(sent, [stored], replicated=True)
    body = {key: value for key, value in kept.items() if not key.startswith("_")}
    assert json.dumps(body, sort_keys=True) == json.dumps(
        {**body_of(node_document()), "platform": "linux", "agent_version": 9}, sort_keys=True
    )
    unchanged = claim == {"node_id": NODE, "type": "node"}
    revisions = kept["_revisions"]
    # What differs from what was sent does not stand under the id that was sent: its sender must fetch it.
    assert (kept["_rev"] == REV) is unchanged
    if not unchanged:
        assert revisions["ids"][1:] == SENT["_revisions"]["ids"]
        assert kept["_rev"] == f"4-{revisions['ids'][0]}"
        assert descriptions.taken(sent, [stored], replicated=True) == kept
    edited = descriptions.taken({**sent, "_rev": "2-x"}, [stored], replicated=False)
    assert body_of(edited) == body
    assert edited["_rev"] == "2-x"


def body_of(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if not key.startswith("_")}


def test_what_the_control_plane_says_comes_from_the_furthest_leaf_that_is_understood() -> None:
    leaves = [
        node_document(control_version=99, storage=5),
        node_document(friendly_name="Won", control_version=3),
        node_document(status="disabled", control_version=5),
    ]
    kept = descriptions.taken({**node_document(), **SENT}, leaves, replicated=True)
    assert (kept["status"], kept["control_version"], kept["friendly_name"]) == ("disabled", 5, "Laptop")


def test_a_node_is_registered_first_and_describes_itself_soundly() -> None:
    with pytest.raises(NotAllowed, match="registered"):
        descriptions.taken({**node_document(), **SENT}, [], replicated=True)
    with pytest.raises(InvalidDocument, match="storage"):
        descriptions.taken({**node_document(storage=5), **SENT}, [node_document()], replicated=True)
    access = Access.for_node(NODE)
    assert access.describes_itself(node_document())
    assert access.refusal(node_document()) is None
    assert "does not own" in (access.refusal(node_document(_deleted=True)) or "")
    assert Access.for_node(OTHER).refusal(node_document())


@pytest.mark.parametrize("name", ["notification", "label_assignment", "node"])
def test_a_node_leaves_room_for_the_revisions_of_the_other_writer(name: str) -> None:
    document_id = d.node_document_id(NODE) if name == "node" else OWN[name]
    for start, refused in ((10**9, False), (10**9 + 1, True), (10**30, True)):
        document = {"_id": document_id, "type": name, "_revisions": {"start": start, "ids": ["a"]}}
        assert ("no room" in (Access.for_node(NODE).refusal(document) or "")) is refused
    assert "no room" in (Access.for_node(NODE).refusal({"_id": document_id, "_rev": f"{10**14}-a"}) or "")
    assert Access.for_node(NODE).refusal({"_id": document_id, "_rev": "nonsense"}) is None


def test_a_browser_writes_nothing_and_the_owner_everything() -> None:
    for document_id in [*OWN.values(), *NOT_OWN.values()]:
        assert Access.for_browser("user:x").refusal({"_id": document_id})
        assert Access.everything("local").refusal({"_id": document_id}) is None


def test_flows_cover_what_the_specification_lists() -> None:
    node, browser = Access.for_node(NODE), Access.for_browser("user:x")
    sent = {
        "file": (True, False),
        "virtual_directory": (True, True),
        "node": (True, True),
        "credential": (True, False),
        "label_assignment": (True, True),
        "label_rule": (True, True),
        "annotation": (True, False),
        "notification": (True, True),
        "agent_status": (False, True),
        "utilization_snapshot": (False, False),
    }
    for name, (to_node, to_browser) in sent.items():
        assert node.covers(NOT_OWN[name]) is to_node, name
        assert browser.covers(NOT_OWN[name]) is to_browser, name
    assert node.covers(NOT_OWN["its plugin"])
    assert not node.covers(NOT_OWN["plugin"])
    assert browser.covers(NOT_OWN["plugin"])
    for name in ("design", "unknown", "no id"):
        assert not node.covers(NOT_OWN[name])
        assert not browser.covers(NOT_OWN[name])
    # So that a rebuilt machine goes on from where it was.
    assert node.covers(OWN["agent_status"])
    assert node.covers(OWN["utilization_snapshot"])


@pytest.mark.parametrize("document_id", [*OWN.values(), *NOT_OWN.values()])
def test_the_selector_says_the_same(document_id: str) -> None:
    for document in ({"_id": document_id}, {"_id": document_id, "_deleted": True}):
        of_node = compile_selector(flows.selector_of_node(NODE))(document)
        if "::" in document_id:
            assert of_node is Access.for_node(NODE).covers(document_id)


CREDENTIAL = {
    "_id": d.credential_document_id(KEY),
    "_rev": "2-b",
    "_revisions": {"start": 2, "ids": ["b", "a"]},
    "type": "credential",
    "access_key_id": KEY,
    "secret_key_hash": "hash",
    "signing_key": "wrapped",
    "name": "laptop",
    "kind": "user",
    "enabled": True,
    "created_at": TIME,
    "added_by_a_newer_version": "secret too",
}


def test_a_disabled_credential_travels_as_a_stub_that_says_so() -> None:
    access = Access.for_node(NODE)
    assert access.shown(CREDENTIAL) == CREDENTIAL
    for enabled in (False, None, 0, "yes"):
        stub = access.shown({**CREDENTIAL, "enabled": enabled})
        assert stub is not None
        assert stub["enabled"] is False
        assert stub["_rev"] == "2-b"
        assert stub["_revisions"] == CREDENTIAL["_revisions"]
        assert not {"hash", "wrapped", "secret too"} & {str(value) for value in stub.values()}
        d.validate(stub)
    tombstone = access.shown({**CREDENTIAL, "_deleted": True})
    assert tombstone is not None
    assert not {"secret_key_hash", "signing_key", "added_by_a_newer_version"} & tombstone.keys()
    assert Access.for_browser("user:x").shown(CREDENTIAL) is None


PLUGIN = {
    "_id": d.plugin_document_id(NODE, "mailbox"),
    "_rev": "1-a",
    "type": "plugin",
    "node_id": NODE,
    "plugin_name": "mailbox",
    "name": "Mailbox",
    "config": {"host": "mail.example", "nested": [{"token": "t"}]},
    "settings": {"password": "secret", "port": 993, "empty": "", "none": None},
    "created_at": TIME,
}


def test_secrets_of_plugins_go_to_their_node_alone() -> None:
    assert Access.for_node(NODE).shown(PLUGIN) == PLUGIN
    assert Access.for_node(OTHER).shown(PLUGIN) is None
    shown = Access.for_browser("user:x").shown(PLUGIN)
    assert shown is not None
    assert shown["settings"] == {"password": {"set": True}, "port": 993, "empty": "", "none": None}
    assert shown["config"] == {"host": {"set": True}, "nested": [{"token": {"set": True}}]}
    tombstone = Access.for_browser("user:x").shown({**PLUGIN, "_deleted": True})
    assert tombstone == {
        "_id": PLUGIN["_id"],
        "_rev": "1-a",
        "_deleted": True,
        "type": "plugin",
        "node_id": NODE,
        "plugin_name": "mailbox",
    }


@pytest.mark.parametrize(
    ("access", "document"),
    [
        (Access.for_node(NODE), {**PLUGIN, "node_id": OTHER}),
        (Access.for_node(NODE), {**PLUGIN, "type": "credential"}),
        (Access.for_node(NODE), {**PLUGIN, "type": "credential", "_deleted": True}),
        (Access.for_node(NODE), {**CREDENTIAL, "_id": "dir::root"}),
        (Access.for_browser("user:x"), {**CREDENTIAL, "_id": "dir::root"}),
        (Access.for_browser("user:x"), {**CREDENTIAL, "_id": "dir::root", "type": "virtual_directory"}),
        (Access.for_browser("user:x"), {**PLUGIN, "settings": ["secret"]}),
        (Access.for_browser("user:x"), {**PLUGIN, "type": None}),
    ],
)
def test_what_has_left_a_flow_arrives_as_a_removal_at_its_own_revision(
    access: Access, document: dict[str, Any]
) -> None:
    shown = access.shown(document)
    assert shown is not None
    kept = {key: document[key] for key in ("_id", "_rev", "_revisions") if key in document}
    assert shown == {**kept, "_deleted": True, "type": d.type_of_id(document["_id"])}
    d.validate(shown)
