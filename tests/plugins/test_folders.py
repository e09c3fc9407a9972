"""``mosaicfs folders``: the watched folders of a node are listed, added and removed through the settings API."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core import documents as d
from mosaicfs_core.errors import Stale
from mosaicfs_core.plugins.instances import default_document
from mosaicfs_plugins.localfs.commands import register, with_added
from mosaicfs_plugins.localfs.scan import within

LAPTOP = "node-laptop-aaaa"


@pytest.fixture(autouse=True)
async def _nodes(server: Any) -> None:
    plugin = server.core.host.get("localfs")
    for node_id, name in ((server.node_id, "Desk"), (LAPTOP, "Laptop")):
        await server.store.put(
            {"_id": d.node_document_id(node_id), "type": "node", "node_id": node_id, "friendly_name": name}
            | {"status": "online"}
        )
        await server.store.put(default_document(node_id, plugin))


async def watched(server: Any, node_id: str) -> list[str]:
    document = await server.store.get(d.plugin_document_id(node_id, "localfs"))
    return list(document.get("settings", {}).get("paths", ()))


async def test_folders_are_added_listed_and_removed(server: Any, command_line: Any, tmp_path: Path) -> None:
    for name in ("a/inner", "b"):
        (tmp_path / name).mkdir(parents=True)
    first, second = f"{tmp_path}/a", f"{tmp_path}/b"
    assert (await command_line.run(register, "folders", "list")).exit_code == 0
    assert command_line.shown == [[]]
    added = await command_line.run(register, "folders", "add", f"{first}/inner", second + "/")
    assert added.exit_code == 0, added.output
    assert command_line.said == [f"{first}/inner is watched now.", f"{second} is watched now."]
    await command_line.run(register, "folders", "add", first, second)
    assert command_line.said == [f"{first} is watched now.", f"{second} is watched already."]
    assert await watched(server, server.node_id) == [second, first], "what lies in another goes"
    await command_line.run(register, "folders", "add", f"{first}/inner")
    assert command_line.said == [f"{first}/inner is watched already, with {first}."]
    await server.add(f"{first}/x")
    await command_line.run(register, "folders", "list")
    assert [(row["folder"], row["files"], row["state"]) for row in command_line.shown[0]] == [
        (second, 0, "ok"),
        (first, 1, "ok"),
    ]
    await command_line.run(register, "folders", "remove", second)
    assert command_line.said == [f"{second} is not watched any more."]
    assert await watched(server, server.node_id) == [first]


async def test_a_folder_with_more_files_than_are_counted_says_where_they_are(
    server: Any, command_line: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    get = command_line.get
    await command_line.run(register, "folders", "add", str(tmp_path))

    def many(path: str, /, **given: Any) -> Any:
        return {"total": 1000, "more": True, "items": []} if path == "files" else get(path, **given)

    monkeypatch.setattr(command_line, "get", many)
    await command_line.run(register, "folders", "list")
    assert [row["files"] for row in command_line.shown[0]] == ["more than 1,000"]
    assert command_line.said == [
        "No more are counted here; `mosaicfs status` tells how many files of all machines there are."
    ]


@pytest.mark.parametrize("times", [1, 20])
async def test_a_change_that_somebody_makes_at_the_same_time_is_not_lost(
    server: Any, command_line: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    send, overtaken = command_line.send, []

    def overtake(method: str, path: str, body: Any = None, **given: Any) -> Any:
        if method == "PATCH" and len(overtaken) < times:
            overtaken.append(f"/srv/theirs-{len(overtaken)}")
            send(method, path, {"settings": {"paths": overtaken}})
        return send(method, path, body, **given)

    monkeypatch.setattr(command_line, "send", overtake)
    ran = await command_line.run(register, "folders", "add", "/srv/mine", "--node", "Laptop")
    if times == 1:
        assert (ran.exit_code, await watched(server, LAPTOP)) == (0, ["/srv/theirs-0", "/srv/mine"])
    else:
        assert (type(ran.exception), await watched(server, LAPTOP)) == (Stale, overtaken)


async def test_what_is_no_folder_or_not_watched_changes_nothing(server: Any, command_line: Any, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    refused = await command_line.run(register, "folders", "add", f"{tmp_path}/a", f"{tmp_path}/none")
    assert (refused.exit_code, f"{tmp_path}/none does not exist" in str(refused.exception)) == (1, True)
    assert await watched(server, server.node_id) == []
    await command_line.run(register, "folders", "add", f"{tmp_path}/a")
    for path, word in ((f"{tmp_path}/a/sub", ".mosaicfsignore"), (f"{tmp_path}/b", f"those are {tmp_path}/a")):
        missing = await command_line.run(register, "folders", "remove", f"{tmp_path}/a", path)
        assert word in str(missing.exception)
    assert await watched(server, server.node_id) == [f"{tmp_path}/a"]


async def test_another_node_by_its_name_and_whole_paths(server: Any, command_line: Any) -> None:
    await command_line.run(register, "folders", "add", "/srv/photos", "--node", "Laptop")
    assert await watched(server, LAPTOP) == ["/srv/photos"]
    for word in ("add", "remove"):
        refused = await command_line.run(register, "folders", word, "photos", "--node", "Laptop")
        assert "whole path" in str(refused.exception)
    await command_line.run(register, "folders", "remove", "/srv/photos/", "--node", LAPTOP)
    assert await watched(server, LAPTOP) == []


async def test_a_name_that_several_nodes_have_is_not_enough(server: Any, command_line: Any) -> None:
    await server.store.update(d.node_document_id(LAPTOP), lambda present: {**present, "friendly_name": "Desk"})
    refused = await command_line.run(register, "folders", "add", "/srv", "--node", "Desk")
    assert f"several nodes are called Desk: {LAPTOP}, {server.node_id}" in str(refused.exception)


async def test_home_shorthand_is_the_same_folder(
    server: Any, command_line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "docs").mkdir()
    where = f"nodes/{server.node_id}/plugins/localfs"
    assert (await server.ask("PATCH", where, {"settings": {"paths": ["~/docs"]}})).status == 200
    await command_line.run(register, "folders", "add", f"{tmp_path}/docs")
    assert await watched(server, server.node_id) == ["~/docs"], "it stays as it was written"
    await command_line.run(register, "folders", "remove", f"{tmp_path}/docs")
    assert await watched(server, server.node_id) == []


async def test_a_switched_off_instance_is_named(server: Any, command_line: Any, tmp_path: Path) -> None:
    await server.ask("PATCH", f"nodes/{server.node_id}/plugins/localfs", {"enabled": False})
    await command_line.run(register, "folders", "add", str(tmp_path))
    assert "`mosaicfs plugin enable localfs`" in command_line.said[-1]
    await command_line.run(register, "folders", "list")
    assert [row["state"] for row in command_line.shown[0]] == ["switched off"]


async def test_a_missing_folder_says_so(server: Any, command_line: Any) -> None:
    await command_line.run(register, "folders", "add", "/srv/photos", "--node", LAPTOP)
    problem = {"kind": "inaccessible", "export_path": "/srv/photos", "message": "the folder does not exist", "count": 1}
    status = {
        "_id": d.status_document_id(LAPTOP),
        "type": "agent_status",
        "node_id": LAPTOP,
        "updated_at": "2026-02-16T09:22:00.000000Z",
        "overall": "degraded",
        "subsystems": {"crawler": {"status": "degraded", "detail": "", "problems": [problem]}},
    }
    await server.store.put(status)
    await command_line.run(register, "folders", "list", "--node", LAPTOP)
    assert [row["state"] for row in command_line.shown[0]] == ["the folder does not exist"]


paths = st.lists(st.sampled_from(["a", "b"]), max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(paths), st.lists(paths))
def test_added_folders_cover_all_and_none_lies_in_another(present: list[str], wanted: list[str]) -> None:
    made = with_added(present, wanted)
    assert all(any(within(path, root) for root in made) for path in (*present, *wanted))
    assert not any(within(one, other) for one in made for other in made if one is not other)
    assert all(os.path.normpath(path) == path for path in made)
