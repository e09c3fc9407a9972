"""Protects interoperation: every endpoint answers as CouchDB's documentation says, over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zlib
from typing import Any
from urllib.parse import quote

import pytest

from mosaicfs_core.server.couch import bodies, pages

REV = "1-" + "a" * 32


async def test_the_root_and_the_database_say_who_they_are(couch: Any) -> None:
    for path in ("/db", "/db/"):
        answer = await couch.get(path)
        assert answer.json["couchdb"] == "Welcome"
        assert answer.json["uuid"] == couch.store.instance_id
    await couch.store.put(couch.file(1))
    for path in ("", "/"):
        info = (await couch.get(path)).json
        assert info["db_name"] == "mosaicfs"
        assert info["instance_start_time"] == info["uuid"] == couch.store.instance_id
        assert info["update_seq"] == couch.store.seq
        assert info["doc_count"] >= 1
    head = await couch.ask("HEAD", "")
    assert (head.status, head.body) == (200, b"")


async def test_the_database_is_neither_created_nor_deleted(couch: Any) -> None:
    answer = await couch.ask("PUT", "")
    assert (answer.status, answer.json["error"]) == (412, "file_exists")
    answer = await couch.ask("DELETE", "")
    assert (answer.status, answer.json["error"]) == (403, "forbidden")
    answer = await couch.ask("PUT", "/db/another")
    assert (answer.status, answer.json["error"]) == (403, "forbidden")
    answer = await couch.get("/db/another")
    assert (answer.status, answer.json) == (404, {"error": "not_found", "reason": "Database does not exist."})
    answer = await couch.get("/db/another/doc")
    assert answer.json["reason"] == "Database does not exist."


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("POST", "/_compact", 501, "not_implemented"),
        ("POST", "/_purge", 501, "not_implemented"),
        ("GET", "/_security", 501, "not_implemented"),
        ("PUT", "/_revs_limit", 501, "not_implemented"),
        ("GET", "/_design/a/_view/b", 501, "not_implemented"),
        ("GET", "/_nonsense", 400, "illegal_docid"),
        ("PUT", "/_nonsense", 400, "illegal_docid"),
        ("DELETE", "/_all_docs", 400, "illegal_docid"),
        ("POST", "/some-document", 405, "method_not_allowed"),
        ("GET", "/some-document", 404, "not_found"),
        ("GET", "/_local/none", 404, "not_found"),
        ("DELETE", "/_local/none", 404, "not_found"),
        ("GET", "/_changes?feed=daily", 400, "bad_request"),
        ("GET", "/_changes?since=yesterday", 400, "bad_request"),
        ("GET", "/_changes?limit=-1", 400, "bad_request"),
        ("GET", "/_changes?heartbeat=x", 400, "bad_request"),
        ("GET", "/_changes?filter=app/mine", 400, "bad_request"),
        ("GET", "/_changes?filter=_selector", 400, "bad_request"),
        ("GET", "/_changes?filter=_doc_ids", 400, "bad_request"),
        ("GET", "/_changes?descending=true", 400, "bad_request"),
        ("GET", "/_changes?style=fine", 400, "bad_request"),
        ("GET", "/_changes?include_docs=1", 400, "bad_request"),
        ("GET", "/_all_docs?descending=true", 400, "bad_request"),
        ("GET", "/_all_docs?inclusive_end=false", 400, "bad_request"),
        ("GET", '/_all_docs?startkey="a', 400, "bad_request"),
        ("GET", "/_all_docs?keys=7", 400, "bad_request"),
        ("GET", "/x?open_revs=7", 400, "bad_request"),
        ("GET", "/x?open_revs=[%22nonsense%22]", 400, "bad_request"),
    ],
)
async def test_what_is_not_served_is_refused_clearly(
    couch: Any, method: str, path: str, status: int, error: str
) -> None:
    answer = await couch.ask(method, path)
    assert (answer.status, answer.json["error"]) == (status, error)
    assert answer.json["reason"]
    assert set(answer.json) == {"error", "reason"}


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/_bulk_docs", b"{", "bad_request"),
        ("/_bulk_docs", b"[]", "bad_request"),
        ("/_bulk_docs", b'{"docs": 1}', "bad_request"),
        ("/_bulk_docs", b"\xff", "bad_request"),
        ("/_bulk_docs", b"[" * 100_000, "bad_request"),
        ("/_bulk_docs", b'{"docs": [' + b"[" * 100_000, "bad_request"),
        ("/_bulk_get", b'{"docs": [{"rev": "1-a"}]}', "bad_request"),
        ("/_bulk_get", b"", "bad_request"),
        ("/_revs_diff", b'{"a": "1-a"}', "bad_request"),
        ("/_revs_diff", b'{"a": ["a"]}', "bad_request"),
        ("/_find", b"{}", "bad_request"),
        ("/_find", b'{"selector": {"a": {"$where": 1}}}', "bad_request"),
        ("/_find", b'{"selector": {}, "limit": 5000}', "bad_request"),
        ("/_find", b'{"selector": {}, "sort": ["a"]}', "no_usable_index"),
        ("/_find", b'{"selector": {}, "bookmark": "g1AAAA"}', "invalid_bookmark"),
        ("/_changes?filter=_selector", b'{"selector": {"a": {"$where": 1}}}', "bad_request"),
        ("/_all_docs", b'{"keys": 1}', "bad_request"),
        ("", b'{"type": "label_rule"}', "bad_request"),
    ],
)
async def test_bad_bodies_are_the_callers_mistake(couch: Any, path: str, body: bytes, error: str) -> None:
    answer = await couch.ask("POST", path, data=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["error"]) == (400, error), answer.body


async def test_a_body_of_another_type_is_refused(couch: Any) -> None:
    answer = await couch.ask("POST", "/_bulk_docs", data=b"x=1", headers={"Content-Type": "text/plain"})
    assert (answer.status, answer.json["error"]) == (415, "bad_content_type")
    answer = await couch.ask("PUT", "/doc/picture.png", data=b"\x89PNG", headers={"Content-Type": "image/png"})
    assert (answer.status, answer.json["error"]) == (415, "bad_content_type")


async def test_attachments_are_refused_clearly(couch: Any) -> None:
    document = {**couch.file(1), "_attachments": {"a": {"content_type": "text/plain", "data": "aGk="}}}
    (row,) = (await couch.post("/_bulk_docs", {"docs": [document]})).json
    assert row["error"] == "bad_request"
    assert "attachments" in row["reason"]
    answer = await couch.ask("PUT", "/" + quote(document["_id"], safe=""), json=document)
    assert answer.status == 400
    assert "attachments" in answer.json["reason"]


async def test_large_bodies_are_bounded_before_and_after_decompression(
    couch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = bomb.compress(b" " * (bodies.MAX_DOCUMENTS_BYTES + 1)) + bomb.flush()
    assert len(packed) < 1_000_000
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await couch.ask("POST", "/_bulk_docs", data=packed, headers=headers)
    assert (answer.status, answer.json["error"]) == (413, "too_large")
    big = b" " * (bodies.MAX_QUESTION_BYTES + 1)
    answer = await couch.ask("POST", "/_revs_diff", data=io.BytesIO(big), headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["error"]) == (413, "too_large")
    assert str(bodies.MAX_QUESTION_BYTES) in answer.json["reason"]
    answer = await couch.ask("POST", "/_bulk_docs", data=b"\x1f\x8bnonsense", headers=headers)
    assert (answer.status, answer.json["error"]) == (400, "bad_request")
    answer = await couch.ask("POST", "/_bulk_docs", data=gzip.compress(b"{}")[:-4], headers=headers)
    assert (answer.status, answer.json["error"]) == (400, "bad_request")
    answer = await couch.ask("POST", "/_bulk_docs", data=b"x", headers={**headers, "Content-Encoding": "br"})
    assert answer.status == 415


async def test_a_body_beyond_what_any_endpoint_takes_is_cut_off(couch: Any) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(bodies.MAX_DOCUMENTS_BYTES + 1)}
    reader, writer = await asyncio.open_connection("127.0.0.1", int(couch.url.rpartition(":")[2]))
    lines = [f"{name}: {value}" for name, value in {**headers, **couch.headers("local"), "Host": "x"}.items()]
    writer.write(("POST /db/mosaicfs/_bulk_docs HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
    await writer.drain()
    assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_documents_are_written_read_and_deleted_one_by_one(couch: Any) -> None:
    document = couch.file(1)
    path = "/" + quote(document["_id"], safe="")
    made = await couch.ask("PUT", path, json=document)
    assert made.status == 201
    rev = made.json["rev"]
    assert made.json == {"ok": True, "id": document["_id"], "rev": rev}
    again = await couch.ask("PUT", path, json=document)
    assert (again.status, again.json) == (409, {"error": "conflict", "reason": "Document update conflict."})

    got = await couch.get(path)
    assert got.json == {**document, "_rev": rev}
    assert got.headers["ETag"] == f'"{rev}"'
    assert (await couch.ask("GET", path, headers={"If-None-Match": f'"{rev}"'})).status == 304
    assert (await couch.ask("HEAD", path)).headers["ETag"] == f'"{rev}"'
    assert (await couch.get(path, rev="1-" + "0" * 32)).json == {"error": "not_found", "reason": "missing"}

    changed = await couch.ask("PUT", path, json={**document, "size": 2}, params={"rev": rev})
    second = changed.json["rev"]
    assert second.startswith("2-")
    assert (await couch.get(path, rev=rev)).status == 404
    assert (await couch.get(path, rev=rev, latest="true")).json["_rev"] == second
    digests = [second[2:], rev[2:]]
    assert (await couch.get(path, revs="true")).json["_revisions"] == {"start": 2, "ids": digests}
    info = (await couch.get(path, revs_info="true")).json["_revs_info"]
    assert info == [{"rev": second, "status": "available"}, {"rev": rev, "status": "missing"}]
    assert (await couch.get(path, local_seq="true")).json["_local_seq"] == couch.store.seq

    assert (await couch.ask("DELETE", path)).status == 409
    assert (await couch.ask("DELETE", path, params={"rev": rev})).status == 409
    both = await couch.ask("DELETE", path, params={"rev": second}, headers={"If-Match": rev})
    assert both.status == 400
    gone = await couch.ask("DELETE", path, headers={"If-Match": f'"{second}"'})
    assert gone.json["rev"].startswith("3-")
    assert (await couch.get(path)).json == {"error": "not_found", "reason": "deleted"}
    assert (await couch.ask("DELETE", path)).json["reason"] == "deleted"
    tombstone = (await couch.get(path, rev=gone.json["rev"])).json
    assert tombstone["_deleted"] is True
    assert (tombstone["type"], tombstone["source"]) == ("file", document["source"])


async def test_post_writes_a_document_that_names_itself(couch: Any) -> None:
    document = couch.file(1)
    assert (await couch.post("", document)).status == 201
    assert (await couch.post("", {**document, "_rev": "7-x"})).status == 409
    wrong = await couch.ask("PUT", "/another", json=document)
    assert (wrong.status, wrong.json["error"]) == (400, "bad_request")
    invalid = await couch.post("", {**couch.file(2), "size": -1})
    assert (invalid.status, invalid.json["error"]) == (403, "forbidden")
    assert "size" in invalid.json["reason"]


async def test_an_id_may_hold_slashes(couch: Any) -> None:
    document = {
        **couch.documents(couch.node)["notification"],
        "_id": f"notification::{couch.node}::watch_path_inaccessible:/home//x",
        "condition_key": "watch_path_inaccessible:/home//x",
    }
    path = "/" + quote(document["_id"], safe="")
    assert (await couch.ask("PUT", path, json=document)).status == 201
    assert (await couch.get(path)).json["_id"] == document["_id"]


def branches(couch: Any, number: int) -> list[dict[str, Any]]:
    """A document with two live leaves and a deleted one: 3-b wins over 2-c, 2-d is a tombstone."""
    document = couch.file(number)
    a, b, c, d, e = ("abcde"[index] * 32 for index in range(5))
    return [
        {**document, "_rev": f"3-{b}", "_revisions": {"start": 3, "ids": [b, e, a]}, "size": 3},
        {**document, "_rev": f"2-{c}", "_revisions": {"start": 2, "ids": [c, a]}, "size": 2},
        {"_id": document["_id"], "_deleted": True, "_rev": f"2-{d}", "_revisions": {"start": 2, "ids": [d, a]}},
    ]


async def test_replicated_revisions_keep_their_histories(couch: Any) -> None:
    revisions = branches(couch, 1)
    won, lost, dead = (one["_rev"] for one in revisions)
    path = "/" + quote(revisions[0]["_id"], safe="")
    answer = await couch.post("/_bulk_docs", {"docs": revisions, "new_edits": False})
    assert (answer.status, answer.json) == (201, [])
    again = await couch.post("/_bulk_docs", {"docs": revisions, "new_edits": False})
    assert again.json == []

    assert (await couch.get(path, conflicts="true")).json["_conflicts"] == [lost]
    meta = (await couch.get(path, meta="true")).json
    assert (meta["_rev"], meta["_conflicts"], meta["_deleted_conflicts"]) == (won, [lost], [dead])
    leaves = (await couch.get(path, open_revs="all", revs="true")).json
    assert [one["ok"]["_rev"] for one in leaves] == [won, lost, dead]
    assert leaves[0]["ok"]["_revisions"] == revisions[0]["_revisions"]
    assert leaves[2]["ok"]["_deleted"] is True
    named = (await couch.get(path, open_revs=json.dumps([lost, REV, "9-x"]), latest="true")).json
    assert [one.get("missing") or one["ok"]["_rev"] for one in named] == [lost, won, dead, "9-x"]

    rows = (await couch.get("/_changes", style="all_docs")).json["results"]
    assert [one["rev"] for one in rows[-1]["changes"]] == [won, lost, dead]
    rows = (await couch.get("/_changes")).json["results"]
    assert [one["rev"] for one in rows[-1]["changes"]] == [won]

    asked = {"docs": [{"id": revisions[0]["_id"], "rev": REV}, {"id": "none", "rev": "1-x"}, {"id": "none"}]}
    results = (await couch.post("/_bulk_get", asked, revs="true", latest="true")).json["results"]
    assert [one["ok"]["_rev"] for one in results[0]["docs"]] == [won, lost, dead]
    missing = {"id": "none", "rev": "1-x", "error": "not_found", "reason": "missing"}
    assert results[1] == {"id": "none", "docs": [{"error": missing}]}
    assert results[2]["docs"][0]["error"]["error"] == "not_found"
    all_of_it = (await couch.post("/_bulk_get", {"docs": [{"id": revisions[0]["_id"]}]})).json["results"][0]["docs"]
    assert [one["ok"]["_rev"] for one in all_of_it] == [won, lost, dead]
    assert "_revisions" not in all_of_it[0]["ok"]


async def test_leaves_come_in_parts_for_those_who_read_only_that(couch: Any) -> None:
    revisions = branches(couch, 1)
    await couch.store.bulk(revisions, new_edits=False)
    path = "/" + quote(revisions[0]["_id"], safe="")
    params = {"open_revs": json.dumps([revisions[0]["_rev"], "9-x"]), "revs": "true"}
    answer = await couch.ask("GET", path, params=params, headers={"Accept": "multipart/mixed"})
    boundary = answer.headers["Content-Type"].partition('boundary="')[2].strip('"')
    first, second, end = answer.body.split(b"--" + boundary.encode())[1:]
    head, _, body = first.partition(b"\r\n\r\n")
    assert head == b"\r\nContent-Type: application/json"
    assert json.loads(body)["_revisions"] == revisions[0]["_revisions"]
    assert b'error="true"' in second
    assert json.loads(second.partition(b"\r\n\r\n")[2]) == {"missing": "9-x"}
    assert end == b"--"


async def test_one_bad_document_does_not_hinder_the_batch(couch: Any) -> None:
    good, other = couch.file(1), couch.file(2)
    body = {"docs": [good, {**couch.file(3), "size": "big"}, {"_id": 7}, {}, 7, good, other]}
    answer = await couch.post("/_bulk_docs", body)
    assert answer.status == 201
    assert [row.get("ok", row.get("error")) for row in answer.json] == [
        True,
        "forbidden",
        "bad_request",
        "bad_request",
        "bad_request",
        "conflict",
        True,
    ]
    assert await couch.store.get(other["_id"])
    body = {"docs": [{**couch.file(4), "_rev": REV}, {**couch.file(5)}], "new_edits": False}
    (row,) = (await couch.post("/_bulk_docs", body)).json
    assert (row["id"], row["error"]) == (couch.file(5)["_id"], "bad_request")


async def test_a_long_batch_is_written_in_slices_and_answered_in_order(couch: Any) -> None:
    documents = [couch.file(number) for number in range(1, 1_201)]
    packed = gzip.compress(json.dumps({"docs": documents}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await couch.ask("POST", "/_bulk_docs", data=packed, headers=headers)
    assert [row["id"] for row in answer.json] == [one["_id"] for one in documents]
    assert all(row["ok"] for row in answer.json)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"


async def test_revs_diff_names_what_is_missing(couch: Any) -> None:
    document = couch.file(1)
    rev = await couch.store.put(document)
    identifier, unknown = document["_id"], "2-" + "f" * 32
    answer = await couch.post("/_revs_diff", {identifier: [rev, unknown], "none": ["1-x"], "empty": []})
    assert answer.json == {
        identifier: {"missing": [unknown], "possible_ancestors": [rev]},
        "none": {"missing": ["1-x"]},
    }
    answer = await couch.post("/_missing_revs", {identifier: [rev, unknown]})
    assert answer.json == {"missing_revs": {identifier: [unknown]}}
    many = {couch.file(number)["_id"]: ["1-x"] for number in range(1, pages.PAGE + 20)}
    assert len((await couch.post("/_revs_diff", many)).json) == len(many)


async def test_a_full_commit_is_every_commit(couch: Any) -> None:
    answer = await couch.ask("POST", "/_ensure_full_commit", headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["ok"]) == (201, True)
    assert answer.json["instance_start_time"] == couch.store.instance_id


async def test_local_documents_are_kept_and_never_replicated(couch: Any) -> None:
    path = "/_local/" + quote("check/point==", safe="")
    made = await couch.ask("PUT", path, json={"_id": "_local/check/point==", "last_seq": 5})
    assert (made.status, made.json["rev"]) == (201, "0-1")
    assert (await couch.get(path)).json == {"_id": "_local/check/point==", "_rev": "0-1", "last_seq": 5}
    assert (await couch.ask("PUT", path, json={"last_seq": 6})).status == 409
    assert (await couch.ask("PUT", path, json={"last_seq": 6, "_rev": "0-1"})).json["rev"] == "0-2"
    assert (await couch.ask("DELETE", path, params={"rev": "0-1"})).status == 409
    assert (await couch.ask("DELETE", path, params={"rev": "0-2"})).status == 200
    assert (await couch.get(path)).status == 404


async def test_a_head_of_a_live_feed_ends(couch: Any) -> None:
    answer = await couch.ask("HEAD", "/_changes?feed=continuous&heartbeat=1000")
    assert (answer.status, answer.body) == (200, b"")


async def test_answers_are_compressed_when_asked_and_only_then(couch: Any) -> None:
    await couch.store.bulk([couch.file(number) for number in range(1, 700)])
    for path in ("/_changes?include_docs=true", "/_all_docs?include_docs=true"):
        plain = await couch.ask("GET", path, headers={"Accept-Encoding": "identity"})
        packed = await couch.ask("GET", path, headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.json == plain.json
