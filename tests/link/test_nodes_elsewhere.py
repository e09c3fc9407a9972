"""The routes of nodes whose agents are other processes: asked over their links, whoever asks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.link import Uplink, uplink
from mosaicfs_core.agent.link.wanted import WantedFolders
from mosaicfs_core.agent.node import write_node
from mosaicfs_core.documents import ids, times
from mosaicfs_core.errors import UserError
from mosaicfs_core.plugins.instances import default_document
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.testing.harness import Harness

NODE = "node-laptop-aaaa"
OTHER = "node-desktop-bbbb"


class Machine:
    """A whole agent over a small tree."""

    def __init__(self, harness: Harness, agent: Agent, link: Uplink, tree: Path) -> None:
        self.harness = harness
        self.agent = agent
        self.link = link
        self.tree = tree

    def files(self) -> int:
        """How many are indexed."""
        return int(self.harness.store.reader.info().types.get("file", {}).get("live", 0))


@asynccontextmanager
async def machine(plane: Any, path: Path, *, watches: bool = True) -> AsyncIterator[Machine]:
    """An agent's machine at ``path``, linked; its folder is watched, or asked to be."""
    tree = path / "tree"
    tree.mkdir(parents=True)
    (tree / "a.txt").write_text("a")
    os.symlink(tree / "a.txt", tree / "link")
    async with Harness.start(path / "home", safe_mode=True) as harness:
        core = harness.core
        core.node_id, core.control, core.control_url = NODE, False, plane.url
        registered = await plane.store.get(ids.node_document_id(NODE))
        await harness.store.put({key: value for key, value in registered.items() if key != "_rev"})
        if watches:
            document = default_document(NODE, harness.host.get("localfs"), {"paths": [str(tree)], "watch": False})
            await harness.store.put(document)
        agent = Agent(core)
        core.agent = agent
        requests = plane.requests(NODE)
        async with agent:
            await WantedFolders(harness.store).add([] if watches else [str(tree)])
            link = Uplink(core, agent, requests, plane.connect(NODE))
            async with link:
                yield Machine(harness, agent, link, tree)
        await requests.close()


async def nothing_waits(made: Machine) -> bool:
    """Whether the control plane was told of all folders."""
    return not await WantedFolders(made.harness.store).waiting()


@pytest.fixture
async def laptop(control_plane: Any, tmp_path: Path, eventually: Any) -> AsyncIterator[Machine]:
    """A machine that is connected and has crawled."""
    async with machine(control_plane, tmp_path / "laptop") as made:
        await made.agent.first_crawl_done.wait()
        await eventually(lambda: control_plane.server.links.connected(NODE) and made.link.link.state.connected)
        # What follows a connection is done, too.
        await eventually(lambda: "storage" in (made.harness.store.reader.get(ids.node_document_id(NODE)) or {}))
        yield made


async def test_a_crawl_begins_where_the_node_is(control_plane: Any, laptop: Machine, eventually: Any) -> None:
    (laptop.tree / "b.txt").write_text("b")
    status, answer = await control_plane.ask("POST", f"/api/nodes/{NODE}/crawl", {})
    assert (status, answer) == (202, {"started": True, "node_id": NODE})
    await eventually(lambda: laptop.files() == 2)
    (laptop.tree / "c.txt").write_text("c")
    assert (await control_plane.ask("POST", f"/api/nodes/{NODE}/sync"))[0] == 202
    await eventually(lambda: laptop.files() == 3)
    (laptop.tree / "d.txt").write_text("d")
    status, answer = await control_plane.ask("POST", "/api/system/reindex", {})
    assert (status, answer["nodes"]) == (202, [NODE])
    await eventually(lambda: laptop.files() == 4)
    status, answer = await control_plane.ask("POST", f"/api/nodes/{NODE}/crawl", {"prefixes": ["/a/../b"]})
    assert status == 400


async def test_what_is_left_out_is_asked_of_the_node(control_plane: Any, laptop: Machine) -> None:
    status, answer = await control_plane.ask("GET", f"/api/nodes/{NODE}/exclusions")
    assert status == 200
    assert [(one["kind"], one["export_path"]) for one in answer["items"]] == [("symlink", str(laptop.tree / "link"))]
    assert (await control_plane.ask("GET", f"/api/nodes/{NODE}/exclusions?path=/elsewhere"))[0] == 404


async def test_a_node_that_is_not_there_is_said_to_be(control_plane: Any) -> None:
    for method, what in (("POST", "crawl"), ("POST", "sync"), ("GET", "exclusions")):
        body = {} if method == "POST" else None
        status, answer = await control_plane.ask(method, f"/api/nodes/{OTHER}/{what}", body)
        assert (status, answer["error"]["code"]) == (503, "unavailable"), what
    await control_plane.add_node("node-thief", status="disabled")
    assert (await control_plane.ask("POST", "/api/nodes/node-thief/crawl", {}))[0] == 403


