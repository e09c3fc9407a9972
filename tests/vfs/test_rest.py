"""Protects the REST API of the virtual tree: every route, its answers and its errors; edits are seen at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import entry_points

from mosaicfs_core import documents as d
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.testing.faults import faulty
from mosaicfs_core.testing.harness import Harness

Ask = Callable[..., Awaitable[tuple[int, Any, Any]]]


class Api:
    """Asks the application as the owner of the home."""

    def __init__(self, app: Any, harness: Harness) -> None:
        self.app = app
        self.harness = harness
        self.node = harness.core.node_id

    async def ask(self, method: str, path: str, **given: Any) -> tuple[int, Any, Any]:
        """Status, decoded body, headers."""
        token = self.app.extensions[EXTENSION].local_token
        headers = {"Authorization": f"Bearer {token}", **given.pop("headers", {})}
        scope = {"client": ("127.0.0.1", 50000)}
        answer = await self.app.test_client().open(
            f"/api/{path}", method=method, headers=headers, scope_base=scope, **given
        )
        body = await answer.get_data(as_text=False)
        return answer.status_code, (await answer.get_json() if body else None), answer.headers

    async def file(self, path: str, **fields: Any) -> str:
        """Index a file; its short id."""
        identifier = d.file_document_id(self.node, d.first_file_uuid(self.node, path))
        document = {
            "_id": identifier,
            "type": "file",
            "inode": d.derived_inode(identifier),
            "name": d.name_of(path),
            "source": {"node_id": self.node, "export_path": path, "export_parent": d.parent_of(path)},
            "size": 3,
            "mtime": d.format_time(d.now_micros()),
            "status": "active",
            **fields,
        }
        await self.harness.store.update(identifier, lambda _: document)
        return d.short_file_id(identifier)

    def mount(self, source: str, **fields: Any) -> dict[str, Any]:
        return {"source": {"node_id": self.node, "export_path": source}, **fields}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with Harness.start(tmp_path / "home", only=["vfs"]) as harness, running_app(harness.core) as app:
        await app.startup()
        try:
            yield Api(app, harness)
        finally:
            await app.shutdown()


async def test_a_directory_from_making_to_removing(api: Api) -> None:
    file_id = await api.file("/s/sub/a.txt")
    status, made, headers = await api.ask(
        "POST", "vfs/directories", json={"path": "/mine", "mounts": [api.mount("/s")]}
    )
    assert (status, made["path"], made["system"], made["warnings"]) == (201, "/mine", False, [])
    assert made["mounts"][0]["mount_id"]
    status, listing, _ = await api.ask("GET", "vfs", query_string={"path": "/mine"})
    assert (status, listing["total"], listing["items"][0]["name"]) == (200, 1, "sub")
    assert listing["items"][0] | {"mtime": None} == {
        "name": "sub",
        "path": "/mine/sub",
        "kind": "directory",
        "derived": True,
        "mtime": None,
    }
    _, listing, _ = await api.ask("GET", "vfs", query_string={"path": "/mine/sub"})
    assert listing["items"][0]["file"]["id"] == file_id
    status, file, _ = await api.ask("GET", "files/by-path", query_string={"path": "/mine/sub/a.txt"})
    assert (status, file["id"], file["export_path"]) == (200, file_id, "/s/sub/a.txt")
    _, paths, _ = await api.ask("GET", f"files/{file_id}/paths")
    assert paths["items"] == ["/mine/sub/a.txt"]

    change = {"mounts": [api.mount("/s", strategy="flatten")]}
    tag = {"If-Match": headers["ETag"]}
    status, changed, headers = await api.ask(
        "PATCH", "vfs/directory", query_string={"path": "/mine"}, json=change, headers=tag
    )
    assert (status, changed["mounts"][0]["strategy"], changed["inode"]) == (200, "flatten", made["inode"])
    status, error, _ = await api.ask(
        "PATCH", "vfs/directory", query_string={"path": "/mine"}, json={"mounts": []}, headers=tag
    )
    assert (status, error["error"]["code"]) == (412, "stale")
    _, listing, _ = await api.ask("GET", "vfs", query_string={"path": "/mine"})
    assert [item["name"] for item in listing["items"]] == ["a.txt"]
    status, removed, _ = await api.ask("DELETE", "vfs/directory", query_string={"path": "/mine"})
    assert (status, removed["removed"]) == (200, ["/mine"])
    status, _, _ = await api.ask("GET", "vfs", query_string={"path": "/mine"})
    assert status == 404


async def test_a_rename_takes_everything_beneath_and_keeps_inodes(api: Api) -> None:
    for path in ("/a", "/a/b", "/a/b/c"):
        assert (await api.ask("POST", "vfs/directories", json={"path": path}))[0] == 201
    inodes = [
        (await api.ask("GET", "vfs", query_string={"path": path}))[1]["inode"] for path in ("/a", "/a/b", "/a/b/c")
    ]
    status, moved, _ = await api.ask("PATCH", "vfs/directory", query_string={"path": "/a"}, json={"name": "z"})
    assert (status, moved["path"]) == (200, "/z")
    after = [
        (await api.ask("GET", "vfs", query_string={"path": path}))[1]["inode"] for path in ("/z", "/z/b", "/z/b/c")
    ]
    assert after == inodes
    assert (await api.ask("GET", "vfs", query_string={"path": "/a/b"}))[0] == 404
    status, back, _ = await api.ask("PATCH", "vfs/directory", query_string={"path": "/z"}, json={"path": "/a"})
    assert (status, back["inode"]) == (200, inodes[0])
    for target, expected in (("/a/b/inside", 400), ("/nowhere/a", 404), ("/federation", 400)):
        status, _, _ = await api.ask("PATCH", "vfs/directory", query_string={"path": "/a"}, json={"path": target})
        assert status == expected, target
    await api.ask("POST", "vfs/directories", json={"path": "/other"})
    status, _, _ = await api.ask("PATCH", "vfs/directory", query_string={"path": "/a"}, json={"path": "/other"})
    assert status == 409


async def test_what_is_not_empty_needs_force_and_the_root_stays(api: Api) -> None:
    await api.ask("POST", "vfs/directories", json={"path": "/p/q/r", "parents": True})
    status, error, _ = await api.ask("DELETE", "vfs/directory", query_string={"path": "/p"})
    assert (status, error["error"]["code"]) == (409, "conflict")
    status, removed, _ = await api.ask("DELETE", "vfs/directory", query_string={"path": "/p", "force": 1})
    assert (status, removed["removed"]) == (200, ["/p", "/p/q", "/p/q/r"])
    for method, given in (("DELETE", {}), ("PATCH", {"json": {"path": "/elsewhere"}})):
        assert (await api.ask(method, "vfs/directory", query_string={"path": "/"}, **given))[0] == 403
    status, _, _ = await api.ask("POST", "vfs/directories", json={"path": "/"})
    assert status == 409


async def test_making_needs_a_parent_and_a_free_place(api: Api) -> None:
    assert (await api.ask("POST", "vfs/directories", json={"path": "/no/where"}))[0] == 404
    assert (await api.ask("POST", "vfs/directories", json={"path": "/x"}))[0] == 201
    assert (await api.ask("POST", "vfs/directories", json={"path": "/x"}))[0] == 409
    await api.file("/s/sub/a.txt")
    await api.ask("POST", "vfs/directories", json={"path": "/d", "mounts": [api.mount("/s")]})
    status, made, _ = await api.ask("POST", "vfs/directories", json={"path": "/d/sub/own"})
    assert (status, made["parent_path"]) == (201, "/d/sub")
    _, listing, _ = await api.ask("GET", "vfs", query_string={"path": "/d/sub"})
    assert [item["name"] for item in listing["items"]] == ["a.txt", "own"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mounts": [{"steps": [{"op": "regex", "pattern": "("}]}]}, "mounts[0].steps[0].pattern"),
        ({"mounts": [{"steps": [{"op": "age"}]}]}, "mounts[0].steps[0].max_days"),
        ({"mounts": [{"source_prefix": "/elsewhere"}]}, "mounts[0].source_prefix"),
        ({"mounts": [{"strategy": "scatter"}]}, "mounts[0].strategy"),
        ({"mounts": [{"source": {"node_id": "n"}}]}, "mounts[0].source.export_path"),
        ({"mounts": [{"source": {"node_id": "n", "export_path": "/a/../b"}}]}, "mounts[0].source.export_path"),
        ({"steps": [{"op": "glob"}]}, "steps[0].pattern"),
        ({"enforce_steps_on_children": True}, "steps"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_edit_names_the_field_and_changes_nothing(api: Api, fields: dict[str, Any], field: str) -> None:
    fields = dict(fields)
    if "mounts" in fields:
        fields["mounts"] = [{"source": {"node_id": "*", "export_path": "/s"}, **mount} for mount in fields["mounts"]]
    await api.ask("POST", "vfs/directories", json={"path": "/d"})
    _, before, headers = await api.ask("GET", "vfs/directory", query_string={"path": "/d"})
    for method, path, query, extra in (
        ("PATCH", "vfs/directory", {"path": "/d"}, {}),
        ("POST", "vfs/directories", {}, {"path": "/new"}),
    ):
        status, error, _ = await api.ask(method, path, query_string=query, json={**fields, **extra})
        assert status == 400, error
        assert error["error"]["details"]["field"] == field
        assert error["error"]["message"]
    _, after, unchanged = await api.ask("GET", "vfs/directory", query_string={"path": "/d"})
    assert (after, unchanged["ETag"]) == (before, headers["ETag"])


async def test_an_unknown_op_is_kept_and_warned_of(api: Api) -> None:
    step = {"op": "phase_of_moon", "phase": "full"}
    made = (await api.ask("POST", "vfs/directories", json={"path": "/d", "mounts": [api.mount("/s", steps=[step])]}))[1]
    assert made["mounts"][0]["steps"] == [step]
    assert "phase_of_moon" in made["warnings"][0]


async def test_a_node_that_nobody_knows_is_named(api: Api) -> None:
    await api.file("/s/a.txt")
    wrong = {"source": {"node_id": api.node[:-1], "export_path": "/s"}}
    status, made, _ = await api.ask("POST", "vfs/directories", json={"path": "/d", "mounts": [api.mount("/s"), wrong]})
    said = (
        f"mounts[1].source.node_id: there is no node '{api.node[:-1]}', so nothing is shown; did you mean {api.node}?"
    )
    assert (status, made["warnings"]) == (201, [said])
    changed = await api.ask("PATCH", "vfs/directory", query_string={"path": "/d"}, json={"mounts": [wrong]})
    assert changed[1]["warnings"] == [said.replace("mounts[1]", "mounts[0]")]


@pytest.mark.parametrize("route", ["vfs", "vfs/tree"])
async def test_a_machine_by_its_id_is_told_by_its_name(api: Api, route: str) -> None:
    node = {"_id": d.node_document_id(api.node), "type": "node", "node_id": api.node, "friendly_name": "NAS"}
    await api.harness.store.put({**node, "platform": "linux", "status": "online"})
    await api.file("/s/a.txt")
    # With its parents: what seeds the tree may come to them before or after this.
    docs = {"path": "/machines/NAS/docs", "mounts": [api.mount("/s")], "parents": True}
    assert (await api.ask("POST", "vfs/directories", json=docs))[0] == 201
    for asked, meant in (("", ""), ("/docs", "/docs"), ("/docs/a.txt", "/docs/a.txt"), ("/nowhere", "")):
        path = f"/machines/{api.node}{asked}"
        status, body, _ = await api.ask("GET", route, query_string={"path": path})
        told = f"there is no directory {path}; did you mean /machines/NAS{meant}?"
        assert (status, body["error"]["message"]) == (404, told)
    status, body, _ = await api.ask("GET", route, query_string={"path": "/machines/node-x"})
    assert (status, body["error"]["message"]) == (404, "there is no directory /machines/node-x")


@pytest.mark.parametrize("path", ["..", "/../etc", "/a/../../b", "relative", "/nul\0", "/" + "n" * 256])
async def test_path_traversal_is_refused_everywhere(api: Api, path: str) -> None:
    query = {"path": path}
    asked = [
        await api.ask("GET", "vfs", query_string=query),
        await api.ask("GET", "vfs/tree", query_string=query),
        await api.ask("GET", "vfs/directory", query_string=query),
        await api.ask("PATCH", "vfs/directory", query_string=query, json={}),
        await api.ask("DELETE", "vfs/directory", query_string=query),
        await api.ask("POST", "vfs/directories", json={"path": path}),
        await api.ask("POST", "vfs/preview", query_string=query, json={"mounts": []}),
        await api.ask("GET", "vfs/explain", query_string=query),
        await api.ask("GET", "files/by-path", query_string=query),
    ]
    assert {status for status, _, _ in asked} == {400}
    assert all(set(body) == {"error"} for _, body, _ in asked)


async def test_paging_tree_preview_and_explain(api: Api) -> None:
    for number in range(7):
        await api.file(f"/s/{number}.txt")
    file_id = await api.file("/s/deep/er/x.pdf")
    await api.ask("POST", "vfs/directories", json={"path": "/d", "mounts": [api.mount("/s")]})
    _, page, _ = await api.ask("GET", "vfs", query_string={"path": "/d", "limit": 3, "offset": 6})
    assert ([item["name"] for item in page["items"]], page["total"]) == (["6.txt", "deep"], 8)
    _, tree, _ = await api.ask("GET", "vfs/tree", query_string={"path": "/d", "depth": 1})
    assert (tree["files"], tree["children"][0]["name"], "children" in tree["children"][0]) == (7, "deep", False)
    draft = {"mounts": [api.mount("/s", steps=[{"op": "glob", "pattern": "*.pdf"}])]}
    status, preview, _ = await api.ask("POST", "vfs/preview", query_string={"path": "/p"}, json=draft)
    assert (status, preview["total"], preview["items"][0]["path"]) == (200, 1, "/p/deep/er/x.pdf")
    status, error, _ = await api.ask("POST", "vfs/preview", query_string={"path": "/p"}, json={"mounts": [{}]})
    assert (status, error["error"]["details"]["field"]) == (400, "mounts[0].source")
    _, explained, _ = await api.ask("GET", "vfs/explain", query_string={"file_id": file_id})
    assert (explained["shown"], explained["paths"]) == (True, ["/d/deep/er/x.pdf"])
    _, explained, _ = await api.ask("GET", "vfs/explain", query_string={"path": "/d/nothing.txt"})
    assert (explained["shown"], explained["reason"], explained["file"]) == (False, "never_indexed", None)
    _, explained, _ = await api.ask("GET", "vfs/explain", query_string={"export_path": "/d"})
    assert (explained["shown"], explained["message"]) == (False, "On disk no watched folder holds /d.")
    both = {"export_path": "/d", "path": "/d"}
    assert (await api.ask("GET", "vfs/explain", query_string=both))[0] == 400
    assert (await api.ask("GET", "vfs/explain"))[0] == 400
    assert (await api.ask("GET", "vfs/explain", query_string={"file_id": "nonsense"}))[0] == 400
    assert (await api.ask("GET", f"files/{api.node}.{'0' * 8}-0000-4000-8000-{'0' * 12}/paths"))[0] == 404
    assert (await api.ask("GET", "files/by-path", query_string={"path": "/d/deep"}))[0] == 404


async def test_every_route_is_described(api: Api) -> None:
    _, description, _ = await api.ask("GET", "openapi.json")
    paths = {path for path in description["paths"] if path.startswith("/api/vfs")}
    assert paths == {
        "/api/vfs",
        "/api/vfs/tree",
        "/api/vfs/directories",
        "/api/vfs/directory",
        "/api/vfs/preview",
        "/api/vfs/explain",
    }
    assert {"/api/files/by-path", "/api/files/{file_id}/paths"} <= description["paths"].keys()


@pytest.mark.logs("^plugin step_compile_raises: step op boom failed")
async def test_a_plugin_whose_op_cannot_be_compiled_costs_its_own_step_alone(tmp_path: Path) -> None:
    plugins = [*entry_points(group="mosaicfs", name="vfs"), *faulty("step_compile_raises")]
    async with Harness.start(tmp_path / "home", plugins=plugins) as harness, running_app(harness.core) as app:
        api = Api(app, harness)
        await api.file("/s/a.txt")
        await api.file("/t/b.txt")
        mount = api.mount("/s", steps=[{"op": "boom"}])
        status, made, _ = await api.ask("POST", "vfs/directories", json={"path": "/broken", "mounts": [mount]})
        assert (status, "step op boom failed" in made["warnings"][0]) == (201, True)
        await api.ask("POST", "vfs/directories", json={"path": "/sound", "mounts": [api.mount("/t")]})
        for path, name in (("/broken", "a.txt"), ("/sound", "b.txt")):
            status, listing, _ = await api.ask("GET", "vfs", query_string={"path": path})
            assert (status, [item["name"] for item in listing["items"]]) == (200, [name])
            assert bool(listing["warnings"]) is (path == "/broken")
