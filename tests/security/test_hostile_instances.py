"""Protects the control plane, its feeds and its start from instances that a machine with a stolen key makes up, and
from such as are in its replica already."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.instances import instance_document
from mosaicfs_core.errors import UserError
from mosaicfs_core.home import Home
from mosaicfs_core.plugins.first_instances import add_watched_folders, seed_instances
from mosaicfs_core.plugins.secrets import seal_plain
from mosaicfs_core.server.link.seed import MAX_FOLDERS, MAX_INSTANCES, seed

JSON = {"Content-Type": "application/json"}
THEN = "2026-01-01T00:00:00.000000Z"
PATH = "/api/agent/configuration"
SECRET = "correct-horse-battery-staple"


def within(levels: int, inner: Any, *keys: str) -> Any:
    """Something in so many objects of these keys in turn, or so many lists where there are none."""
    for level in range(levels):
        inner = {keys[level % len(keys)]: inner} if keys else [inner]
    return inner


SCHEMAS = {
    "enum": {"properties": {"a": {"type": "enum", "values": 5}}},
    "type": {"type": [{"a": 1}]},
    "types": {"properties": {"a": {"type": ["secret", {}]}}},
    "properties": {"properties": [1]},
    "deep": within(200, {}, "x", "properties"),
    "items": {"properties": {"a": {"items": 5}}},
    "parts": {"allOf": [{} for _ in range(15_000)]},
    "default": {"properties": {"a": {"default": within(70, "v")}}},
}
ODD: dict[str, dict[str, Any]] = {
    "deep-settings": {"settings": {"a": within(300, SECRET)}},
    "number": {"watches": "paths", "settings": {"paths": 5}},
    "mixed": {"watches": "paths", "settings": {"paths": [5, {"a": 1}]}},
    "text": {"watches": "paths", "settings": {"paths": "/abc"}},
    "relative": {"watches": "paths", "settings": {"paths": ["~/Documents"]}},
    "zero": {"watches": "paths", "settings": {"paths": ["/a\0b"]}},
    "long": {"watches": "paths", "settings": {"paths": ["/" + "a" * 5000]}},
    "many": {"watches": "paths", "settings": {"paths": [f"/{number}" for number in range(MAX_FOLDERS + 1)]}},
    "setting": {"watches": "w" * 201, "settings": {}},
    "answers": {"answers": ["x" * 201]},
    "prefix": {"provides_filesystem": True, "file_path_prefix": "/" + "p" * 300},
    "reserved": {"package": "agent"},
    "package": {"package": "../localfs"},
    "kind": {"plugin_type": "../executable"},
    "name": {"name": "n" * 300},
    "workers": {"workers": 10**9},
    "globs": {"mime_globs": ["x" * 300]},
    "events": {"subscribed_events": ["no such event"]},
    "steps": {"steps": [{"op": 5}]},
    "budget": {"budget": [1]},
    "huge": {"settings": {"a": "x" * 300_000}},
}


async def offered(control: Any, caller: Any, *documents: Any) -> dict[str, Any]:
    body = json.dumps({"documents": documents}).encode()
    status, found = await control.status_of(caller, "POST", PATH, body=body, headers=JSON)
    assert status == 200, found
    answer: dict[str, Any] = found
    return answer


async def test_no_such_instance_is_taken_from_a_machine(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store
    cases = [*({"settings_schema": schema, "settings": {"a": "x"}} for schema in SCHEMAS.values()), *ODD.values()]
    before = store.seq
    for fields in cases:
        document = instance_document(known.node_id, "evil", created_at=THEN) | fields
        body = json.dumps({"documents": [document]}).encode()
        status, answer = await control.status_of(caller, "POST", PATH, body=body, headers=JSON)
        if status == 200:
            assert (list(answer["refused"]), answer["made"]) == (["evil"], []), fields
        else:
            assert (status, answer["error"]["message"]) == (400, "documents: nested more than 64 deep")
    for schema in SCHEMAS.values():
        given = {"plugin_name": "evil", "package": "evil", "name": "x", "settings_schema": schema}
        for asked in ("instances", "described"):
            with pytest.raises(UserError):
                await seed(store, known.node_id, {asked: [given]})
    for folder in ("relative", "/a\0b", "/" + "a" * 5000, 5):
        with pytest.raises(UserError, match="paths"):
            await seed(store, known.node_id, {"paths": [folder]})
    assert store.seq == before


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"documents":' * 5000, b'{"documents":[NaN]}', b"\xff", b"5"])
async def test_what_is_no_offer_is_refused(control: Any, laptop: Home, body: bytes) -> None:
    known = await control.enrol(laptop)
    status, _ = await control.status_of(control.as_node(laptop, known), "POST", PATH, body=body, headers=JSON)
    assert 400 <= status < 500


@pytest.mark.logs("stay in clear|brought back")
async def test_such_an_instance_in_the_replica_stops_neither_start_nor_feed(
    control: Any, laptop: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await control.enrol(laptop)
    store, user = control.server.core.store, await control.as_user()
    for name, schema in SCHEMAS.items():
        fields = {"settings_schema": schema, "settings": {"a": SECRET, "b": within(100, SECRET)}}
        await store.put(instance_document(known.node_id, f"evil-{name}", created_at=THEN, **fields))
    await store.put(
        instance_document(known.node_id, "localfs", created_at=THEN, watches="paths", settings={"paths": 5})
    )
    path = f"/api/nodes/{known.node_id}/plugins"
    for asked in (path, f"{path}/evil-enum", "/db/mosaicfs/_changes?include_docs=true&limit=1000"):
        status, found = await control.status_of(user, "GET", asked)
        assert status == 200
        assert SECRET not in json.dumps(found)
    for name in ("evil-enum", "localfs"):
        body = b'{"enabled":false}'
        assert (await control.status_of(user, "PATCH", f"{path}/{name}", body=body, headers=JSON))[0] == 200
    # A watched setting of a wrong type is refused wherever folders would be added.
    answer = await offered(
        control,
        control.as_node(laptop, known),
        instance_document(known.node_id, "localfs", created_at=THEN, watches="paths", settings={"paths": ["/a"]}),
    )
    assert "a list of folders" in answer["refused"]["localfs"]
    with pytest.raises(UserError, match=r"settings\.paths: localfs is to have a list of folders"):
        await add_watched_folders(store, known.node_id, ["/a"])

    await seal_plain(control.server.core, control.server.identity.key)
    documents = store.reader.documents_of("plugin", (known.node_id,))
    assert SECRET not in json.dumps(documents)

    def fails(*_: Any) -> Any:
        raise RecursionError("nobody foresaw it")

    monkeypatch.setattr("mosaicfs_core.plugins.secrets.schema_for", fails)
    await seal_plain(control.server.core, control.server.identity.key)


@pytest.mark.logs("brought back what was set")
async def test_a_machine_that_offers_for_ever_fills_nothing(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store
    for start in range(0, 2 * MAX_INSTANCES, 20):
        documents = [instance_document(known.node_id, f"evil-{start + n}", created_at=THEN) for n in range(20)]
        await offered(control, caller, *documents)
    assert len(store.reader.documents_of("plugin", (known.node_id,))) == MAX_INSTANCES
    before = store.seq
    for number in range(20):
        told = {"settings": {"new": number}}
        await offered(control, caller, instance_document(known.node_id, "evil-0", created_at=THEN, **told))
    assert store.seq == before


@pytest.mark.logs("brought back what was set")
async def test_the_settings_of_a_machine_itself_come_back_only_as_such(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store
    given = instance_document(known.node_id, "agent", created_at=THEN, settings={"cache_max_bytes": "lots"})
    answer = await offered(control, caller, given)
    assert "cache_max_bytes" in answer["refused"]["agent"]
    right = given | {"plugin_type": "executable", "watches": "paths", "settings": {"snapshot_days": 5}}
    assert (await offered(control, caller, right))["made"] == ["agent"]
    made = await store.get(ids.plugin_document_id(known.node_id, "agent"))
    assert (made["plugin_type"], made["settings"], made.get("watches")) == ("package", {"snapshot_days": 5}, None)


async def test_what_the_owner_told_an_instance_is_no_guess(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store
    theirs = {"enabled": False, "subscribed_events": ["file_added"], "mime_globs": ["image/*"]}
    document = instance_document(known.node_id, "program", created_at=THEN, **theirs)
    await store.put(document)
    given = instance_document(known.node_id, "program", created_at=THEN, settings={"a": 1})
    assert (await offered(control, caller, given))["differing"] == ["program"]
    # Nor is one that its machine asked for by default and that came to be with something set.
    seeded = instance_document(known.node_id, "seeded", created_at=THEN, **theirs)
    await seed_instances(store, known.node_id, [seeded], here=False)
    answer = await offered(control, caller, {**given, "_id": seeded["_id"], "plugin_name": "seeded"})
    assert answer["differing"] == ["seeded"]
    for one in (document, seeded):
        now = await store.get(one["_id"])
        assert {field: now[field] for field in theirs} == theirs
        assert now["_rev"].startswith("1-")


@pytest.mark.logs("brought back what was set")
async def test_folders_go_to_the_instance_that_had_them(control: Any, laptop: Home) -> None:
    known = await control.enrol(laptop)
    caller, store = control.as_node(laptop, known), control.server.core.store

    def watching(name: str, *folders: str) -> dict[str, Any]:
        schema = {"properties": {"paths": {"type": "array", "items": {"type": "string"}}}}
        fields = {"watches": "paths", "settings_schema": schema, "settings": {"paths": list(folders)}}
        return instance_document(known.node_id, name, created_at=THEN, package="watcher", **fields)

    await store.put(watching("first", "/first"))
    await store.put(watching("second", "/second"))
    answer = await offered(control, caller, watching("second", "/second", "/extra"))
    assert (answer["folders"], answer["differing"]) == (["/extra"], [])
    answer = await offered(control, caller, watching("first", "/second/within"))
    assert "/second" in answer["refused"]["first"]
    answer = await offered(control, caller, watching("third", "/extra"))
    assert "/extra" in answer["refused"]["third"]
    found = {one["plugin_name"]: one["settings"]["paths"] for one in store.reader.documents_of("plugin")}
    assert found == {"first": ["/first"], "second": ["/second", "/extra"]}