@pytest.mark.logs("not indexed, for no plugin that watches folders")
async def test_first_instances_and_folders_are_written_by_the_control_plane(
    control_plane: Any, tmp_path: Path, eventually: Any
) -> None:
    identifier = ids.plugin_document_id(NODE, "localfs")
    async with machine(control_plane, tmp_path / "laptop", watches=False) as made:
        await eventually(lambda: control_plane.store.reader.get(identifier))
        await eventually(lambda: nothing_waits(made))
        document = await control_plane.store.get(identifier)
        assert document["settings"] == {"paths": [str(made.tree)]}
        assert document["settings_schema"]["properties"].keys() >= {"paths", "ignore"}
        assert await made.harness.store.get(identifier) is None  # it comes by replication
        again = await made.link.link.call("seed", {"instances": [], "paths": ["/more"]})
        assert again == {"made": []}
        assert (await control_plane.store.get(identifier))["settings"]["paths"] == [str(made.tree), "/more"]
        # A package that was upgraded says other things of itself.
        seed = {"plugin_name": "localfs", "package": "localfs", "name": "x", "watches": "folders"}
        assert await made.link.link.call("seed", {"instances": [seed]}) == {"made": []}
        assert (await control_plane.store.get(identifier))["watches"] == "folders"
    # Whose home is it? Only the machine itself knows.
    home = {"settings": {"paths": ["~/Documents"]}}
    await control_plane.store.update(identifier, lambda document: {**document, "watches": "paths"})
    status, answer = await control_plane.ask("PATCH", f"/api/nodes/{NODE}/plugins/localfs", home)
    assert (status, answer["error"]["details"]["field"]) == (400, "settings.paths.0")
    # A removed one does not come back, and nobody can ask for another's.
    assert (await control_plane.ask("DELETE", f"/api/nodes/{NODE}/plugins/localfs"))[0] == 200
    async with machine(control_plane, tmp_path / "again", watches=False) as made:
        await eventually(lambda: nothing_waits(made))
        assert await control_plane.store.get(identifier) is None
        hostile = {"plugin_name": "x", "package": "localfs", "name": "x", "node_id": OTHER, "_id": "plugin::y::z"}
        await made.link.link.call("seed", {"instances": [hostile]})
        assert await control_plane.store.get(ids.plugin_document_id(OTHER, "x")) is None
        written = await control_plane.store.get(ids.plugin_document_id(NODE, "x"))
        assert written["node_id"] == NODE
        for wrong in ({"instances": 7}, {"paths": ["relative"]}, {"instances": [{**hostile, "package": "agent"}]}):
            with pytest.raises(UserError):
                await made.link.link.call("seed", wrong)


async def test_what_a_node_may_ask_to_be_written_for_it_is_bounded(
    control_plane: Any, tmp_path: Path, eventually: Any
) -> None:
    async with machine(control_plane, tmp_path / "laptop") as made:
        await eventually(lambda: made.link.link.state.connected)
        call = made.link.link.call

        async def ask(*names: str, **given: Any) -> None:
            instances = [{"plugin_name": name, "package": name, "name": name, **given} for name in names]
            await call("seed", {"instances": instances})

        # All at once, so that each would find the others not counted yet.
        batches = [[f"made-{batch}-{number}" for number in range(40)] for batch in range(5)]
        found = await asyncio.gather(*[ask(*batch) for batch in batches], return_exceptions=True)
        assert sum(isinstance(one, UserError) for one in found) == 3
        with pytest.raises(UserError, match="100 of its own"):
            await ask(*[f"more-{number}" for number in range(30)])
        with pytest.raises(UserError, match="settings_schema"):
            await ask("made-0-0", settings_schema={"description": "x" * 70_000})
        documents = await control_plane.store.read(lambda reader: reader.documents_of("plugin", (NODE,)))
        assert len(documents) <= 100
        watcher = {"plugin_name": documents[0]["plugin_name"], "package": "p", "name": "p", "watches": "paths"}
        await call("seed", {"instances": [watcher], "paths": ["/0"]})
        for start in range(0, 1000, 100):
            await call("seed", {"paths": [f"/{number}" for number in range(start, start + 100)]})
        with pytest.raises(UserError, match="up to 1000"):
            await call("seed", {"paths": ["/one-more"]})


async def test_a_link_that_comes_back_lets_everything_be_looked_at(
    control_plane: Any, laptop: Machine, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink, "RECONCILE_S", 3600.0)
    links = control_plane.server.links
    (laptop.tree / "meanwhile.txt").write_text("x")
    for expected in (2, 2):
        lost = links.nodes[NODE]
        await lost.close("cut")
        await eventually(lambda lost=lost: links.connected(NODE) and links.nodes[NODE] is not lost)
        await eventually(lambda: laptop.link.link.state.connected)
        await eventually(lambda expected=expected: laptop.files() == expected)
        # The second time is too soon after the first: what is new is left to the watcher.
        (laptop.tree / "later.txt").write_text("x")
    board = laptop.agent.status()["subsystems"]
    assert board["link"]["connected"] is True
    assert board["link"]["control_plane"] == control_plane.url


