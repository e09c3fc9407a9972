"""How full a node's disks were, as the API tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mosaicfs_core.documents import ids, times

NODE = "node-nas-aaaa"
HOUR = times.MICROS_PER_DAY // 24


def snapshot(node_id: str, hours_ago: int) -> dict[str, Any]:
    captured = times.format_time(times.now_micros() - hours_ago * HOUR)
    return {
        "_id": ids.utilization_document_id(node_id, captured),
        "type": "utilization_snapshot",
        "node_id": node_id,
        "captured_at": captured,
        "filesystems": [{"filesystem_id": "a", "mount_point": "/", "used_bytes": hours_ago, "available_bytes": 1}],
    }


@pytest.fixture
async def instance(instance: Any) -> Any:
    """An instance that knows of the node."""
    document = {"type": "node", "node_id": NODE, "friendly_name": "NAS", "status": "online"}
    await instance.harness.store.put({"_id": ids.node_document_id(NODE), **document})
    return instance


async def test_the_newest_first_and_no_older_than_asked(instance: Any) -> None:
    hours = (0, 1, 23, 25, 24 * 6, 24 * 8)
    await instance.harness.store.bulk([snapshot(NODE, one) for one in hours] + [snapshot("node-other-aaaa", 2)])

    async def used(query: str = "") -> list[int]:
        answer = await instance.ask("GET", f"/api/nodes/{NODE}/utilization{query}")
        assert answer.status_code == 200
        body = json.loads(await answer.get_data())
        assert body["total"] >= len(body["items"])
        assert all(set(one) == {"captured_at", "filesystems"} for one in body["items"])
        return [one["filesystems"][0]["used_bytes"] for one in body["items"]]

    assert await used() == [0, 1, 23, 25, 24 * 6]
    assert await used("?days=1") == [0, 1, 23]
    assert await used("?days=366") == list(hours)
    assert await used("?limit=2&offset=1") == [1, 23]


@pytest.mark.parametrize(
    ("path", "status"),
    [("node-none-aaaa/utilization", 404), (f"{NODE}/utilization?days=0", 400), (f"{NODE}/utilization?days=367", 400)],
)
async def test_what_is_refused(instance: Any, path: str, status: int) -> None:
    assert (await instance.ask("GET", f"/api/nodes/{path}")).status_code == status
