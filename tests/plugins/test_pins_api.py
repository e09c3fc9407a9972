"""``/api/pins`` and ``mosaicfs pins``: a pin is on exactly the nodes it names, and what they say of it is shown."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_plugins.pins.commands import register

PDF = [{"op": "glob", "pattern": "**/*.pdf"}]


@pytest.fixture(autouse=True)
async def _nodes(server: Any) -> None:
    for node_id, name in (
        (server.node_id, "Desk"),
        ("node-laptop-aaaa", "Laptop"),
        ("control-plane-bbbb", "Control plane"),
    ):
        await server.store.put(
            {
                "_id": d.node_document_id(node_id),
                "type": "node",
                "node_id": node_id,
                "friendly_name": name,
                "status": "online",
            }
        )


async def settings(server: Any, node_id: str) -> Any:
    document = await server.store.get(f"plugin::{node_id}::pins")
    return None if document is None else document["settings"]["pins"]


async def tell(server: Any, node_id: str, *pins: dict[str, Any]) -> None:
    """A node's status arrives."""
    reports = {"pins": {"status": "healthy", "detail": "", "pins": list(pins)}}
    document = {
        "_id": d.status_document_id(node_id),
        "type": "agent_status",
        "node_id": node_id,
        "updated_at": "2026-02-16T09:22:00.000000Z",
        "overall": "healthy",
        "subsystems": {"instances": {"status": "healthy", "detail": "", "reports": reports}},
    }
    await server.store.update(document["_id"], lambda _: document)


async def test_a_pin_is_made_changed_and_removed_on_exactly_its_nodes(server: Any) -> None:
    laptop = "node-laptop-aaaa"
    body = {"name": "papers", "nodes": [server.node_id, laptop], "steps": PDF}
    made = await server.ask("PUT", "pins", body)
    assert made.status == 200, made.body
    assert [node["node_id"] for node in made.body["nodes"]] == sorted([laptop, server.node_id])
    assert {node["state"] for node in made.body["nodes"]} == {"unknown"}
    assert await settings(server, laptop) == [{"name": "papers", "steps": PDF}]
    document = await server.store.get(f"plugin::{laptop}::pins")
    assert (document["enabled"], document["package"], document["plugin_type"]) == (True, "pins", "package")
    again = await server.ask("PUT", "pins", body)
    assert (again.body, again.headers["ETag"]) == (made.body, made.headers["ETag"])
    assert (await server.store.get(f"plugin::{laptop}::pins"))["_rev"] == document["_rev"], "nothing was written"
    await server.ask("PUT", "pins", {"name": "trip", "nodes": [laptop], "directory": "/trip"})
    moved = await server.ask("PUT", "pins", {**body, "nodes": [laptop], "default_result": "exclude"})
    assert [node["node_id"] for node in moved.body["nodes"]] == [laptop]
    assert await settings(server, server.node_id) == []
    assert [pin["name"] for pin in await settings(server, laptop)] == ["papers", "trip"], "its rank stays"
    listed = await server.ask("GET", "pins")
    assert [(pin["name"], pin["directory"], pin["default_result"]) for pin in listed.body["items"]] == [
        ("papers", None, "exclude"),
        ("trip", "/trip", "include"),
    ]
    removed = await server.ask("DELETE", "pins", params={"name": "papers"})
    assert removed.body == {"removed": "papers", "nodes": [laptop]}
    assert (await server.ask("DELETE", "pins", params={"name": "papers"})).status == 404
    assert (await server.ask("DELETE", "pins", params={"name": "trip", "node_id": server.node_id})).status == 404


