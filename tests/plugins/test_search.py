"""Protects search: every parameter of the API and of the command line, pages, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from mosaicfs_core import documents as d
from mosaicfs_plugins.search import commands
from mosaicfs_plugins.search.query import parse_query


@pytest.fixture
async def files(server: Any) -> dict[str, str]:
    """A few files that differ in everything one can ask for: name to id."""
    return {
        "report": await server.add("/docs/Annual Report.pdf", size=2000, mime="application/pdf"),
        "old": await server.add("/docs/old report.txt", size=10, age_days=400, mime="text/plain"),
        "photo": await server.add("/pics/photo.jpg", size=5_000_000, age_days=10, mime="image/jpeg"),
        "other": await server.add("/pics/null", node_id="node-b", size=0, mime="image/png"),
    }


async def annotate(server: Any, path: str, **data: Any) -> None:
    await server.store.put(
        {
            "_id": d.annotation_id(server.node_id, path, "ocr"),
            "type": "annotation",
            "node_id": server.node_id,
            "export_path": path,
            "plugin_name": "ocr",
            "annotated_by": server.node_id,
            "data": data,
            "status": "ok",
            "annotated_at": d.format_time(0),
            "updated_at": d.format_time(0),
            "source_mtime": d.format_time(0),
            "source_size": 1,
        }
    )


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", {"report", "old", "photo", "other"}),
        ("q=report", {"report", "old"}),
        ("q=REPORT", {"report", "old"}),
        ("q=re", {"report", "old"}),
        ("q=*.pdf", {"report"}),
        ("q=*report*", {"report", "old"}),
        ("q=report*", set()),
        ("q=photo.jp?", {"photo"}),
        ("q=[ao]*", {"report", "old"}),
        ("q=null", {"other"}),
        ("q=", {"report", "old", "photo", "other"}),
        ("node_id=node-b", {"other"}),
        ("mime_type=image/*", {"photo", "other"}),
        ("mime_type=text/plain", {"old"}),
        ("min_size=2000", {"report", "photo"}),
        ("max_size=10", {"old", "other"}),
        ("min_size=10&max_size=2000", {"report", "old"}),
        ("modified_after=2026-02-01", {"report", "photo", "other"}),
        ("modified_before=2026-01-01T00:00:00Z", {"old"}),
        ("modified_after=2026-02-01&modified_before=2026-02-10T00:00:00%2B01:00", {"photo"}),
        ("label=paper", {"report", "old"}),
        ("label=paper&label=tax", {"report"}),
        ("label[]=paper&label[]=tax", {"report"}),
        ("label=nowhere", set()),
        ("annotation[ocr/pages]=3", {"report"}),
        ("annotation[ocr/lang.main]=en", {"report", "photo"}),
        ("annotation[ocr/lang.main]=~^e", {"report", "photo"}),
        ("annotation[ocr/lang.main]=en&annotation[ocr/pages]=3", {"report"}),
        ("annotation%5Bocr%2Fpages%5D=4", set()),
        ("q=report&label=tax&mime_type=application/*", {"report"}),
    ],
)
async def test_every_parameter(server: Any, files: dict[str, str], query: str, names: set[str]) -> None:
    await server.ask("POST", "labels/rules", {"path_prefix": "/docs", "labels": ["paper"]})
    await server.ask("PUT", "labels/assignments", {"file_id": files["report"], "labels": ["tax"]})
    await annotate(server, "/docs/Annual Report.pdf", pages=3, lang={"main": "en"})
    await annotate(server, "/pics/photo.jpg", lang={"main": "en"})
    found = await server.ask("GET", "search", params=query)
    assert found.status == 200, found.body
    assert {item["id"] for item in found.body["items"]} == {files[name] for name in names}
    assert found.body["total"] == len(names)
    assert "more" not in found.body


async def test_what_is_found_is_described(server: Any, files: dict[str, str]) -> None:
    (item,) = (await server.ask("GET", "search", params="q=photo")).body["items"]
    assert item == {
        "id": files["photo"],
        "node_id": server.node_id,
        "export_path": "/pics/photo.jpg",
        "name": "photo.jpg",
        "size": 5_000_000,
        "mtime": "2026-02-06T00:00:00.000000Z",
        "inode": d.derived_inode(d.full_file_id(files["photo"])),
        "mime_type": "image/jpeg",
        "status": "active",
    }


async def test_pages_by_offset_and_by_cursor_show_everything_once(server: Any) -> None:
    expected = {await server.add(f"/many/file{number}.dat") for number in range(25)}
    by_offset = [
        item["id"]
        for offset in (0, 10, 20)
        for item in (await server.ask("GET", "search", params={"q": "file", "limit": 10, "offset": offset})).body[
            "items"
        ]
    ]
    assert len(by_offset) == 25
    assert set(by_offset) == expected
    by_cursor: list[str] = []
    params: dict[str, Any] = {"q": "file", "limit": 10}
    while True:
        page = (await server.ask("GET", "search", params=params)).body
        by_cursor += [item["id"] for item in page["items"]]
        if "cursor" not in page:
            break
        params["cursor"] = page["cursor"]
    assert by_cursor == by_offset


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("offset=-1", "offset"),
        ("min_size=1.5", "min_size"),
        ("min_size=99999999999999999999", "min_size"),
        ("modified_after=yesterday", "modified_after"),
        ("modified_before=2026-02-31", "modified_before"),
        ("q=a&q=b", "q"),
        ("colour=red", "colour"),
        ("annotation=red", "annotation"),
        ("annotation[red]=x", "annotation[red]"),
        ("cursor=nonsense", "cursor"),
    ],
)
async def test_what_is_wrong_is_named(server: Any, query: str, field: str) -> None:
    answer = await server.ask("GET", "search", params=query)
    assert answer.status == 400, answer.body
    assert answer.error["details"]["field"] == field


async def test_a_bad_regular_expression_is_refused(server: Any) -> None:
    answer = await server.ask("GET", "search", params={"annotation[ocr/x]": "~("})
    assert answer.status == 400


def test_times_count_in_microseconds() -> None:
    query = parse_query({"modified_after": ["1970-01-01T00:00:01Z"], "modified_before": ["1970-01-01T02:00+01:00"]})
    assert (query.modified_after, query.modified_before) == (1_000_000, 3_600_000_000)


async def test_the_description_lists_the_parameters(server: Any) -> None:
    operation = (await server.ask("GET", "openapi.json")).body["paths"]["/api/search"]["get"]
    assert {"q", "label", "cursor", "min_size"} <= {parameter["name"] for parameter in operation["parameters"]}
    assert "annotation[plugin/key]" in operation["description"]


async def test_the_command(server: Any, files: dict[str, str], command_line: Any) -> None:
    await annotate(server, "/docs/Annual Report.pdf", pages=3)

    async def found(*arguments: str) -> set[str]:
        result = await command_line.run(commands.register, "search", *arguments)
        assert result.exit_code == 0, (result.output, result.exception)
        return {item["name"] for item in command_line.shown[-1]["items"]}

    assert await found("report") == {"Annual Report.pdf", "old report.txt"}
    assert await found("--type", "image/*", "--larger", "1MB") == {"photo.jpg"}
    assert await found("--smaller", "0.002k", "--node", "node-b") == {"null"}
    assert await found("--after", "2026-02-15", "--node", server.node_id) == {"Annual Report.pdf"}
    node = {"type": "node", "node_id": server.node_id, "friendly_name": "Desk"}
    await server.store.put({"_id": d.node_document_id(server.node_id), **node})
    assert await found("--after", "2026-02-15", "--node", "Desk") == {"Annual Report.pdf"}
    assert await found("--annotation", "ocr/pages=3", "--before", "2027-01-01") == {"Annual Report.pdf"}
    assert await found("--label", "nowhere") == set()
    assert (await command_line.run(commands.register, "search", "--larger", "big")).exit_code == 2
    assert (await command_line.run(commands.register, "search", "--annotation", "x")).exit_code == 2
    refused = await command_line.run(commands.register, "search", "--after", "yesterday")
    assert (refused.exit_code, "Invalid value for '--after': 'yesterday' is not a time" in refused.stderr) == (2, True)


async def test_the_command_fetches_as_many_pages_as_asked_for(server: Any, command_line: Any) -> None:
    for number in range(12):
        await server.add(f"/many/file{number}.dat")
    result = await command_line.run(commands.register, "search", "file", "--limit", "7")
    assert result.exit_code == 0
    page = command_line.shown[-1]
    assert (len(page["items"]), page["total"]) == (7, 12)


@pytest.mark.parametrize(
    ("text", "size"),
    [("500", 500), ("10MB", 10**7), ("1.5GiB", 3 << 29), ("2k", 2000), ("3 tb", 3 * 10**12), ("7b", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert commands.Size().convert(text, None, None) == size
