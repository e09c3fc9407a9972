"""Protects every machine from a stolen one: what a node's key, a page's session and a hub may do over the protocol."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

import pytest

NODES_OWN = ("file", "agent_status", "utilization_snapshot", "label_assignment", "annotation", "notification")
OTHERS = ("virtual_directory", "credential", "label_rule", "plugin")


def later(document: dict[str, Any], rev: str, **fields: Any) -> dict[str, Any]:
    """A revision that follows the stored first one."""
    digest = "f" * 32
    return {**document, **fields, "_rev": f"2-{digest}", "_revisions": {"start": 2, "ids": [digest, rev[2:]]}}


async def test_a_node_writes_what_it_owns_and_the_rest_of_the_batch_stands(
    couch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await couch.fill()
    mine, theirs = couch.documents(couch.node), couch.documents(couch.other)
    batch, allowed = [], set()
    for name in (*NODES_OWN, *OTHERS):
        for documents in (mine, theirs):
            stored = await couch.store.get(documents[name]["_id"])
            batch.append(later(documents[name], stored["_rev"]))
            if documents is mine and name in NODES_OWN:
                allowed.add(documents[name]["_id"])
    answer = await couch.post("/_bulk_docs", {"docs": batch, "new_edits": False}, "node")
    assert answer.status == 201
    refused = {row["id"]: row for row in answer.json}
    assert refused.keys() == {document["_id"] for document in batch} - allowed
    for row in refused.values():
        assert row["error"] == "forbidden"
        assert couch.node in row["reason"]
    for document in batch:
        stored = await couch.store.get(document["_id"])
        assert (stored["_rev"] == document["_rev"]) is (document["_id"] in allowed), document["_id"]
    # Whoever looks for what was refused finds one line for the batch.
    (line,) = [message for message in caplog.messages if "may not write" in message]
    first = next(document["_id"] for document in batch if document["_id"] not in allowed)
    assert line.startswith(f"{couch.node} may not write {first} (")
    assert line.endswith(f", and {len(refused) - 1:,} more")


async def test_a_node_does_not_choose_the_inodes_of_its_files(couch: Any) -> None:
    """With another's, or a directory's, mounts would take its file for that one."""
    await couch.fill()
    file, victim = couch.documents(couch.node)["file"], couch.documents(couch.other)["file"]
    stored = await couch.store.get(file["_id"])
    for inode in (1, 2, 999, victim["inode"], file["inode"] - 1, file["inode"] + 16, None, "1"):
        told = later({**file, "inode": inode}, stored["_rev"])
        (row,) = (await couch.post("/_bulk_docs", {"docs": [told], "new_edits": False}, "node")).json
        assert (row["error"], row["reason"][:6]) == ("forbidden", "inode:"), inode
    assert await couch.store.get(file["_id"]) == stored
    gave_way = later({**file, "inode": file["inode"] + 1}, stored["_rev"])
    assert (await couch.post("/_bulk_docs", {"docs": [gave_way], "new_edits": False}, "node")).json == []
    assert (await couch.store.get(file["_id"]))["inode"] == file["inode"] + 1


@pytest.mark.parametrize("kept", [True, False])
async def test_a_nodes_tombstones_reach_its_own_documents_alone(couch: Any, kept: bool) -> None:
    await couch.fill()
    mine, theirs = couch.documents(couch.node), couch.documents(couch.other)
    batch = []
    for name in (*NODES_OWN, *OTHERS, "node"):
        for documents in (mine, theirs):
            document = documents[name]
            stored = await couch.store.get(document["_id"])
            bare = {"_id": document["_id"]}
            claim = {"type": "annotation", "annotated_by": couch.node, "source": {"node_id": couch.node}}
            batch.append(later({**bare, **(claim if kept else {})}, stored["_rev"], _deleted=True))
    await couch.post("/_bulk_docs", {"docs": batch, "new_edits": False}, "node")
    gone = {document["_id"] for document in batch if await couch.store.get(document["_id"]) is None}
    own = {"annotation"} if kept else set(NODES_OWN)
    assert gone == {mine[name]["_id"] for name in own}


async def test_a_node_may_not_touch_the_control_planes_fields_of_its_own_document(couch: Any) -> None:
    await couch.fill()
    node = couch.documents(couch.node)["node"]
    stored = await couch.store.get(node["_id"])

    async def push(**fields: Any) -> Any:
        told = later(node, stored["_rev"], **fields)
        return (await couch.post("/_bulk_docs", {"docs": [told], "new_edits": False}, "node")).json

    for fields in ({"_deleted": True}, {"storage": 5}):
        (row,) = await push(**fields)
        assert row["error"] == "forbidden", fields
    assert await couch.store.get(node["_id"]) == stored
    hostile = {"public_key": "other", "status": "disabled", "control_version": 99, "unheard_of": True}
    assert await push(**hostile, platform="linux", agent_version=2) == []
    changed = {**stored, "platform": "linux", "agent_version": 2}
    assert await couch.store.get(node["_id"]) == {**changed, "_rev": (await couch.store.get(node["_id"]))["_rev"]}


async def test_single_writes_are_checked_alike(couch: Any) -> None:
    await couch.fill()
    mine, theirs = couch.documents(couch.node)["file"], couch.documents(couch.other)["file"]
    for document, status in ((mine, 201), (theirs, 403)):
        path = "/" + quote(document["_id"], safe="")
        rev = (await couch.store.get(document["_id"]))["_rev"]
        written = await couch.ask("PUT", path, "node", json={**document, "size": 7, "_rev": rev})
        assert written.status == status
        if status == 403:
            assert written.json["error"] == "forbidden"
        rev = (await couch.store.get(document["_id"]))["_rev"]
        deleted = await couch.ask("DELETE", path, "node", params={"rev": rev})
        assert deleted.status == (200 if status == 201 else 403)
        pushed = {**document, "_rev": "9-" + "f" * 32}
        params = {"new_edits": "false"}
        assert (await couch.ask("PUT", path, "node", json=pushed, params=params)).status == status
    created = await couch.post("", couch.documents(couch.node)["virtual_directory"], "node")
    assert created.status == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/_bulk_docs", {"docs": []}),
        ("POST", "/_bulk_docs", {"docs": [{"_id": "dir::root", "_rev": "1-a"}], "new_edits": False}),
        ("POST", "", {"_id": "dir::root"}),
        ("PUT", "", None),
        ("DELETE", "", None),
        ("PUT", "/dir::root", {"type": "virtual_directory"}),
        ("DELETE", "/dir::root", None),
        ("PUT", "/_local/checkpoint", {"last_seq": 1}),
        ("DELETE", "/_local/checkpoint", None),
    ],
)
async def test_a_page_writes_nothing(couch: Any, method: str, path: str, body: Any) -> None:
    before = couch.store.seq
    answer = await couch.ask(method, path, "user", **({} if body is None else {"json": body}))
    assert (answer.status, answer.json["error"]) == (403, "forbidden")
    assert couch.store.seq == before


async def test_a_hub_and_the_owner_of_the_home_write_everything(couch: Any) -> None:
    for who, node_id in (("hub", couch.node), ("local", couch.other)):
        documents = list(couch.documents(node_id).values())
        answer = await couch.post("/_bulk_docs", {"docs": documents}, who)
        assert all(row.get("ok") for row in answer.json), answer.json


async def test_what_a_node_owns_and_does_not_read_is_still_not_sent_twice(couch: Any) -> None:
    await couch.fill()
    asked, stored = {}, {}
    for node_id in (couch.node, couch.other):
        for name in ("agent_status", "plugin"):
            identifier = couch.documents(node_id)[name]["_id"]
            stored[identifier] = (await couch.store.get(identifier))["_rev"]
            asked[identifier] = [stored[identifier]]
    missing = (await couch.post("/_revs_diff", asked, "node")).json
    theirs = couch.documents(couch.other)
    assert missing.keys() == {theirs["agent_status"]["_id"], theirs["plugin"]["_id"]}


async def test_local_documents_are_each_callers_own(couch: Any) -> None:
    for who in ("node", "other", "hub", "local"):
        made = await couch.ask("PUT", "/_local/checkpoint", who, json={"who": who})
        assert (made.status, made.json["rev"]) == (201, "0-1")
    for who in ("node", "other", "hub", "local"):
        assert (await couch.get("/_local/checkpoint", who)).json["who"] == who
    assert (await couch.ask("DELETE", "/_local/checkpoint", "node", params={"rev": "0-1"})).status == 200
    assert (await couch.get("/_local/checkpoint", "other")).status == 200
    for name in (f"node:{couch.other}/checkpoint", f"../node:{couch.other}/checkpoint", "vfs-seeds"):
        assert (await couch.get("/_local/" + quote(name, safe=""), "node")).status == 404
    assert (await couch.get("/_local/checkpoint", "user")).status == 404


async def test_a_key_that_only_registers_replicates_nothing(couch: Any) -> None:
    for method, path in (("GET", ""), ("GET", "/_changes"), ("POST", "/_ensure_full_commit"), ("GET", "/db/nothing")):
        answer = await couch.ask(method, path, "agent")
        assert (answer.status, answer.json["error"]) == (403, "forbidden")


async def test_nobody_without_a_key_gets_in(couch: Any) -> None:
    for method, path in (("GET", ""), ("GET", "/_changes"), ("PUT", ""), ("GET", "/db"), ("GET", "/db/x/y")):
        answer = await couch.ask(method, path, None)
        assert (answer.status, answer.json["error"]) == (401, "unauthorized")
        assert "WWW-Authenticate" in answer.headers


async def test_an_invalid_document_is_kept_for_the_nodes_and_shown_to_no_page(couch: Any) -> None:
    rule = couch.documents(couch.node)["label_rule"]
    rev = await couch.store.put(rule)
    broken = later(rule, rev, labels="none")
    assert (await couch.post("/_bulk_docs", {"docs": [broken], "new_edits": False}, "hub")).json == []
    path = "/" + quote(rule["_id"], safe="")
    assert (await couch.get(path, "node")).json["labels"] == "none"
    assert (await couch.get(path, "user")).json == {"error": "not_found", "reason": "deleted"}
    (row,) = (await couch.get("/_changes", "user")).json["results"][-1:]
    assert (row["deleted"], row["changes"]) == (True, [{"rev": broken["_rev"]}])


async def test_a_node_that_is_not_known_here_is_told_so(couch: Any) -> None:
    answer = await couch.get("/_changes", "node")
    assert (answer.status, answer.json["error"]) == (403, "forbidden")
