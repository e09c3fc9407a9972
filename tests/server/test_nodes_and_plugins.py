"""Nodes and plugin instances through the API: what can be changed, what is refused by field, what is never shown."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mosaicfs_core import disk_room
from mosaicfs_core.disk_room import Room
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.plugins.secrets import opened
from mosaicfs_core.testing.store import file_document


async def body_of(answer: Any) -> Any:
    return json.loads(await answer.get_data())


async def test_a_node_is_renamed_once_and_its_version_counts_it(instance: Any) -> None:
    node_id = instance.node_id
    for _ in range(2):
        answer = await instance.ask("PATCH", f"/api/nodes/{node_id}", json={"friendly_name": "Attic"})
        assert (await body_of(answer))["friendly_name"] == "Attic"
    stored = await instance.harness.store.get(ids.node_document_id(node_id))
    assert stored["control_version"] == 1
    stale = {"If-Match": '"old"'}
    answer = await instance.ask("PATCH", f"/api/nodes/{node_id}", json={"friendly_name": "x"}, headers=stale)
    assert answer.status_code == 412
    listed = await body_of(await instance.ask("GET", "/api/nodes"))
    assert [node["id"] for node in listed["items"]] == [node_id]
    assert (await body_of(await instance.ask("GET", "/api/nodes?status=offline")))["total"] == 0
    assert (await instance.ask("GET", "/api/nodes?status=asleep")).status_code == 400


async def test_a_crawl_is_asked_of_the_agent(instance: Any) -> None:
    answer = await instance.ask(
        "POST", f"/api/nodes/{instance.node_id}/crawl", json={"full": True, "prefixes": ["/a/"]}
    )
    assert answer.status_code == 202
    await asyncio.gather(*instance.server.background)
    assert instance.agent.crawls == [{"instance": None, "full": True, "prefixes": ("/a",)}]
    assert (await instance.ask("POST", "/api/system/reindex", json={})).status_code == 202
    await asyncio.gather(*instance.server.background)
    assert instance.agent.crawls[1:] == [{"full": True}]
    assert (await instance.ask("POST", "/api/nodes/node-other-aaaa/crawl", json={})).status_code == 404
    unknown = await instance.ask("POST", f"/api/nodes/{instance.node_id}/crawl", json={"instance": "pins"})
    assert unknown.status_code == 404
    assert len(instance.agent.crawls) == 2
    bad = await instance.ask("POST", f"/api/nodes/{instance.node_id}/crawl", json={"prefixes": ["/a/../b"]})
    assert bad.status_code == 400


async def test_only_files_that_are_there_are_counted(instance: Any) -> None:
    for path, status in (("/a/1", "active"), ("/a/2", "deleted")):
        await instance.harness.store.put(file_document(path, node_id=instance.node_id, status=status))
    assert (await body_of(await instance.ask("GET", "/api/system/info")))["documents"]["file"] == 1


async def test_what_is_left_out_is_listed_in_pages(instance: Any) -> None:
    address = f"/api/nodes/{instance.node_id}/exclusions"
    whole = await body_of(await instance.ask("GET", address))
    first = {"kind": "symlink", "export_path": "/tree/a", "reason": "a link", "count": 1}
    assert (whole["items"][0], whole["total"], whole["more"]) == (first, 3, False)
    page = await body_of(await instance.ask("GET", f"{address}?limit=1&offset=1&path=/tree/"))
    assert ([item["export_path"] for item in page["items"]], page["total"], page["more"]) == (["/tree/b"], 2, True)
    assert (await instance.ask("GET", f"{address}?path=/elsewhere")).status_code == 404
    for wrong in ("path=tree", "path=/tree/../etc", "limit=0", "limit=5001", "offset=-1", "paths=/tree"):
        assert (await instance.ask("GET", f"{address}?{wrong}")).status_code == 400, wrong
    assert (await instance.ask("GET", "/api/nodes/node-other-aaaa/exclusions")).status_code == 404
    instance.harness.core.agent = None
    assert (await instance.ask("GET", address)).status_code == 503


async def test_status_and_storage_of_a_node(instance: Any) -> None:
    status = await body_of(await instance.ask("GET", f"/api/nodes/{instance.node_id}/status"))
    assert status["overall"] == "healthy"
    assert status["subsystems"]["crawler"]["status"] == "healthy"
    storage = await body_of(await instance.ask("GET", f"/api/nodes/{instance.node_id}/storage"))
    assert storage["items"] == []


async def test_an_instance_of_a_plugin_from_first_to_last(instance: Any, tmp_path: Any) -> None:
    base = f"/api/nodes/{instance.node_id}/plugins"
    made = await instance.ask(
        "POST", base, json={"plugin_name": "second", "package": "localfs", "settings": {"paths": [str(tmp_path)]}}
    )
    assert made.status_code == 201, await made.get_data()
    body = await body_of(made)
    assert (body["id"], body["package"], body["settings"]["paths"]) == ("second", "localfs", [str(tmp_path)])
    assert not any(key.startswith("_") for key in body)
    again = await instance.ask("POST", base, json={"plugin_name": "second", "package": "localfs"})
    assert again.status_code == 409

    changed = await instance.ask(
        "PATCH", f"{base}/second", json={"enabled": False, "settings": {"paths": ["/usr", "/etc"]}}
    )
    assert (await body_of(changed))["settings"]["paths"] == ["/usr", "/etc"]
    assert (await body_of(changed))["enabled"] is False
    stale = await instance.ask(
        "PATCH", f"{base}/second", json={"enabled": True}, headers={"If-Match": made.headers["ETag"]}
    )
    assert stale.status_code == 412

    assert (await body_of(await instance.ask("DELETE", f"{base}/second"))) == {"removed": "second"}
    assert (await instance.ask("GET", f"{base}/second")).status_code == 404
    assert (await instance.ask("DELETE", f"{base}/second")).status_code == 404
    left = (await body_of(await instance.ask("GET", base)))["items"]
    assert [one["id"] for one in left] == ["agent"]


async def test_an_instance_that_is_not_there_is_named_with_what_there_is(instance: Any) -> None:
    base = f"/api/nodes/{instance.node_id}/plugins"

    async def refused(name: str, method: str = "PATCH") -> str:
        given = {"json": {"enabled": False}} if method == "PATCH" else {}
        answer = await instance.ask(method, f"{base}/{name}", **given)
        assert answer.status_code == 404
        return str((await body_of(answer))["error"]["message"])

    assert await refused("nosuch") == f"{instance.node_id} has no plugin instance nosuch; it has none"
    for name in ("holidays", "mail"):
        await instance.ask("POST", base, json={"plugin_name": name, "package": "localfs"})
    for method in ("PATCH", "GET", "DELETE"):
        assert (await refused("holiday", method)).endswith(" instance holiday; did you mean holidays?")
        assert (await refused("nosuch", method)).endswith("its instances are holidays, mail")
    assert "has no instance there: `mosaicfs plugin enable localfs` makes one" in await refused("localfs")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_wrong_settings_are_refused_field_by_field(instance: Any, method: str) -> None:
    base = f"/api/nodes/{instance.node_id}/plugins"
    if method == "PATCH":
        await instance.ask("POST", base, json={"plugin_name": "localfs"})
    target = base if method == "POST" else f"{base}/localfs"
    name = {"plugin_name": "localfs"} if method == "POST" else {}
    answer = await instance.ask(method, target, json={**name, "settings": {"paths": "/not/a/list"}})
    assert answer.status_code == 400
    error = (await body_of(answer))["error"]
    assert error["details"]["field"] == "settings.paths"
    assert "paths" in error["details"]["fields"]


async def test_a_plugin_that_declares_no_settings_takes_none(instance: Any) -> None:
    host, base = instance.harness.core.host, f"/api/nodes/{instance.node_id}/plugins"
    manifest = msgspec.structs.replace(host.plugins["localfs"].manifest, settings_schema=None, watches=None)
    host.plugins = {**host.plugins, "plain": replace(host.plugins["localfs"], name="plain", manifest=manifest)}
    answer = await instance.ask("POST", base, json={"plugin_name": "plain", "settings": {"color": "red"}})
    assert answer.status_code == 400
    error = (await body_of(answer))["error"]
    assert error["message"] == "settings.color: unknown setting; plain has none at all"
    assert error["details"]["field"] == "settings.color"
    assert (await instance.ask("POST", base, json={"plugin_name": "plain"})).status_code == 201
    assert (await instance.ask("PATCH", f"{base}/plain", json={"settings": {"color": 1}})).status_code == 400
    assert (await instance.ask("PATCH", f"{base}/plain", json={"settings": {"color": None}})).status_code == 200


@pytest.mark.parametrize("how", ["uninstalled", "failed", "never seen"])
async def test_secrets_stay_hidden_without_their_package(instance: Any, how: str) -> None:
    host, base = instance.harness.core.host, f"/api/nodes/{instance.node_id}/plugins"
    schema = {"type": "object", "properties": {"folder": {"type": "string"}, "token": {"type": "secret"}}}
    original = host.plugins["localfs"]
    with_secret = replace(original, manifest=msgspec.structs.replace(original.manifest, settings_schema=schema))
    host.plugins = {**host.plugins, "mailbox": replace(with_secret, name="mailbox")}
    if how == "never seen":
        del host.plugins["mailbox"]
    settings = {"folder": "/mail", "token": "hunter2-and-more"}
    made = await instance.ask("POST", base, json={"plugin_name": "mailbox", "settings": settings})
    assert made.status_code == 201
    mask = {"set": True}
    if how == "uninstalled":
        del host.plugins["mailbox"]
    elif how == "failed":
        host.plugins["mailbox"] = replace(original, name="mailbox", status="failed", manifest=None, error="broken")
    hidden = {"folder": mask if how == "never seen" else "/mail", "token": mask}
    for target in (base, f"{base}/mailbox"):
        answer = await instance.ask("GET", target)
        assert "hunter2" not in (await answer.get_data(as_text=True))
    assert (await body_of(answer))["settings"] == hidden
    changed = await instance.ask("PATCH", f"{base}/mailbox", json={"settings": {**hidden, "more": 1}})
    assert (await body_of(changed))["settings"] == {**hidden, "more": 1}
    document = await instance.harness.store.get(f"plugin::{instance.node_id}::mailbox")
    assert "hunter2" not in str(document)
    assert opened(document, lambda: instance.server.identity.key) == ({**settings, "more": 1}, None)


async def test_a_new_folder_that_cannot_be_indexed_is_refused_and_one_that_was_there_may_be_missing(
    instance: Any, tmp_path: Path
) -> None:
    base = f"/api/nodes/{instance.node_id}/plugins"
    (tmp_path / "file").touch()
    disk = tmp_path / "disk"
    disk.mkdir()
    made = {"plugin_name": "localfs", "settings": {"paths": [str(disk)]}}
    assert (await instance.ask("POST", base, json=made)).status_code == 201
    disk.rmdir()
    for wrong, why in (("none", "does not exist"), ("file", "is a file")):
        given = {"settings": {"paths": [str(disk), str(tmp_path / wrong)]}}
        another = {"plugin_name": "other", "package": "localfs", "settings": {"paths": [str(tmp_path / wrong)]}}
        for method, target, body in (("PATCH", f"{base}/localfs", given), ("POST", base, another)):
            answer = await instance.ask(method, target, json=body)
            assert answer.status_code == 400
            error = (await body_of(answer))["error"]
            assert why in error["message"]
            assert error["details"]["field"].startswith("settings.paths.")
    same = await instance.ask("PATCH", f"{base}/localfs", json={"settings": {"paths": [str(disk)], "watch": False}})
    assert same.status_code == 200


async def test_an_instance_whose_files_would_lie_among_others_is_refused(instance: Any) -> None:
    host, base = instance.harness.core.host, f"/api/nodes/{instance.node_id}/plugins"
    manifest = msgspec.structs.replace(host.plugins["localfs"].manifest, provides_filesystem=True, settings_schema=None)
    host.plugins = {**host.plugins, "bridge": replace(host.plugins["localfs"], name="bridge", manifest=manifest)}
    await instance.ask("POST", base, json={"plugin_name": "localfs", "settings": {"paths": ["/tmp", "/home"]}})
    for name in ("tmp", "home"):
        refused = await instance.ask("POST", base, json={"plugin_name": name, "package": "bridge"})
        assert refused.status_code == 409
        assert f"/{name}" in (await body_of(refused))["error"]["message"]
    assert (await instance.ask("POST", base, json={"plugin_name": "mail", "package": "bridge"})).status_code == 201
    document = await instance.harness.store.get(ids.plugin_document_id(instance.node_id, "mail"))
    assert (document["provides_filesystem"], document["file_path_prefix"]) == (True, "/mail")
    refused = await instance.ask("PATCH", f"{base}/localfs", json={"settings": {"paths": ["/mail/inbox"]}})
    assert refused.status_code == 409
    assert (await instance.ask("PATCH", f"{base}/mail", json={"enabled": False})).status_code == 200


async def test_an_unknown_package_is_kept_with_a_warning(instance: Any) -> None:
    base = f"/api/nodes/{instance.node_id}/plugins"
    answer = await instance.ask("POST", base, json={"plugin_name": "stranger", "settings": {"any": 1}})
    assert answer.status_code == 201
    assert "is installed" in (await body_of(answer))["warnings"][0]
    switched = await body_of(await instance.ask("PATCH", f"{base}/stranger", json={"enabled": True}))
    assert "is installed" in switched["warnings"][0]
    assert "warnings" not in await body_of(await instance.ask("PATCH", f"{base}/stranger", json={"enabled": False}))
    for name in ("../x", "UPPER", "a b", "", "x" * 65):
        assert (await instance.ask("POST", base, json={"plugin_name": name})).status_code == 400


async def test_installed_plugins_are_listed_with_what_is_wrong(instance: Any) -> None:
    listed = await body_of(await instance.ask("GET", "/api/plugins"))
    found = {plugin["name"]: plugin for plugin in listed["items"]}
    assert found["localfs"]["status"] == "ok"
    assert found["localfs"]["first_party"] is True
    assert "paths" in found["localfs"]["settings_schema"]["properties"]
    assert all("traceback" not in plugin for plugin in found.values())


async def test_health_is_503_on_a_full_disk(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_room, "room_on", lambda path: Room(free=0, size=10**12, files=None))
    sick = await instance.ask("GET", "/api/health", token=None)
    assert sick.status_code == 503
    body = await body_of(sick)
    assert (body["status"], body["subsystems"]["disk"]) == ("unhealthy", {"status": "unhealthy"})
    assert body["subsystems"]["store"] == {"status": "healthy"}
    assert (await instance.ask("GET", "/api/system/info")).status_code == 200


@pytest.mark.logs("^the replica cannot be read|^the writer of the replica has stopped")
async def test_health_is_503_when_the_replica_cannot_be_used(instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = instance.harness.store
    assert (await instance.ask("GET", "/api/health", token=None)).status_code == 200

    def broken(reader: Any) -> Any:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("mosaicfs_core.store.reader.Reader.info", broken)
        patched.setattr("mosaicfs_core.store.reader_files.FileReader.file_by_id", lambda self, short: broken(self))
        sick = await instance.ask("GET", "/api/health", token=None)
        assert sick.status_code == 503
        body = await body_of(sick)
        assert (body["status"], body["subsystems"]["store"]) == ("unhealthy", {"status": "unhealthy"})
        file_id = f"{instance.node_id}.{ids.first_file_uuid(instance.node_id, '/a')}"
        for address in ("/api/system/info", f"/api/files/{file_id}"):
            answer = await instance.ask("GET", address)
            assert (answer.status_code, (await body_of(answer))["error"]["code"]) == (503, "unavailable")

    def broken_commit(outcomes: Any) -> Any:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(store._writer, "_commit", broken_commit)
    with pytest.raises(Unavailable):
        await store.transaction(lambda tx: None)
    assert (await instance.ask("GET", "/api/health", token=None)).status_code == 503