async def test_what_the_generic_settings_show_is_not_masked(server: Any) -> None:
    steps = [*PDF, {"op": "label", "labels": ["trip"]}]
    await server.ask("PUT", "pins", {"name": "papers", "nodes": [server.node_id], "steps": steps})
    shown = await server.ask("GET", f"nodes/{server.node_id}/plugins/pins")
    assert shown.body["settings"] == {"pins": [{"name": "papers", "steps": steps}]}
    wrong = await server.ask("PATCH", f"nodes/{server.node_id}/plugins/pins", {"settings": {"pins": [{"name": "all"}]}})
    assert wrong.status == 400


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"directory": "trip"}, "directory"),
        ({"directory": "/trip/"}, "directory"),
        ({"directory": None}, "directory"),
        ({"directory": None, "steps": []}, "directory"),
        ({"steps": [{"op": "glob"}]}, "steps[0].pattern"),
        ({"nodes": []}, "nodes"),
        ({"nodes": ["node-nobody-aaaa"]}, "nodes[0]"),
        ({"nodes": ["control-plane-bbbb"]}, "nodes[0]"),
        ({"name": " x"}, "name"),
        ({"name": ""}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_changes(server: Any, change: dict[str, Any], field: str) -> None:
    body = {"name": "trip", "nodes": [server.node_id], "directory": "/trip", **change}
    answer = await server.ask("PUT", "pins", {key: value for key, value in body.items() if value is not None})
    assert answer.status == 400
    assert field in json.dumps(answer.error)
    assert await settings(server, server.node_id) is None


async def test_odd_pins_are_warned_of(server: Any) -> None:
    body = {"name": "odd", "nodes": [server.node_id], "steps": [{"op": "moon"}], "directory": "/nowhere"}
    warnings = (await server.ask("PUT", "pins", body)).body["warnings"]
    assert [("moon" in text, "/nowhere" in text) for text in warnings] == [(True, False), (False, True)]
    await server.ask("PATCH", f"nodes/{server.node_id}/plugins/pins", {"enabled": False})
    answer = await server.ask("PUT", "pins", {"name": "trip", "nodes": [server.node_id], "steps": PDF})
    assert answer.status == 404
    assert "pins" in answer.error["message"]


async def test_a_change_of_another_version_is_refused(server: Any) -> None:
    body = {"name": "papers", "nodes": [server.node_id], "steps": PDF}
    first = await server.ask("PUT", "pins", body)
    shown = await server.ask("GET", "pins", params={"name": "papers"})
    assert shown.headers["ETag"] == first.headers["ETag"]
    await server.ask("PUT", "pins", {**body, "directory": "/trip"})
    old = {"If-Match": first.headers["ETag"]}
    assert (await server.ask("PUT", "pins", body, headers=old)).status == 412
    assert (await server.ask("DELETE", "pins", headers=old, params={"name": "papers"})).status == 412
    assert (await server.ask("PUT", "pins", {**body, "name": "new"}, headers={"If-Match": "*"})).status == 412
    now = {"If-Match": (await server.ask("GET", "pins", params={"name": "papers"})).headers["ETag"]}
    assert (await server.ask("DELETE", "pins", headers=now, params={"name": "papers"})).status == 200


async def test_progress_is_what_the_nodes_say(server: Any) -> None:
    laptop = "node-laptop-aaaa"
    await server.ask("PUT", "pins", {"name": "papers", "nodes": [laptop], "steps": PDF})
    told = {
        "name": "papers",
        "state": "no_room",
        "files_wanted": 3,
        "files_present": 1,
        "bytes_wanted": 30,
        "bytes_present": 10,
        "files_without_room": 2,
        "bytes_without_room": 20,
        "failures": [{"node_id": "n", "export_path": "/a", "reason": "full"}],
        "of_a_newer_version": True,
    }
    await tell(server, laptop, told)
    (node,) = (await server.ask("GET", "pins", params={"node_id": laptop})).body["items"][0]["nodes"]
    assert (node["node_name"], node["state"], node["files_present"], node["bytes_without_room"]) == (
        "Laptop",
        "no_room",
        1,
        20,
    )
    assert node["failures"] == told["failures"]
    assert node["updated_at"] == "2026-02-16T09:22:00.000000Z"
    await tell(server, laptop, {"name": "papers", "state": 5})
    assert (await server.ask("GET", "pins")).body["items"][0]["nodes"][0]["state"] == "unknown"
    assert (await server.ask("GET", "pins", params={"node_id": server.node_id})).body["total"] == 0


async def test_this_processs_own_agent_is_asked_and_not_its_document(server: Any) -> None:
    await server.ask("PUT", "pins", {"name": "papers", "nodes": [server.node_id], "steps": PDF})
    reports = {"pins": {"pins": [{"name": "papers", "state": "complete", "files_wanted": 4}]}}
    status = {"updated_at": "2026-02-16T09:22:00.000000Z", "subsystems": {"instances": {"reports": reports}}}
    server.app.extensions["mosaicfs"].core.agent = SimpleNamespace(status=lambda: status)
    node = (await server.ask("GET", "pins")).body["items"][0]["nodes"][0]
    assert (node["state"], node["files_wanted"]) == ("complete", 4)


async def test_commands(server: Any, command_line: Any, tmp_path: Path) -> None:
    done = await command_line.run(register, "pins", "list")
    assert (done.exit_code, command_line.shown) == (0, [[]])
    done = await command_line.run(register, "pins", "add", "/trip/", "--node", "Laptop", "--node", server.node_id)
    assert done.exit_code == 0, done.output
    assert [(row["name"], row["holds"], row["node"]) for row in command_line.shown[0]] == [
        ("/trip", "/trip", "Laptop"),
        ("/trip", "/trip", "Desk"),
    ]
    assert "Nothing is shown at /trip" in command_line.said[0]
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(PDF))
    options = ("--steps", str(steps), "--glob", "/a/**", "--label", "x", "--name", "papers", "--exclude-rest")
    assert (await command_line.run(register, "pins", "add", *options)).exit_code == 0
    assert (await settings(server, server.node_id))[1] == {
        "name": "papers",
        "steps": [*PDF, {"op": "glob", "pattern": "/a/**"}, {"op": "label", "labels": ["x"]}],
        "default_result": "exclude",
    }
    failure = {"node_id": "n", "export_path": "/a", "reason": "gone"}
    told = {"name": "papers", "state": "failed", "files_wanted": 3, "files_present": 1, "failures": [failure]}
    await tell(server, server.node_id, told)
    await command_line.run(register, "pins", "show", "papers")
    assert [(row["files"], row["state"], row["problem"]) for row in command_line.shown[0]] == [
        ("1/3", "failed", "gone")
    ]
    assert command_line.shown[1] == [{"on": "Desk", **failure}]
    assert (await command_line.run(register, "pins", "show", "nothing")).exit_code == 0
    await command_line.run(register, "pins", "remove", "/trip", "--node", "Laptop")
    assert command_line.said == ["Removed /trip from node-laptop-aaaa."]
    for wrong in (("add",), ("add", "--glob", "x"), ("remove", "nothing")):
        assert (await command_line.run(register, "pins", *wrong)).exit_code != 0
