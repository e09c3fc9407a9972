"""Network mounts of a node through the API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mosaicfs_core.documents import ids

REMOTE = "node-nas-aaaa"
GOOD = {
    "remote_node_id": REMOTE,
    "remote_base_export_path": "/volume1/films/",
    "local_mount_path": "/mnt/films",
    "mount_type": "nfs",
}


async def body_of(answer: Any) -> Any:
    return json.loads(await answer.get_data())


@pytest.fixture
async def base(instance: Any) -> str:
    """The address of this node's mounts; there is another node."""
    document = {"type": "node", "node_id": REMOTE, "friendly_name": "NAS", "status": "online"}
    await instance.harness.store.put({"_id": ids.node_document_id(REMOTE), **document})
    return f"/api/nodes/{instance.node_id}/mounts"


async def test_a_mount_from_first_to_last(instance: Any, base: str) -> None:
    made = await instance.ask("POST", base, json=GOOD)
    assert made.status_code == 201
    mount = await body_of(made)
    assert mount == {**GOOD, "id": mount["id"], "remote_base_export_path": "/volume1/films", "priority": 0}
    assert (await body_of(await instance.ask("GET", base)))["items"] == [mount]
    assert (await instance.ask("POST", base, json=GOOD)).status_code == 409
    changed = await instance.ask("PATCH", f"{base}/{mount['id']}", json={"priority": 5, "local_mount_path": "/mnt/f"})
    assert await body_of(changed) == {**mount, "priority": 5, "local_mount_path": "/mnt/f"}
    stale = {"If-Match": made.headers["ETag"]}
    assert (await instance.ask("DELETE", f"{base}/{mount['id']}", headers=stale)).status_code == 412
    stored = await instance.harness.store.get(ids.node_document_id(instance.node_id))
    assert stored["control_version"] == 2
    assert stored["network_mounts"][0]["mount_id"] == mount["id"]
    await instance.ask("PATCH", f"{base}/{mount['id']}", json={"priority": 5})
    assert await body_of(await instance.ask("DELETE", f"{base}/{mount['id']}")) == {"removed": mount["id"]}
    assert (await instance.ask("DELETE", f"{base}/{mount['id']}")).status_code == 404
    assert (await instance.ask("PATCH", f"{base}/{mount['id']}", json={"priority": 1})).status_code == 404
    assert (await body_of(await instance.ask("GET", base)))["total"] == 0
    assert (await instance.harness.store.get(ids.node_document_id(instance.node_id)))["control_version"] == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"remote_node_id": "node-nobody-aaaa"}, "remote_node_id"),
        ({"remote_node_id": "*"}, "remote_node_id"),
        ({"remote_base_export_path": "relative"}, "remote_base_export_path"),
        ({"remote_base_export_path": "/a/../b"}, "remote_base_export_path"),
        ({"local_mount_path": "/a/../b"}, "local_mount_path"),
        ({"mount_type": "Floppy Disk"}, "mount_type"),
        ({"priority": "high"}, "priority"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_wrong_is_named(instance: Any, base: str, change: dict[str, Any], field: str) -> None:
    answer = await instance.ask("POST", base, json={**GOOD, **change})
    assert answer.status_code == 400
    assert (await body_of(answer))["error"]["details"]["field"] == field


async def test_a_node_has_no_mount_of_itself(instance: Any, base: str) -> None:
    answer = await instance.ask("POST", base, json={**GOOD, "remote_node_id": instance.node_id})
    assert answer.status_code == 400
    assert (await instance.ask("POST", "/api/nodes/node-x-aaaa/mounts", json=GOOD)).status_code == 404
