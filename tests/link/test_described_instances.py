"""Protects instances that are made where their package is not installed: the node that has it says what it is, so that
its files have a place in the tree, its secrets stay secret, and other instances keep off its folders."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.link import Uplink
from mosaicfs_core.documents import ids
from mosaicfs_core.hooks import HOOK_API, Endpoint, PluginManifest, ResultEnvelope, hookimpl
from mosaicfs_core.plugins.first_instances import with_facts
from mosaicfs_core.testing.harness import Harness, plugin_at

NODE, NAME = "node-laptop-aaaa", "letters"
IDENTIFIER = ids.plugin_document_id(NODE, NAME)
SCHEMA = {"type": "object", "properties": {"token": {"type": "string", "format": "secret", "writeOnly": True}}}


@pytest.fixture
async def laptop(control_plane: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    """A linked agent that has the package, which the control plane has not."""
    module = ModuleType("letters_bridge")

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        queries = (Endpoint(name="a", capability="search"), Endpoint(name="b", capability="search"))
        more: dict[str, Any] = {"provides_filesystem": True, "settings_schema": SCHEMA, "queries": queries}
        return PluginManifest(title="L", description="Letters.", version="1", hook_api=HOOK_API, **more)

    @hookimpl
    async def mosaicfs_query(context: Any, request: Any) -> ResultEnvelope:
        return ResultEnvelope()

    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_query=mosaicfs_query)
    monkeypatch.setitem(sys.modules, "letters_bridge", module)
    async with Harness.start(tmp_path / "laptop", plugins=[plugin_at(NAME, "letters_bridge")]) as harness:
        core = harness.core
        core.node_id, core.control, core.control_url = NODE, False, control_plane.url
        known = await control_plane.store.get(ids.node_document_id(NODE))
        await harness.store.put({key: value for key, value in known.items() if key != "_rev"})
        agent = Agent(core)
        core.agent = agent
        requests = control_plane.requests(NODE)
        async with agent, Uplink(core, agent, requests, control_plane.connect(NODE)) as uplink:
            assert uplink is not None
            yield harness
        await requests.close()


async def test_the_node_that_has_the_package_says_what_it_is(
    control_plane: Any, laptop: Harness, eventually: Any
) -> None:
    await eventually(lambda: control_plane.server.links.connected(NODE))
    path = f"/api/nodes/{NODE}/plugins"
    status, made = await control_plane.ask("POST", path, {"plugin_name": NAME, "isolate": False})
    assert (status, "provides_filesystem" in made) == (201, False)
    assert any("no plugin letters is installed" in text for text in made["warnings"])
    # It arrives by replication, and what it lacks is told.
    document = await control_plane.store.get(IDENTIFIER)
    await laptop.store.put({key: value for key, value in document.items() if key != "_rev"})
    told = await eventually(
        lambda: (found := control_plane.store.reader.get(IDENTIFIER)).get("provides_filesystem") and found
    )
    assert (told["file_path_prefix"], told["settings_schema"]) == (f"/{NAME}", SCHEMA)
    assert told["answers"] == ["search"]  # for when it is not installed any more, and what it answered is missing
    assert (told["plugin_name"], told["created_at"]) == (NAME, document["created_at"])


async def test_what_a_node_says_of_another_package_or_a_program_is_not_taken(
    control_plane: Any, laptop: Harness, eventually: Any
) -> None:
    await eventually(lambda: control_plane.server.links.connected(NODE))
    await control_plane.ask("POST", f"/api/nodes/{NODE}/plugins", {"plugin_name": NAME, "package": "other"})
    body = {"plugin_name": "program", "plugin_type": "executable", "subscribed_events": ["file.added"]}
    await control_plane.ask("POST", f"/api/nodes/{NODE}/plugins", body)
    before = [await control_plane.store.get(ids.plugin_document_id(NODE, name)) for name in (NAME, "program", "none")]
    said = [
        {"plugin_name": name, "package": name, "name": name, "provides_filesystem": True, "file_path_prefix": "/x"}
        for name in (NAME, "program", "none")
    ]
    assert laptop.core.ask_control is not None
    await eventually(lambda: laptop.core.agent.subsystems["link"]()["connected"])
    assert await laptop.core.ask_control("seed", {"described": said}, 5.0) == {"made": []}
    after = [await control_plane.store.get(ids.plugin_document_id(NODE, name)) for name in (NAME, "program", "none")]
    assert after == before


def test_files_stay_where_they_are() -> None:
    present = {"plugin_name": NAME, "provides_filesystem": True, "file_path_prefix": "/old", "watches": "gone"}
    facts = {"provides_filesystem": True, "file_path_prefix": "/new"}
    assert with_facts(facts, present) == {key: present[key] for key in ("plugin_name", *facts)}
