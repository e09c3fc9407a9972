"""Protects the switches of plugins that only serve: what is switched off or removed answers no more, and comes back."""

from __future__ import annotations

from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_core.plugins.instances import Instances

ASKED = {"search": "search?q=x", "labels": "labels"}


@pytest.fixture
async def plugins(server: Any) -> str:
    """The address of this node's plugins, of which there is the default instance of each."""
    await server.store.put(
        {
            "_id": d.node_document_id(server.node_id),
            "type": "node",
            "node_id": server.node_id,
            "friendly_name": "Test machine",
            "status": "online",
        }
    )
    await Instances(server.core).ensure_defaults()
    return f"nodes/{server.node_id}/plugins"


@pytest.mark.parametrize("plugin", ["search", "labels"])
async def test_a_plugin_serves_while_an_instance_of_it_is_switched_on(server: Any, plugins: str, plugin: str) -> None:
    asked = ASKED[plugin]
    assert (await server.ask("GET", asked)).status == 200
    await server.ask("PATCH", f"{plugins}/{plugin}", {"enabled": False})
    refused = await server.ask("GET", asked)
    assert (refused.status, refused.error["code"]) == (404, "not_found")
    assert refused.error["message"] == (
        f"{plugin} is switched off on this node; `mosaicfs plugin enable {plugin}` switches it on"
    )
    other = next(name for name in ASKED if name != plugin)
    assert (await server.ask("GET", ASKED[other])).status == 200
    await server.ask("POST", plugins, {"plugin_name": "second", "package": plugin})
    assert (await server.ask("GET", asked)).status == 200
    await server.ask("PATCH", f"{plugins}/second", {"paused": True})
    assert (await server.ask("GET", asked)).status == 200
    await server.ask("DELETE", f"{plugins}/second")
    assert (await server.ask("GET", asked)).status == 404
    await server.ask("PATCH", f"{plugins}/{plugin}", {"enabled": True})
    assert (await server.ask("GET", asked)).status == 200


async def test_a_removed_default_instance_serves_no_more(server: Any, plugins: str) -> None:
    await server.ask("DELETE", f"{plugins}/search")
    assert (await server.ask("GET", ASKED["search"])).status == 404
    await server.ask("POST", plugins, {"plugin_name": "search"})
    assert (await server.ask("GET", ASKED["search"])).status == 200


async def test_a_server_without_instances_serves_all(server: Any) -> None:
    for asked in ASKED.values():
        assert (await server.ask("GET", asked)).status == 200


@pytest.mark.parametrize("field", ["schedule", "config", "watches"])
async def test_what_nothing_would_obey_is_refused(server: Any, plugins: str, field: str) -> None:
    answer = await server.ask("PATCH", f"{plugins}/search", {field: {}})
    assert answer.status == 400
    assert field in answer.error["message"]
