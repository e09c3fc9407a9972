"""Protects what was set for a machine when its control plane has forgotten it, and the control plane from a machine
that brings back more than that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent.replication import Replication
from mosaicfs_core.documents import ids
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.first_instances import seed_instances
from mosaicfs_core.server.link.seed import MAX_INSTANCES
from mosaicfs_core.store import Store
from mosaicfs_core.testing.store import rule

JSON = {"Content-Type": "application/json"}
THEN = "2026-01-01T00:00:00.000000Z"
TAKEN = {"made": [], "folders": [], "differing": [], "refused": {}}


def watcher(node_id: str, *folders: str, **fields: Any) -> dict[str, Any]:
    """The instance that watches folders of a node."""
    settings = {"settings": {"paths": list(folders), "ignore": ["*.tmp"]}} if folders else {}
    return instance_document(node_id, "localfs", created_at=THEN, watches="paths", **settings) | fields


async def offer(control: Any, caller: Any, *documents: dict[str, Any]) -> tuple[int, Any]:
    body = json.dumps({"documents": documents}).encode()
    found: tuple[int, Any] = await control.status_of(
        caller, "POST", "/api/agent/configuration", body=body, headers=JSON
    )
    return found


@pytest.mark.logs("brought back what was set")
async def test_what_is_not_known_is_taken_once(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store
    given = watcher(known.node_id, "/a", "/b")
    # The machine's link is up already, so that what its packages want by default was made.
    await seed_instances(store, known.node_id, [watcher(known.node_id)], here=False)
    assert await offer(control, caller, {**given, "_rev": "7-aa"}) == (200, {**TAKEN, "made": ["localfs"]})
    made = await store.get(given["_id"])
    assert made is not None
    assert made["settings"] == given["settings"]
    assert made["_rev"].startswith("2-")
    assert await offer(control, caller, given) == (200, TAKEN)
    assert (await store.get(given["_id"]))["_rev"] == made["_rev"]


@pytest.mark.logs("brought back what was set")
async def test_what_is_known_stays_but_for_folders(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store
    here = watcher(known.node_id, "/a", enabled=False)
    await store.put(here)
    removed = instance_document(known.node_id, "search", created_at=THEN)
    await store.put(removed)
    await store.update(removed["_id"], lambda now: {**(now or {}), "_deleted": True})
    given = watcher(known.node_id, "/b", "/a/within")
    expected = {**TAKEN, "folders": ["/b"], "differing": ["localfs"]}
    assert await offer(control, caller, given, {**removed, "settings": {"x": 1}}) == (200, expected)
    now = await store.get(here["_id"])
    assert now["settings"] == {"paths": ["/a", "/b"], "ignore": ["*.tmp"]}
    assert now["enabled"] is False
    assert await store.get(removed["_id"]) is None


@pytest.mark.logs("brought back what was set")
async def test_what_was_changed_here_since_is_left_alone(control: Any, laptop: Home) -> None:
    """A machine that slept meanwhile remembers a folder that was removed here on purpose."""
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store
    await store.put(watcher(known.node_id, "/a", "/private"))
    remembered = await store.get(ids.plugin_document_id(known.node_id, "localfs"))
    now = watcher(known.node_id, "/a")
    await store.update(remembered["_id"], lambda present: now)
    assert await offer(control, caller, remembered) == (200, TAKEN)
    assert (await store.get(remembered["_id"]))["settings"] == now["settings"]
    late = {**now, "_rev": "2000-bb", "_revisions": {"start": 2000, "ids": ["bb", "aa"]}}
    await store.bulk([late], new_edits=False)
    assert await offer(control, caller, {**remembered, "_rev": "1998-cc"}) == (200, TAKEN)
    for rev in ("1999-cc", None):
        status, found = await offer(control, caller, {**remembered, "_rev": rev})
        assert (status, found["folders"]) == (200, ["/private"])
        await store.update(remembered["_id"], lambda present: now)


@pytest.mark.logs("brought back what was set")
async def test_as_many_as_a_node_is_given_are_taken(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store
    names = [f"p{number}" for number in range(MAX_INSTANCES + 1)]
    given = [instance_document(known.node_id, name, created_at=THEN) for name in names]
    for document in given[: MAX_INSTANCES - 1]:
        await store.put(document)
    status, found = await offer(control, caller, *given[-2:])
    assert (status, found["made"], list(found["refused"])) == (200, [names[-2]], [names[-1]])


@pytest.mark.logs("brought back what was set|used alone before|is kept in")
async def test_a_home_that_was_used_alone_joins_with_its_settings(control: Any, laptop: Home, tmp_path: Path) -> None:
    known = await control.enrol(laptop)
    (tmp_path / "alone").mkdir()
    async with await Store.open(tmp_path / "alone" / "replica.db") as store:
        given, made = watcher(known.node_id, "/a"), rule("/alone/", "red")
        await store.bulk([given, made])
        replication = Replication(store, known.node_id, control.as_node(laptop, known))
        await replication.meet()
        for there in (store, control.server.core.store):
            assert (await there.get(given["_id"]))["settings"] == given["settings"]
            assert await there.get(made["_id"]) is None
        assert "it took the settings of this machine back: localfs" in replication.subsystem()["recovered"]
        (kept,) = store.path.parent.glob("forgotten-*.json")
        assert [one["_id"] for one in json.loads(kept.read_bytes())["docs"]] == [made["_id"]]
        await replication.meet()


async def test_nobody_brings_back_anything_else(control: Any, laptop: Home, tmp_path: Path) -> None:
    thief = await control.enrol(laptop)
    victim = await control.enrol(Home(tmp_path / "desktop"), name="Desktop")
    caller, store = control.as_node(laptop, thief), control.server.core.store
    node = await store.get(ids.node_document_id(victim.node_id))
    before = store.seq
    for document in (
        watcher(victim.node_id, "/"),
        {**watcher(thief.node_id, "/"), "node_id": victim.node_id},
        {**watcher(thief.node_id, "/"), "_id": ids.plugin_document_id(victim.node_id, "localfs")},
        {**watcher(thief.node_id, "/"), "plugin_name": "../localfs"},
        {**watcher(thief.node_id, "/"), "type": "label_rule"},
        {**watcher(thief.node_id, "/"), "enabled": "perhaps"},
        {**watcher(thief.node_id, "/"), "_deleted": True, "_rev": "1-aa", "plugin_name": "nonsense"},
        node,
        {},
    ):
        status, found = await offer(control, caller, document)
        assert (status, len(found["refused"]), found["made"]) == (200, 1, []), document
    assert store.seq == before
    user = await control.as_user()
    assert (await offer(control, user, watcher(thief.node_id, "/")))[0] == 403
    # A stolen machine is not let in by what it remembers, revoked here or unknown here.
    assert (await control.status_of(user, "DELETE", f"/api/nodes/{thief.node_id}"))[0] == 200
    assert (await offer(control, caller, watcher(thief.node_id, "/")))[0] == 401
    document = await store.get(ids.node_document_id(thief.node_id))
    await store.update(document["_id"], lambda now: {**(now or {}), "_deleted": True})
    status, found = await offer(control, caller, watcher(thief.node_id, "/"))
    assert status == 401
    assert "a new key and `mosaicfs agent init` enrol it again" in found["error"]["message"]
    assert await store.get(ids.plugin_document_id(thief.node_id, "localfs")) is None
