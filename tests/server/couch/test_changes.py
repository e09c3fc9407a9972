"""Protects replication while it goes on: feeds tell every change once, wait, beat and end as CouchDB's do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from mosaicfs_core.config import ServerConfig
from mosaicfs_core.server import serve


async def write(couch: Any, *numbers: int) -> list[str]:
    """Write files; their ids."""
    documents = [couch.file(number) for number in numbers]
    await couch.store.bulk(documents)
    return [document["_id"] for document in documents]


async def start(couch: Any) -> int:
    """The sequence before the test's own writes."""
    return int((await couch.get("")).json["update_seq"])


async def row_of(answer: Any) -> dict[str, Any]:
    """The next line of a continuous feed that is no heartbeat."""
    while True:
        line = await asyncio.wait_for(answer.content.readline(), 20)
        assert line
        if line.strip():
            row: dict[str, Any] = json.loads(line)
            return row


async def test_a_normal_feed_tells_what_there_is(couch: Any) -> None:
    since = await start(couch)
    written = await write(couch, *range(1, 1_101))
    await couch.store.update(written[0], lambda document: {**(document or {}), "size": 9})
    answer = (await couch.get("/_changes", since=since)).json
    assert [row["id"] for row in answer["results"]] == [*written[1:], written[0]]
    assert answer["last_seq"] == answer["results"][-1]["seq"] == couch.store.seq
    assert answer["pending"] == 0
    part = (await couch.get("/_changes", since=since, limit=3)).json
    assert [row["id"] for row in part["results"]] == written[1:4]
    assert part["last_seq"] == part["results"][-1]["seq"]
    assert part["pending"] == couch.store.seq - part["last_seq"]
    rest = (await couch.get("/_changes", since=part["last_seq"], limit=5000)).json
    assert len(rest["results"]) == 1_097
    none = (await couch.get("/_changes", since="now")).json
    assert none == {"results": [], "last_seq": couch.store.seq, "pending": 0}
    quoted = (await couch.get("/_changes", since=f'"{part["last_seq"]}"', limit=0)).json
    assert [row["id"] for row in quoted["results"]] == written[4:5]


async def test_documents_come_with_it_when_asked(couch: Any) -> None:
    since = await start(couch)
    (identifier,) = await write(couch, 1)
    stored = await couch.store.get(identifier)
    (row,) = (await couch.get("/_changes", since=since, include_docs="true")).json["results"]
    assert row == {"seq": row["seq"], "id": identifier, "changes": [{"rev": stored["_rev"]}], "doc": stored}
    await couch.store.put({"_id": identifier, "_rev": stored["_rev"], "_deleted": True, "type": "file"})
    (row,) = (await couch.get("/_changes", since=since, include_docs="true")).json["results"]
    assert row["deleted"] is True
    assert row["doc"]["_deleted"] is True


async def test_filters_by_selector_and_by_ids(couch: Any) -> None:
    since = await start(couch)
    written = await write(couch, *range(1, 21))
    asked = {"selector": {"size": {"$gt": 17}}}
    found = (await couch.post("/_changes", asked, since=since, filter="_selector")).json["results"]
    assert [row["id"] for row in found] == written[17:]
    await couch.store.bulk(
        [
            {**couch.file(1), "size": 99, "_rev": "1-" + "0" * 32, "_revisions": {"start": 1, "ids": ["0" * 32]}},
        ],
        new_edits=False,
    )
    found = (await couch.post("/_changes", asked, since=since, filter="_selector", style="all_docs")).json["results"]
    leaves = {row["id"]: [one["rev"] for one in row["changes"]] for row in found}
    assert leaves.get(written[0], ["1-" + "0" * 32]) == ["1-" + "0" * 32]
    wanted = {"doc_ids": [written[5], written[3], "none"]}
    found = (await couch.post("/_changes", wanted, since=since, filter="_doc_ids")).json["results"]
    assert [row["id"] for row in found] == [written[3], written[5]]
    found = (await couch.get("/_changes", filter="_doc_ids", doc_ids=json.dumps([written[3]]))).json["results"]
    assert [row["id"] for row in found] == [written[3]]
    assert (await couch.get("/_changes", filter="_design")).json["results"] == []


async def test_a_long_poll_answers_at_once_or_waits_for_the_next_change(couch: Any) -> None:
    since = await start(couch)
    (first,) = await write(couch, 1)
    at_once = (await couch.get("/_changes", feed="longpoll", since=since)).json
    assert [row["id"] for row in at_once["results"]] == [first]
    async with couch.open("GET", "/_changes", params={"feed": "longpoll", "since": "now"}) as answer:
        assert await answer.content.readline() == b'{"results":[\n'  # the answer began before there was a change
        (second,) = await write(couch, 2)
        rest = json.loads(b'{"results":[' + await asyncio.wait_for(answer.content.read(), 20))
    assert [row["id"] for row in rest["results"]] == [second]
    empty = (await couch.get("/_changes", feed="longpoll", since="now", timeout=1)).json
    assert empty == {"results": [], "last_seq": couch.store.seq, "pending": 0}


