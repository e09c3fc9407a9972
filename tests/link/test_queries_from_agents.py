"""Protects questions that are asked on an agent: its own plugins answer, the others through the control plane, and who
does not is named, also while there is no control plane."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from quart import Quart

from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.link import Link, Uplink
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import NotAllowed, Unavailable
from mosaicfs_core.hooks import HOOK_API, Endpoint, Hit, PluginManifest, ResultEnvelope, hookimpl
from mosaicfs_core.plugins.instances import default_document
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.auth import credentials
from mosaicfs_core.server.link.asking import ask
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.testing.harness import Harness, plugin_at

NODE, OTHER, AWAY = "node-laptop-aaaa", "node-desktop-bbbb", "node-nas-cccc"
QUERY = {"capability": "asking", "query": "where?"}


@pytest.fixture(autouse=True)
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that answers."""
    module = ModuleType("answering")

    @hookimpl
    def mosaicfs_manifest() -> PluginManifest:
        endpoints = (Endpoint(name="ask", capability="asking"),)
        return PluginManifest(title="A", description="Answers.", version="1", hook_api=HOOK_API, queries=endpoints)

    @hookimpl
    async def mosaicfs_query(context: Any, request: Any) -> ResultEnvelope:
        return ResultEnvelope(results=(Hit(data={"said": request.query}),))

    vars(module).update(mosaicfs_manifest=mosaicfs_manifest, mosaicfs_query=mosaicfs_query)
    monkeypatch.setitem(sys.modules, "answering", module)


class Laptop:
    """An agent with its own API."""

    def __init__(self, harness: Harness, app: Quart, agent: Agent) -> None:
        self.harness, self.app, self.agent = harness, app, agent

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """As the command line asks it."""
        headers = {"Authorization": f"Bearer {self.app.extensions[EXTENSION].local_token}"}
        here = {"client": ("127.0.0.1", 50000)}
        client = self.app.test_client()
        answer = await client.open(path, method=method, json=body, headers=headers, scope_base=here)
        return answer.status_code, await answer.get_json()


@pytest.fixture
async def laptop(control_plane: Any, tmp_path: Path, eventually: Any) -> AsyncIterator[Laptop]:
    """The agent, not linked, that has heard of two other machines which can be asked."""
    await control_plane.add_node(AWAY, capabilities=["asking"])
    plugins = [plugin_at("answering", "answering")]
    async with Harness.start(tmp_path / "laptop", plugins=plugins) as harness:
        core = harness.core
        core.node_id, core.control, core.control_url = NODE, False, control_plane.url
        for node_id in (NODE, OTHER, AWAY):
            known = await control_plane.store.get(ids.node_document_id(node_id))
            del known["_rev"]
            capable = {} if node_id == NODE else {"capabilities": ["asking"]}
            await harness.store.put({**known, **capable})
        await harness.store.put({**default_document(NODE, harness.host.get("answering"), {}), "isolate": False})
        agent = Agent(core)
        core.agent = agent
        async with agent, running_app(core) as app:
            await eventually(lambda: core.capabilities() == ["asking"])
            await eventually(lambda: "asking" in harness.store.reader.get(ids.node_document_id(NODE))["capabilities"])
            yield Laptop(harness, app, agent)


@asynccontextmanager
async def linked(control_plane: Any, laptop: Laptop, eventually: Any) -> AsyncIterator[Uplink]:
    """The laptop's link to its control plane."""
    requests = control_plane.requests(NODE)
    async with Uplink(laptop.harness.core, laptop.agent, requests, control_plane.connect(NODE)) as uplink:
        await eventually(lambda: uplink.link.state.connected)
        yield uplink
    await requests.close()


async def answer_of_desktop(_params: dict[str, Any]) -> Any:
    told = {"node_id": OTHER, "plugin_name": "a", "package": "a", "capability": "asking", "took_ms": 1.0}
    return {"envelopes": [{**told, "results": [{"data": {"said": "here"}}]}], "omitted": []}


