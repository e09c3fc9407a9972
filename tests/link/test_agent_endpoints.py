"""``/api/agent``: what an enrolled node may tell the control plane, and that nobody else may."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import pytest

from mosaicfs_core.documents import ids, times

NODE = "node-laptop-aaaa"
OTHER = "node-desktop-bbbb"


def file_of(node_id: str, path: str, **fields: Any) -> dict[str, Any]:
    """A file's document."""
    identifier = ids.file_document_id(node_id, ids.first_file_uuid(node_id, path))
    parent, _, name = path.rpartition("/")
    return {
        "_id": identifier,
        "type": "file",
        "inode": ids.derived_inode(identifier),
        "name": name,
        "source": {"node_id": node_id, "export_path": path, "export_parent": parent or "/"},
        "size": 1,
        "mtime": times.format_time(0),
        "status": "active",
        **fields,
    }


async def tell(plane: Any, what: str, body: Any, node_id: str = NODE) -> tuple[int, Any]:
    """A request of a node."""
    requests = plane.requests(node_id)
    headers = {"Content-Type": "application/json"}
    try:
        async with requests.request(
            "POST", f"/api/agent/{what}", body=msgspec.json.encode(body), headers=headers
        ) as answer:
            return answer.status, await answer.json()
    finally:
        await requests.close()


@pytest.mark.parametrize("what", ["heartbeat", "files/bulk", "status", "utilization", "relay/x?at=0"])
async def test_only_a_node_is_heard(control_plane: Any, what: str) -> None:
    body: Any = {"documents": [{}]} if what == "files/bulk" else {"overall": "healthy"} if what == "status" else {}
    status, answer = await control_plane.ask("POST", f"/api/agent/{what}", body)
    assert (status, answer["error"]["code"]) == (403, "not_allowed")


async def test_a_heartbeat_makes_a_node_online_and_writes_nothing_else(control_plane: Any) -> None:
    assert (await tell(control_plane, "heartbeat", {}))[0] == 200
    assert await control_plane.status_of(NODE) == "online"
    before = control_plane.store.reader.seq()
    for _ in range(5):
        status, answer = await tell(control_plane, "heartbeat", {"overall": "healthy"})
        assert (status, answer["node_id"]) == (200, NODE)
    assert control_plane.store.reader.seq() == before
    _, shown = await control_plane.ask("GET", f"/api/nodes/{NODE}/status")
    assert (shown["status"], shown["connected"]) == ("online", False)
    assert shown["last_heard"] <= answer["time"]


async def test_files_are_written_each_for_itself(control_plane: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    good, bad = file_of(NODE, "/a/good"), file_of(NODE, "/a/bad", size=-1)
    foreign = file_of(OTHER, "/a/x")
    disguised = {**file_of(OTHER, "/a/y"), "source": file_of(NODE, "/a/y")["source"]}
    buried = {"_id": file_of(OTHER, "/a/z")["_id"], "type": "file", "_deleted": True, "source": {"node_id": NODE}}
    credential = {"_id": "credential::MOSAICFS_0000000000000000", "type": "credential"}
    given = [good, bad, foreign, disguised, buried, credential, {"type": "file"}, {**good, "size": 2}]
    status, answer = await tell(control_plane, "files/bulk", {"documents": given})
    assert status == 200
    assert [one.get("error") for one in answer["results"]] == [
        None,
        "invalid_document",
        "not_allowed",
        "not_allowed",
        "not_allowed",
        "not_allowed",
        "invalid_document",
        answer["results"][7].get("error"),
    ]
    assert answer["results"][7]["error"] in ("conflict", "stale")
    assert (answer["written"], answer["refused"]) == (1, 7)
    assert "size" in answer["results"][1]["reason"]
    (line,) = [message for message in caplog.messages if "may not write" in message]
    assert line.startswith(f"{NODE} may not write {bad['_id']} (")
    assert line.endswith(", and 5 more")
    stored = await control_plane.store.get(good["_id"])
    assert stored["size"] == 1
    again = {**good, "size": 3, "_rev": answer["results"][0]["version"]}
    assert (await tell(control_plane, "files/bulk", {"documents": [again]}))[1]["written"] == 1
    assert (await control_plane.store.get(good["_id"]))["size"] == 3
    for wrong in ({}, {"documents": []}, {"documents": [1]}, {"documents": [{}] * 1001}, {"docs": []}):
        assert (await tell(control_plane, "files/bulk", wrong))[0] == 400


@pytest.mark.parametrize("inode", [1, 999, 123_456_789, None])
async def test_the_inode_of_another_file_or_of_a_directory_is_refused(control_plane: Any, inode: int | None) -> None:
    chosen = {**file_of(NODE, "/a/chosen"), "inode": inode}
    _, answer = await tell(control_plane, "files/bulk", {"documents": [chosen, file_of(NODE, "/a/good")]})
    assert [one.get("error") for one in answer["results"]] == ["not_allowed", None]
    assert answer["results"][0]["reason"].startswith("inode:")
    assert await control_plane.store.get(chosen["_id"]) is None


async def test_status_and_utilization_are_kept_under_the_nodes_own_name(control_plane: Any) -> None:
    report = {"overall": "degraded", "subsystems": {"crawler": {"status": "degraded", "detail": "a disk is missing"}}}
    assert (await tell(control_plane, "status", report))[0] == 200
    _, shown = await control_plane.ask("GET", f"/api/nodes/{NODE}/status")
    assert shown["overall"] == "degraded"
    assert shown["subsystems"]["crawler"]["detail"] == "a disk is missing"
    filesystem = {"filesystem_id": "f", "mount_point": "/", "used_bytes": 5, "available_bytes": 6}
    moment = "2026-01-02T03:04:05.000000Z"
    for used in (5, 7):
        body = {"captured_at": moment, "filesystems": [{**filesystem, "used_bytes": used}]}
        assert (await tell(control_plane, "utilization", body))[0] == 200
    (kept,) = await control_plane.store.read(lambda reader: reader.documents_of("utilization_snapshot"))
    assert kept["_id"] == f"utilization::{NODE}::2026-01-02T03:00:00Z"
    assert kept["filesystems"][0]["used_bytes"] == 7
    assert (await tell(control_plane, "utilization", {}))[0] == 200
    for wrong in ({"overall": "well"}, {}, {"overall": "healthy", "node_id": OTHER}):
        assert (await tell(control_plane, "status", wrong))[0] == 400
    for wrong in ({"captured_at": "yesterday"}, {"filesystems": [{"filesystem_id": ""}]}, {"node_id": OTHER}):
        status, answer = await tell(control_plane, "utilization", wrong)
        assert status == 400
        assert answer["error"]["details"]["field"].startswith(next(iter(wrong)))