async def test_a_long_poll_beats_while_it_waits(couch: Any) -> None:
    params = {"feed": "longpoll", "since": "now", "heartbeat": "100"}
    async with couch.open("GET", "/_changes", params=params) as answer:
        assert await answer.content.readline() == b'{"results":[\n'
        assert await asyncio.wait_for(answer.content.readline(), 20) == b"\n"
        assert await asyncio.wait_for(answer.content.readline(), 20) == b"\n"
        (written,) = await write(couch, 1)
        rest = json.loads(b'{"results":[' + await asyncio.wait_for(answer.content.read(), 20))
    assert [row["id"] for row in rest["results"]] == [written]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_continuous_feed_goes_on_and_beats(couch: Any, encoding: str) -> None:
    since = await start(couch)
    written = await write(couch, 1, 2)
    params = {"feed": "continuous", "since": str(since), "heartbeat": "100", "include_docs": "true"}
    async with couch.open("GET", "/_changes", params=params, headers={"Accept-Encoding": encoding}) as answer:
        assert answer.headers.get("Content-Encoding", "identity") == encoding
        assert [(await row_of(answer))["id"] for _ in written] == written
        assert await asyncio.wait_for(answer.content.readline(), 20) == b"\n"
        (later,) = await write(couch, 3)
        row = await row_of(answer)
        assert (row["id"], row["doc"]["size"]) == (later, 3)


async def test_a_continuous_feed_without_heartbeat_ends_by_itself(couch: Any) -> None:
    since = await start(couch)
    written = await write(couch, 1, 2, 3)
    answer = await couch.get("/_changes", feed="continuous", since=since, timeout=1)
    *rows, last = [json.loads(line) for line in answer.body.splitlines()]
    assert [row["id"] for row in rows] == written
    assert last == {"last_seq": couch.store.seq, "pending": 0}
    answer = await couch.get("/_changes", feed="continuous", since=since, limit=2, heartbeat="true")
    *rows, last = [json.loads(line) for line in answer.body.splitlines()]
    assert [row["id"] for row in rows] == written[:2]
    assert last == {"last_seq": rows[-1]["seq"], "pending": 1}


async def test_an_event_source_is_resumed_by_the_last_event(couch: Any) -> None:
    written = await write(couch, 1, 2, 3)
    second = couch.store.seq - 1
    headers = {"Last-Event-ID": str(second)}
    params = {"feed": "eventsource", "heartbeat": "100"}
    async with couch.open("GET", "/_changes", params=params, headers=headers) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        data = await asyncio.wait_for(answer.content.readline(), 20)
        assert json.loads(data.removeprefix(b"data: "))["id"] == written[2]
        assert await answer.content.readline() == b"id: %d\n" % couch.store.seq
        assert await answer.content.readline() == b"\n"
        assert await asyncio.wait_for(answer.content.readline(), 20) == b"event: heartbeat\n"


async def test_changes_of_others_neither_show_nor_keep_a_feed_from_beating(couch: Any) -> None:
    params = {"feed": "continuous", "since": "now", "heartbeat": "150"}
    async with couch.open("GET", "/_changes", "user", params=params) as answer:
        writing = asyncio.create_task(_write_for_a_while(couch))
        for _ in range(3):
            assert await asyncio.wait_for(answer.content.readline(), 20) == b"\n"
        await writing
        await couch.store.put(couch.documents(couch.node)["label_rule"])
        assert (await row_of(answer))["id"] == couch.documents(couch.node)["label_rule"]["_id"]


async def _write_for_a_while(couch: Any) -> None:
    for number in range(1, 60):
        await couch.store.put(couch.file(number))
        await couch.store.wait(couch.store.seq, 0.01)


async def test_feeds_end_when_the_client_leaves(couch: Any) -> None:
    live = couch.instance.server.live
    answer = await couch.open("GET", "/_changes", params={"feed": "continuous", "heartbeat": "100"}).__aenter__()
    await asyncio.wait_for(answer.content.readline(), 20)
    assert live.open == 1
    answer.close()
    async with asyncio.timeout(20):
        while live.open:
            await couch.store.wait(couch.store.seq, 0.01)


@pytest.mark.parametrize(
    "disabled", ["the node", "the key of the node", "the key of the user", "and enabled again, the key of the user"]
)
async def test_a_feed_ends_when_its_reader_is_disabled(couch: Any, disabled: str) -> None:
    documents = couch.documents(couch.node)
    who = "user" if disabled.endswith("the key of the user") else "node"
    if disabled == "the key of the node":
        await couch.store.put({**documents["node"], "access_key_id": couch.key})
        await couch.store.update(f"credential::{couch.key}", lambda known: {**(known or {}), "node_id": couch.node})
    else:
        await couch.store.put(documents["node"])
    params = {"feed": "continuous", "since": "now", "heartbeat": "60000"}
    async with couch.open("GET", "/_changes", who, params=params) as answer:
        await couch.store.put(documents["label_rule"])
        assert (await row_of(answer))["id"] == documents["label_rule"]["_id"]
        if disabled == "the node":
            await couch.store.update(documents["node"]["_id"], lambda node: {**(node or {}), "status": "disabled"})
        else:
            # Both may have happened elsewhere, and arrive together.
            change = {"enabled": disabled.startswith("and"), "revocation": {"number": 1, "proof": "0" * 64}}
            await couch.store.update(f"credential::{couch.key}", lambda known: {**(known or {}), **change})
        rest = await asyncio.wait_for(answer.content.read(), 20)
    assert [row.keys() for row in map(json.loads, rest.splitlines())] == [{"last_seq", "pending"}]


async def test_an_open_feed_does_not_hold_up_the_end(
    instance: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serve, "PATIENCE_SECONDS", 60.0)
    listener = serve.bind(ServerConfig(port=0))
    headers = {"Authorization": f"Bearer {instance.server.local_token}"}
    params = {"feed": "continuous", "since": "now", "heartbeat": "100"}
    async with asyncio.timeout(30), aiohttp.ClientSession(headers=headers) as client:
        async with serve.serving(instance.app, listener, instance.harness.home) as url:
            answer = await client.get(f"{url}/db/mosaicfs/_changes", params=params)
            assert await answer.content.readline()
        with pytest.raises(aiohttp.ClientError):
            await answer.content.read()
        answer.close()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
