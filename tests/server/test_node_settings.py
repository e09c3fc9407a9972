"""The settings of a node itself: the reserved instance ``agent``, for any node, and what an agent makes of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mosaicfs_core.config import Config
from mosaicfs_core.documents import ids
from mosaicfs_core.plugins.node_settings import RESERVED, NodeSettings, effective, empty_document

OTHER = "node-nas-aaaa"


async def body_of(answer: Any) -> Any:
    return json.loads(await answer.get_data())


@pytest.fixture
async def other(instance: Any) -> str:
    """The address of another node's own settings."""
    document = {"type": "node", "node_id": OTHER, "friendly_name": "NAS", "status": "online"}
    await instance.harness.store.put({"_id": ids.node_document_id(OTHER), **document})
    return f"/api/nodes/{OTHER}/plugins/{RESERVED}"


async def test_they_can_be_read_before_anything_is_set(instance: Any, other: str) -> None:
    first = await instance.ask("GET", other)
    body = await body_of(first)
    assert (body["id"], body["settings"]) == (RESERVED, {})
    assert "nightly_crawl" in body["settings_schema"]["properties"]
    listed = await body_of(await instance.ask("GET", f"/api/nodes/{OTHER}/plugins"))
    assert [one["id"] for one in listed["items"]] == [RESERVED]
    assert await instance.harness.store.get(ids.plugin_document_id(OTHER, RESERVED)) is None
    headers = {"If-Match": first.headers["ETag"]}
    changed = await instance.ask("PATCH", other, json={"settings": {"log_level": "debug"}}, headers=headers)
    assert (await body_of(changed))["settings"] == {"log_level": "debug"}
    again = await instance.ask("PATCH", other, json={"settings": {"log_level": "info"}}, headers=headers)
    assert again.status_code == 412
    merged = await instance.ask("PATCH", other, json={"settings": {"snapshot_days": 7, "log_level": None}})
    assert (await body_of(merged))["settings"] == {"snapshot_days": 7}
    assert (await body_of(await instance.ask("DELETE", other))) == {"removed": RESERVED}
    assert (await body_of(await instance.ask("GET", other)))["settings"] == {}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"log_level": "loud"}, "log_level"),
        ({"nightly_crawl": "25:00"}, "nightly_crawl"),
        ({"cache_max_bytes": -1}, "cache_max_bytes"),
        ({"cache_max_bytes": "10 GB"}, "cache_max_bytes"),
        ({"snapshot_days": 0}, "snapshot_days"),
        ({"paths": ["/"]}, "paths"),
    ],
)
async def test_what_is_wrong_is_refused_by_field(
    instance: Any, other: str, settings: dict[str, Any], field: str
) -> None:
    answer = await instance.ask("PATCH", other, json={"settings": settings})
    assert answer.status_code == 400
    assert (await body_of(answer))["error"]["details"]["field"] == f"settings.{field}"


async def test_it_is_no_instance_like_others(instance: Any, other: str) -> None:
    assert (await instance.ask("PATCH", other, json={"enabled": False})).status_code == 400
    base = f"/api/nodes/{OTHER}/plugins"
    for body in ({"plugin_name": RESERVED}, {"plugin_name": "x", "package": RESERVED}):
        assert (await instance.ask("POST", base, json=body)).status_code == 400
    assert (await instance.ask("GET", f"/api/nodes/node-x-aaaa/plugins/{RESERVED}")).status_code == 404
    assert (await instance.ask("PATCH", f"/api/nodes/node-x-aaaa/plugins/{RESERVED}", json={})).status_code == 404


def test_what_is_wrong_in_a_document_leaves_the_rest_in_force() -> None:
    document = {**empty_document(OTHER), "settings": {"snapshot_days": "many", "nightly_crawl": "04:30", "new": 1}}
    found, wrong = effective(Config(), document)
    assert (found.nightly_crawl, found.snapshot_days) == ("04:30", NodeSettings().snapshot_days)
    assert {error.field for error in wrong} == {"snapshot_days", "new"}
    assert effective(Config(), None) == (NodeSettings(), [])


async def test_a_change_takes_effect_while_the_node_runs(instance: Any) -> None:
    core = instance.harness.core
    seen: asyncio.Queue[NodeSettings] = asyncio.Queue()
    core.settings.apply.append(seen.put_nowait)
    running = asyncio.create_task(core.settings.run())
    address = f"/api/nodes/{instance.node_id}/plugins/{RESERVED}"
    async with asyncio.timeout(10):
        assert (await seen.get()).cache_max_bytes == 10_000_000_000
        await instance.ask("PATCH", address, json={"settings": {"cache_max_bytes": 5}})
        assert (await seen.get()).cache_max_bytes == 5
        await instance.ask("DELETE", address)
        assert (await seen.get()).cache_max_bytes == 10_000_000_000
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