async def test_all_machines_are_asked_through_the_control_plane(
    control_plane: Any, laptop: Laptop, eventually: Any
) -> None:
    desktop = Link(control_plane.connect(OTHER), {"query": answer_of_desktop})
    running = asyncio.create_task(desktop.run())
    try:
        async with linked(control_plane, laptop, eventually) as uplink:
            await eventually(lambda: control_plane.server.links.connected(OTHER))
            status, answer = await laptop.ask("POST", "/api/query", QUERY)
            assert status == 200, answer
            said = {one["node_id"]: one["results"][0]["data"]["said"] for one in answer["results"]}
            assert said == {NODE: "where?", OTHER: "here"}
            assert answer["omitted"] == [{"node_id": AWAY, "reason": f"{AWAY} is not connected"}]
            # It may ask, and no more.
            command = {"node_id": OTHER, "method": "annotations_forget", "params": {}}
            with pytest.raises(NotAllowed, match="not for agents"):
                await uplink.link.call("ask", command)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_question_to_a_machine_that_does_not_answer_ends_when_its_asker_does(
    control_plane: Any, laptop: Laptop, eventually: Any
) -> None:
    async def silent(_params: dict[str, Any]) -> Any:
        await asyncio.Event().wait()

    desktop = Link(control_plane.connect(OTHER), {"query": silent})
    running = asyncio.create_task(desktop.run())
    try:
        async with linked(control_plane, laptop, eventually) as uplink:
            await eventually(lambda: control_plane.server.links.connected(OTHER))
            question = {"node_id": OTHER, "method": "query", "params": QUERY, "timeout_s": 0.1}
            with pytest.raises(Unavailable, match=r"no answer to query within 0\.1 s"):
                await uplink.link.call("ask", question, 60.0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_control_plane_is_told_how_long_the_asker_waits(laptop: Laptop) -> None:
    told: list[tuple[Any, float]] = []

    async def ask_control(method: str, params: Any, timeout: float) -> Any:
        told.append((params["timeout_s"], timeout))

    laptop.harness.core.ask_control = ask_control
    await ask(laptop.harness.core, laptop.app.extensions[EXTENSION].links, OTHER, "query", QUERY, 6.0)
    assert told == [(6.0, 6.0)]


async def test_without_a_control_plane_its_own_plugins_answer_and_the_others_are_named(
    control_plane: Any, laptop: Laptop, eventually: Any
) -> None:
    async def ask() -> dict[str, str]:
        status, answer = await laptop.ask("POST", "/api/query", QUERY)
        assert status == 200, answer
        assert [one["node_id"] for one in answer["results"]] == [NODE]
        reasons = {one["node_id"]: one["reason"] for one in answer["omitted"]}
        assert set(reasons) == {OTHER, AWAY}
        return reasons

    assert "no link yet" in (await ask())[OTHER]
    async with linked(control_plane, laptop, eventually) as uplink:
        await control_plane.server.links.close()
        await eventually(lambda: not uplink.link.state.connected)
        assert "through the control plane, which is not connected" in (await ask())[AWAY]
    assert "no link yet" in (await ask())[OTHER]


async def test_what_is_no_question_is_asked_of_others_at_the_control_plane(control_plane: Any, laptop: Laptop) -> None:
    status, answer = await laptop.ask("GET", f"/api/nodes/{OTHER}/plugins/a/jobs")
    assert status == 403
    assert control_plane.url in answer["error"]["message"]
    status, answer = await laptop.ask("POST", "/api/agent/query", QUERY)
    assert (status, "enrolled node's own key" in answer["error"]["message"]) == (403, True)
    status, answer = await laptop.ask("DELETE", "/api/nodes/node-desktop-bbbb")
    assert (status, "changed on the control plane" in answer["error"]["message"]) == (403, True)


async def test_another_machine_is_commanded_from_the_control_plane_alone(control_plane: Any, laptop: Laptop) -> None:
    for method, path, body in (
        ("POST", f"/api/nodes/{OTHER}/crawl", {}),
        ("GET", f"/api/nodes/{OTHER}/exclusions", None),
        ("POST", f"/api/nodes/{OTHER}/sync", {}),
    ):
        status, answer = await laptop.ask(method, path, body)
        assert status == 403, answer
        assert f"on the control plane at {control_plane.url}" in answer["error"]["message"]
    _, told = await laptop.ask("GET", f"/api/nodes/{OTHER}/status", None)
    assert "connected" not in told


async def test_an_agent_does_not_say_when_keys_were_used_last(laptop: Laptop) -> None:
    server = laptop.app.extensions[EXTENSION]
    made = await credentials.create(server, "script", "user")
    server.sessions.seen.note(made.document["access_key_id"])
    _, listed = await laptop.ask("GET", "/api/credentials")
    assert ["last_seen" in one for one in listed["items"]] == [False]
