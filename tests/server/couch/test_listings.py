"""Protects reading many documents at once: lists by id, selectors page by page, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from typing import Any

import pytest

from mosaicfs_core.server.couch import listings

REV = "1-" + "a" * 32


async def test_all_docs_lists_by_id(couch: Any) -> None:
    await couch.fill()
    documents = [couch.file(number) for number in range(10, 1_310)]
    await couch.store.bulk(documents)
    gone = documents[3]
    await couch.store.put({"_id": gone["_id"], "_rev": (await couch.store.get(gone["_id"]))["_rev"], "_deleted": True})
    whole = (await couch.get("/_all_docs")).json
    listed = [row["id"] for row in whole["rows"]]
    assert listed == sorted(listed)
    assert len(listed) == whole["total_rows"] == (await couch.get("")).json["doc_count"]
    assert set(listed) >= {one["_id"] for one in documents if one is not gone}
    assert gone["_id"] not in listed
    some = (await couch.get("/_all_docs", startkey=json.dumps(listed[700]), limit=600, skip=5)).json["rows"]
    assert [row["id"] for row in some] == listed[705:1305]
    some = (await couch.get("/_all_docs", start_key=json.dumps(listed[7]), end_key=json.dumps(listed[9]))).json["rows"]
    assert [row["id"] for row in some] == listed[7:10]
    some = (await couch.post("/_all_docs", {"startkey": listed[7], "limit": 2, "include_docs": True})).json["rows"]
    assert [row["doc"]["_id"] for row in some] == listed[7:9]
    (row,) = (await couch.get("/_all_docs", key=json.dumps(documents[0]["_id"]))).json["rows"]
    assert row["value"] == {"rev": (await couch.store.get(row["id"]))["_rev"]}
    keys = [documents[0]["_id"], gone["_id"], "none", 7]
    rows = (await couch.post("/_all_docs", {"keys": keys}, include_docs="true")).json["rows"]
    assert rows[0]["doc"]["_id"] == keys[0]
    assert (rows[1]["value"]["deleted"], rows[1]["doc"]) == (True, None)
    assert rows[2:] == [{"key": "none", "error": "not_found"}, {"key": 7, "error": "not_found"}]
    rows = (await couch.get("/_all_docs", keys=json.dumps(keys[:1]))).json["rows"]
    assert [row["id"] for row in rows] == keys[:1]


async def test_find_matches_selectors_page_by_page(couch: Any) -> None:
    await couch.fill()
    await couch.store.bulk([couch.file(number) for number in range(10, 40)])
    asked = {"selector": {"type": "file", "size": {"$gte": 10}}, "limit": 20, "fields": ["size", "source.node_id"]}
    first = (await couch.post("/_find", asked)).json
    assert first["docs"][0] == {"size": 10, "source": {"node_id": couch.node}}
    second = (await couch.post("/_find", {**asked, "bookmark": first["bookmark"]})).json
    third = (await couch.post("/_find", {**asked, "bookmark": second["bookmark"]})).json
    sizes = [document["size"] for page in (first, second, third) for document in page["docs"]]
    assert sizes == list(range(10, 40))
    assert third == {"docs": [], "bookmark": "nil"}
    plugins = (await couch.post("/_find", {"selector": {"type": "plugin"}})).json["docs"]
    assert {one["_id"] for one in plugins} >= {couch.documents(couch.node)["plugin"]["_id"]}


async def test_a_bookmark_leads_on_past_the_documents_that_one_answer_looks_at(
    couch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "MOST_LOOKED_AT", 25)
    await couch.store.bulk([couch.file(number) for number in range(90)])
    asked = {"selector": {"size": {"$gte": 80}}, "limit": 20, "skip": 2, "bookmark": "nil"}
    sizes, answers = [], 0
    while True:
        answer = (await couch.post("/_find", asked)).json
        answers += 1
        sizes += [document["size"] for document in answer["docs"]]
        assert ("warning" in answer) == (answers < 4)
        asked["bookmark"] = answer["bookmark"]
        if asked["bookmark"] == "nil":
            break
    assert (sizes, answers) == (list(range(82, 90)), 5)


@pytest.mark.parametrize("selector", [{"size": {"$lt": 0}}, {"type": "file"}, {"type": "file", "size": 3}, {}])
async def test_a_reader_of_no_files_is_answered_without_looking_at_them(
    couch: Any, monkeypatch: pytest.MonkeyPatch, selector: dict[str, Any]
) -> None:
    await couch.fill()
    await couch.store.bulk([couch.file(number) for number in range(90)])
    monkeypatch.setattr(listings, "MOST_LOOKED_AT", 50)
    answer = (await couch.post("/_find", {"selector": selector, "limit": 100}, who="user")).json
    assert "warning" not in answer
    shown = {row["id"] for row in (await couch.get("/_all_docs", who="user")).json["rows"]}
    assert {document["_id"] for document in answer["docs"]} == (set() if selector else shown)


async def test_no_other_read_waits_for_a_find(couch: Any) -> None:
    await couch.fill()
    go_on = threading.Event()
    held = [asyncio.create_task(couch.store.sweep(lambda reader: go_on.wait())) for _ in range(5)]
    try:
        asked = asyncio.create_task(couch.post("/_find", {"selector": {"type": "node"}}))
        assert (await couch.get("/_all_docs")).json["rows"]
        assert not asked.done()
    finally:
        go_on.set()
    assert len((await asked).json["docs"]) == 3
    await asyncio.gather(*held)


@pytest.mark.parametrize(
    "place", ["[0, [true]]", "[0, [-1]]", "[0, [1, 2]]", '[0, ["x"]]', "[0, [1e30]]", "[0]", "7", "x"]
)
async def test_a_bookmark_of_something_else_is_refused(couch: Any, place: str) -> None:
    bookmark = base64.urlsafe_b64encode(place.encode()).decode()
    for selector in ({"size": 1}, {"type": "annotation", "node_id": "x"}, {"type": "stranger"}):
        answer = await couch.post("/_find", {"selector": selector, "bookmark": bookmark})
        assert answer.status == 400 or (selector == {"type": "stranger"} and place == "[0, [1, 2]]")
