"""Protects labels: on files and by rules, through the API and the command line, without lost updates."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_plugins.labels import commands, service

PATH = "/home/user/taxes/2025.pdf"


async def test_labels_of_a_file_are_set_shown_and_cleared(server: Any) -> None:
    file_id = await server.add(PATH)
    made = await server.ask("PUT", "labels/assignments", {"export_path": PATH, "labels": ["tax", " tax ", "home"]})
    assert made.status == 200
    assert made.body["labels"] == ["tax", "home"]
    assert made.body["node_id"] == server.node_id
    assert made.body["updated_by"] == "local"
    assert made.body["indexed"] is True
    effective = await server.ask("GET", "labels/effective", params={"file_id": file_id})
    assert effective.body["labels"] == ["home", "tax"]
    assert effective.body["assigned"] == ["tax", "home"]
    listed = await server.ask("GET", "labels/assignments", params={"label": "tax"})
    assert [item["export_path"] for item in listed.body["items"]] == [PATH]
    cleared = await server.ask("DELETE", "labels/assignments", params={"file_id": file_id})
    assert cleared.body["labels"] == ["tax", "home"]
    assert (await server.ask("GET", "labels/assignments")).body["total"] == 0
    assert (await server.ask("DELETE", "labels/assignments", params={"file_id": file_id})).status == 404
    again = await server.ask("PUT", "labels/assignments", {"file_id": file_id, "labels": ["new"]})
    assert again.body["labels"] == ["new"]


async def test_the_document_is_the_one_of_the_core(server: Any) -> None:
    await server.ask("PUT", "labels/assignments", {"export_path": PATH, "labels": ["tax"]})
    await server.ask("PUT", "labels/assignments", {"export_path": PATH, "add": ["home"], "remove": ["tax"]})
    document = await server.store.get(d.label_assignment_id(server.node_id, PATH))
    typed = d.parse(document)
    assert isinstance(typed, d.LabelAssignment)
    assert typed.labels == ("home",)
    assert typed.label_times["tax"].added is not None
    assert typed.label_times["tax"].removed is not None
    assert typed.label_times["tax"].added <= typed.label_times["tax"].removed
    assert typed.label_times["home"].removed is None


async def test_adding_and_removing_is_idempotent(server: Any) -> None:
    change = {"export_path": PATH, "add": ["a", "b"], "remove": ["c"]}
    first = await server.ask("PUT", "labels/assignments", change)
    second = await server.ask("PUT", "labels/assignments", change)
    assert first.body == second.body
    assert first.headers["ETag"] == second.headers["ETag"]


async def test_labels_added_at_once_are_all_kept(server: Any) -> None:
    changes = [{"export_path": PATH, "add": [f"label {number}"]} for number in range(8)]
    answers = await asyncio.gather(*(server.ask("PUT", "labels/assignments", change) for change in changes))
    assert {answer.status for answer in answers} == {200}
    shown = await server.ask("GET", "labels/assignments", params={"export_path": PATH})
    assert len(shown.body["items"][0]["labels"]) == 8


async def test_a_stale_if_match_changes_nothing(server: Any) -> None:
    first = await server.ask("PUT", "labels/assignments", {"export_path": PATH, "labels": ["a"]})
    etag = first.headers["ETag"]
    fresh = {"If-Match": etag}
    second = await server.ask("PUT", "labels/assignments", {"export_path": PATH, "labels": ["b"]}, fresh)
    assert second.status == 200
    third = await server.ask("PUT", "labels/assignments", {"export_path": PATH, "labels": ["c"]}, fresh)
    assert third.status == 412
    assert third.error["code"] == "stale"
    shown = await server.ask("GET", "labels/assignments", params={"export_path": PATH})
    assert shown.body["items"][0]["labels"] == ["b"]
    assert shown.headers["ETag"] == second.headers["ETag"]
    other = await server.ask("PUT", "labels/assignments", {"export_path": "/new", "labels": ["c"]}, fresh)
    assert other.status == 412
    assert (await server.ask("DELETE", "labels/assignments", headers=fresh, params={"export_path": PATH})).status == 412


async def test_rules_label_what_is_beneath_a_folder(server: Any) -> None:
    inside, outside = await server.add(PATH), await server.add("/home/user/taxes-old/1.pdf")
    made = await server.ask("POST", "labels/rules", {"path_prefix": "/home/user/taxes", "labels": ["tax"]})
    assert made.status == 201
    assert made.body["path_prefix"] == "/home/user/taxes/"
    assert made.body["name"] == "tax"
    rule = f"labels/rules/{made.body['id']}"
    assert made.headers["Location"] == f"/api/{rule}"
    assert (await server.ask("GET", rule)).headers["ETag"] == made.headers["ETag"]

    async def labels_of(file_id: str) -> list[str]:
        found = await server.ask("GET", "labels/effective", params={"file_id": file_id})
        return list(found.body["labels"])

    assert await labels_of(inside) == ["tax"]
    assert await labels_of(outside) == []
    changed = await server.ask("PATCH", rule, {"labels": ["money"]}, {"If-Match": made.headers["ETag"]})
    assert changed.body["labels"] == ["money"]
    assert await labels_of(inside) == ["money"]
    assert (await server.ask("PATCH", rule, {"enabled": False}, {"If-Match": made.headers["ETag"]})).status == 412
    assert (await server.ask("PATCH", rule, {"enabled": False})).status == 200
    assert await labels_of(inside) == []
    assert (await server.ask("PATCH", rule, {"enabled": True, "node_id": "node-other"})).status == 200
    assert await labels_of(inside) == []
    assert (await server.ask("DELETE", rule)).body["name"] == "tax"
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        answer = await server.ask(method, rule, body)
        assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert (await server.ask("GET", "labels/rules")).body["total"] == 0


async def test_a_rule_takes_a_folder_with_a_newline_in_its_name(server: Any) -> None:
    inside = await server.add("/home/two\nlines/1.pdf")
    made = await server.ask("POST", "labels/rules", {"path_prefix": "/home/two\nlines", "labels": ["odd"]})
    assert made.status == 201, made.body
    found = await server.ask("GET", "labels/effective", params={"file_id": inside})
    assert found.body["labels"] == ["odd"]
    refused = await server.ask("POST", "labels/rules", {"path_prefix": "/home", "labels": ["x"], "node_id": "node-a\n"})
    assert (refused.status, refused.body["error"]["details"]["field"]) == (400, "node_id")


async def test_a_repeated_post_makes_one_rule(server: Any) -> None:
    key = {"Idempotency-Key": "k1"}
    body = {"path_prefix": "/a", "labels": ["x"]}
    first = await server.ask("POST", "labels/rules", body, key)
    second = await server.ask("POST", "labels/rules", body, key)
    assert first.body == second.body
    assert first.headers["ETag"] == second.headers["ETag"]
    other = await server.ask("POST", "labels/rules", {**body, "labels": ["y"]}, key)
    assert (other.status, other.error["code"]) == (409, "conflict")
    assert (await server.ask("GET", "labels/rules")).body["total"] == 1


async def test_a_preview_counts_and_names_files_and_makes_nothing(server: Any) -> None:
    for number in range(12):
        await server.add(f"/data/in/{number}.txt")
    await server.add("/data/inside.txt")
    found = await server.ask("POST", "labels/rules/preview", {"path_prefix": "/data/in", "examples": 3})
    assert (found.body["total"], found.body["more"], len(found.body["examples"])) == (12, False, 3)
    assert found.body["examples"][0]["export_path"].startswith("/data/in/")
    none = await server.ask("POST", "labels/rules/preview", {"path_prefix": "/data", "node_id": "node-other"})
    assert none.body["total"] == 0
    assert (await server.ask("GET", "labels/rules")).body["total"] == 0


async def test_a_files_labels_among_more_rules_than_a_page_holds(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_BATCH", 5)
    await server.add("/data/in/a.txt")
    covering = {"/": "*", "/data/": server.node_id, "/data/in/": "*"}
    for prefix, node in covering.items():
        await server.ask("POST", "labels/rules", {"path_prefix": prefix, "node_id": node, "labels": [f"of {prefix}"]})
    for number in range(20):
        await server.ask("POST", "labels/rules", {"path_prefix": f"/data/{number}", "labels": ["other"]})
    await server.ask("POST", "labels/rules", {"path_prefix": "/data", "node_id": "node-other", "labels": ["other"]})
    found = await server.ask("GET", "labels/effective", params={"export_path": "/data/in/a.txt"})
    assert found.body["labels"] == [f"of {prefix}" for prefix in covering]
    assert {rule["path_prefix"]: rule["node_id"] for rule in found.body["rules"]} == covering


async def test_labels_in_use_are_counted(server: Any) -> None:
    for path, labels in (("/a", ["x", "y"]), ("/b", ["x"])):
        await server.ask("PUT", "labels/assignments", {"export_path": path, "labels": labels})
    await server.ask("POST", "labels/rules", {"path_prefix": "/", "labels": ["y", "z"]})
    found = await server.ask("GET", "labels")
    assert [(item["label"], item["files"], item["rules"]) for item in found.body["items"]] == [
        ("x", 2, 0),
        ("y", 1, 1),
        ("z", 0, 1),
    ]
    page = await server.ask("GET", "labels", params={"limit": 1, "offset": 1})
    assert (page.body["total"], page.body["items"][0]["label"]) == (3, "y")
    assert (await server.ask("GET", "labels/rules", params={"label": "z"})).body["total"] == 1
    assert (await server.ask("GET", "labels/rules", params={"label": "x"})).body["total"] == 0
    assert (await server.ask("GET", "labels/rules", params={"node_id": "*"})).body["total"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "labels/assignments", {"export_path": PATH}, "labels"),
        ("PUT", "labels/assignments", {"export_path": PATH, "labels": ["a"], "add": ["b"]}, "labels"),
        ("PUT", "labels/assignments", {"labels": ["a"]}, "export_path"),
        ("PUT", "labels/assignments", {"export_path": PATH, "file_id": "a.b", "labels": []}, "file_id"),
        ("PUT", "labels/assignments", {"export_path": "relative", "labels": ["a"]}, "export_path"),
        ("PUT", "labels/assignments", {"export_path": "/a/../b", "labels": ["a"]}, "export_path"),
        ("PUT", "labels/assignments", {"export_path": "/a\0", "labels": ["a"]}, "export_path"),
        ("PUT", "labels/assignments", {"export_path": PATH, "labels": ["a", "  "]}, "labels[1]"),
        ("PUT", "labels/assignments", {"export_path": PATH, "labels": ["a\nb"]}, "labels[0]"),
        ("PUT", "labels/assignments", {"export_path": PATH, "labels": "a"}, "labels"),
        ("PUT", "labels/assignments", {"export_path": PATH, "labels": ["a"], "colour": "red"}, "colour"),
        ("POST", "labels/rules", {"labels": ["a"]}, "path_prefix"),
        ("POST", "labels/rules", {"path_prefix": "/a", "labels": []}, "labels"),
        ("POST", "labels/rules", {"path_prefix": "a", "labels": ["a"]}, "path_prefix"),
        ("POST", "labels/rules", {"path_prefix": "/a//b", "labels": ["a"]}, "path_prefix"),
        ("POST", "labels/rules", {"path_prefix": "/a", "labels": ["a"], "node_id": "Not A Node"}, "node_id"),
        ("POST", "labels/rules/preview", {"path_prefix": "/a", "examples": 101}, "examples"),
        ("GET", "labels/rules?limit=0", None, "limit"),
        ("GET", "labels/effective", None, "export_path"),
    ],
)
async def test_what_is_wrong_is_named(server: Any, method: str, path: str, body: Any, field: str) -> None:
    answer = await server.ask(method, path, body)
    assert answer.status == 400, answer.body
    assert answer.error["details"]["field"] == field
    assert (await server.ask("GET", "labels")).body["total"] == 0


@pytest.mark.parametrize(
    "path", ["labels/effective?export_path=/no/such/file", "labels/effective?file_id=a.b", "labels/rules/x"]
)
async def test_what_is_not_there_answers_404(server: Any, path: str) -> None:
    assert (await server.ask("GET", path)).status == 404


async def test_the_description_has_everything(server: Any) -> None:
    paths = (await server.ask("GET", "openapi.json")).body["paths"]
    assert set(paths["/api/labels/assignments"]) == {"get", "put", "delete"}
    assert set(paths["/api/labels/rules"]) == {"get", "post"}
    assert set(paths["/api/labels/rules/{rule_id}"]) == {"get", "patch", "delete"}
    assert {"400", "404", "412"} <= set(paths["/api/labels/rules/{rule_id}"]["patch"]["responses"])


async def test_the_commands(server: Any, command_line: Any, tmp_path: Any) -> None:
    file = tmp_path / "a b.txt"
    file.write_text("x")
    file_id = await server.add(str(file))

    async def run(*arguments: str) -> Any:
        result = await command_line.run(commands.register, "labels", *arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        return command_line.shown[-1] if command_line.shown else command_line.said[-1]

    assert (await run("set", str(file), "one", "two"))["labels"] == ["one", "two"]
    assert (await run("add", file_id, "three"))["labels"] == ["one", "two", "three"]
    assert (await run("remove", str(file), "one"))["labels"] == ["two", "three"]
    rule = await run("rules", "add", str(tmp_path), "folder", "--name", "mine")
    assert [row["source"] for row in await run("show", str(file))] == [
        "put on the file",
        "put on the file",
        f"rule mine ({tmp_path}/)",
    ]
    assert [row["label"] for row in (await run("list"))["items"]] == ["folder", "three", "two"]
    assert (await run("list", "two"))["items"][0]["export_path"] == str(file)
    assert (await run("rules", "preview", str(tmp_path)))["total"] == 1
    assert (await run("rules", "change", rule["id"], "--disable"))["enabled"] is False
    assert len((await run("rules", "list"))["items"]) == 1
    assert "mine" in await run("rules", "remove", rule["id"])
    assert "two, three" in await run("clear", str(file))
    assert (await run("set", "/elsewhere", "x", "--node", "node-b"))["node_id"] == "node-b"
    assert "No file is indexed" in command_line.said[-1]
    node = {"type": "node", "node_id": server.node_id, "friendly_name": "Desk"}
    await server.store.put({"_id": d.node_document_id(server.node_id), **node})
    assert (await run("add", "/elsewhere", "x", "--node", "Desk"))["node_id"] == server.node_id
    assert (await run("rules", "add", "/named", "x", "--node", "Desk"))["node_id"] == server.node_id
    unknown = await command_line.run(commands.register, "labels", "add", "/elsewhere", "x", "--node", "Nobody")
    assert "there is no node Nobody" in str(unknown.exception)
    folder = await command_line.run(commands.register, "labels", "set", str(tmp_path), "x")
    assert folder.exit_code == 2
    assert "rules add" in folder.output
    failed = await command_line.run(commands.register, "labels", "clear", str(file))
    assert failed.exit_code == 1
    assert (await command_line.run(commands.register, "labels", "rules", "change", "x")).exit_code == 2


def test_paths_are_written_as_the_index_writes_them() -> None:
    native = b"/tmp/caf\xe9/\xff.txt"
    assert commands.written(native.decode("utf-8", "surrogateescape")) == d.escape(native)