async def test_the_agents_fields_of_a_node_are_its_own_and_the_rest_is_not(laptop: Machine, tmp_path: Path) -> None:
    store, core = laptop.harness.store, laptop.harness.core
    await write_node(core, endpoints=["https://192.0.2.7:6673"])
    document = await store.get(ids.node_document_id(NODE))
    assert document is not None
    assert document["transfer"] == {"endpoints": ["https://192.0.2.7:6673"], "protocol": "http"}
    assert document["storage"][0]["watch_paths_on_fs"] == [str(laptop.tree)]
    assert (document.get("control_version", 0), document["capabilities"]) == (0, ["relay"])
    before = document["agent_version"]
    await write_node(core, endpoints=["https://192.0.2.7:6673"])
    assert (await store.get(ids.node_document_id(NODE)) or {})["agent_version"] == before
    await store.update(document["_id"], lambda there: {**(there or {}), "status": "offline", "friendly_name": "Mine"})
    await write_node(core, endpoints=[])
    after = await store.get(ids.node_document_id(NODE)) or {}
    assert (after["status"], after["friendly_name"], after.get("control_version", 0)) == ("offline", "Mine", 0)
    assert after["agent_version"] == before + 1
    core.node_id = OTHER
    await write_node(core)
    assert await store.get(ids.node_document_id(OTHER)) is None  # only the control plane registers nodes
    core.node_id = NODE


def test_a_clock_is_compared_with_what_a_heartbeat_is_answered() -> None:
    asked, second = times.now_micros(), 1_000_000

    def told(theirs: int) -> float:
        answer = f'{{"node_id": "n", "time": "{times.format_time(theirs)}"}}'.encode()
        return uplink.skew_told(asked, asked + second, answer)

    assert told(asked) == told(asked + second // 2) == told(asked + second) == 0
    assert told(asked - 180 * second) == 180
    assert told(asked + 181 * second) == -180
    assert uplink.skew_told(asked, asked, b"?") == uplink.skew_told(asked, asked, b'{"time": "noon"}') == 0


async def test_an_agent_whose_clock_is_off_says_so(laptop: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert laptop.link.subsystem()["clock_off_s"] == 0
    monkeypatch.setattr(uplink, "skew_told", lambda *_: -180.0)
    await laptop.link._one_beat()
    found = laptop.link.subsystem()
    assert (found["status"], found["clock_off_s"]) == ("degraded", -180)
    assert "the clock here is 3 min 0 s behind the control plane's" in found["detail"]


async def test_an_agent_that_is_offline_does_not_claim_that_others_are_there(
    laptop: Machine, control_plane: Any, eventually: Any
) -> None:
    core = laptop.harness.core
    other = {"type": "node", "node_id": OTHER, "friendly_name": "Desktop", "node_kind": "physical", "status": "online"}
    await laptop.harness.store.put({"_id": ids.node_document_id(OTHER), **other})
    async with running_app(core) as app:
        headers = {"Authorization": f"Bearer {app.extensions[EXTENSION].local_token}"}
        scope = {"client": ("127.0.0.1", 50000)}

        async def shown() -> dict[str, str]:
            answer = await app.test_client().open("/api/nodes", headers=headers, scope_base=scope)
            return {node["id"]: node["status"] for node in (await answer.get_json())["items"]}

        assert (await shown())[OTHER] == "online"
        await control_plane.server.links.close()
        await eventually(lambda: not laptop.link.link.state.connected)
        found = await shown()
        assert (found[NODE], found[OTHER]) == ("online", "unknown")


async def test_an_agents_own_api_changes_nothing_that_is_the_control_planes(laptop: Machine) -> None:
    core = laptop.harness.core
    async with running_app(core) as app:
        server: ServerState = app.extensions[EXTENSION]
        client = app.test_client()

        async def ask(method: str, path: str, body: Any = None) -> int:
            given = {} if body is None else {"json": body}
            headers = {"Authorization": f"Bearer {server.local_token}"}
            scope = {"client": ("127.0.0.1", 50000)}
            answer = await client.open(path, method=method, headers=headers, scope_base=scope, **given)
            return int(answer.status_code)

        assert await ask("GET", "/api/nodes") == 200
        assert await ask("GET", f"/api/nodes/{NODE}/status") == 200
        assert await ask("POST", f"/api/nodes/{NODE}/crawl", {}) == 202
        path = str(laptop.tree / "a.txt")
        own = {"node_id": NODE, "export_path": path, "labels": ["mine"]}
        assert await ask("PUT", "/api/labels/assignments", own) == 200
        before = core.store.reader.seq()
        refused = [
            await ask("PUT", "/api/labels/assignments", {**own, "node_id": OTHER}),
            await ask("PATCH", f"/api/nodes/{NODE}", {"friendly_name": "x"}),
            await ask("POST", "/api/credentials", {"name": "x"}),
            await ask("POST", "/api/vfs/directories", {"path": "/x"}),
            await ask("PATCH", f"/api/nodes/{NODE}/plugins/localfs", {"enabled": False}),
            await ask("POST", "/api/agent/heartbeat", {}),
        ]
        assert set(refused) == {403}
        assert core.store.reader.seq() == before
        assert await core.store.get("dir::root") is None  # the tree is seeded by the control plane
        await asyncio.gather(*server.background)
