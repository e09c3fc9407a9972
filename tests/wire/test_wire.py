"""Protects both sides of the wire between the host and a plugin in another process, over a real Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from tests.wire.wire_bed import HELLO, Package, connected, event

from mosaicfs_core.errors import NotFound, PluginError
from mosaicfs_core.hooks import (
    Complete,
    CrawlRequest,
    Create,
    Directory,
    Entry,
    FileEvent,
    FileQuery,
    HealthReport,
    Hit,
    Notice,
    QueryRequest,
    ResultEnvelope,
)
from mosaicfs_core.hooks.wire import schemas


async def test_an_event_arrives_as_it_was_sent_and_its_answer_comes_back(tmp_path: Path) -> None:
    seen: list[FileEvent] = []

    async def file_event(context: Any, event: FileEvent) -> Mapping[str, Any]:
        seen.append(event)
        return {"n": context.config["n"], "where": context.instance}

    async with connected(tmp_path, Package(file_event=file_event)) as (channel, kind):
        assert await channel.file_event(event(7)) == {"n": 1, "where": "tester"}
        channel.configure(msgspec.structs.replace(HELLO, config={"n": 2}))
        assert await channel.file_event(event(8)) == {"n": 2, "where": "tester"}
        assert channel.hello is not None
        assert kind.changes == 1
    assert seen == [event(7), event(8)]


async def test_a_path_that_is_too_long_for_an_address_is_reached_all_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()

    async def file_event(context: Any, event: FileEvent) -> Mapping[str, Any]:
        return {"seen": event.sequence}

    async with connected(deep, Package(file_event=file_event)) as (channel, _):
        assert await channel.file_event(event(3)) == {"seen": 3}


async def test_answers_come_in_any_order_and_as_many_at_once_as_there_are_workers(tmp_path: Path) -> None:
    gates = {number: asyncio.Event() for number in range(4)}
    begun: list[int] = []
    two = asyncio.Event()

    async def file_event(event: FileEvent, context: Any) -> None:
        begun.append(event.sequence)
        if len(begun) == 2:
            two.set()
        await gates[event.sequence].wait()

    async with connected(tmp_path, Package(file_event=file_event)) as (channel, _):
        tasks = [asyncio.create_task(channel.file_event(event(number))) for number in range(4)]
        await two.wait()
        gates[1].set()
        assert await tasks[1] is None
        assert begun[:2] == [0, 1]
        for gate in gates.values():
            gate.set()
        assert await asyncio.gather(*tasks) == [None] * 4


async def test_limits_change_with_the_settings_for_what_comes_then(tmp_path: Path) -> None:
    gate, one, four = asyncio.Event(), asyncio.Event(), asyncio.Event()
    begun: list[tuple[int, Any]] = []

    async def file_event(event: FileEvent, context: Any) -> None:
        begun.append((event.sequence, context.config["n"]))
        one.set()
        if len(begun) == 4:
            four.set()
        await gate.wait()

    async with connected(tmp_path, Package(file_event=file_event)) as (channel, _):
        channel.configure(msgspec.structs.replace(HELLO, workers=1))
        first = asyncio.create_task(channel.file_event(event(0)))
        await one.wait()
        channel.configure(msgspec.structs.replace(HELLO, workers=3, config={"n": 2}))
        tasks = [first, *(asyncio.create_task(channel.file_event(event(number))) for number in range(1, 5))]
        await four.wait()
        assert begun == [(0, 1), (1, 2), (2, 2), (3, 2)]  # the first one holds no place among the three
        gate.set()
        assert await asyncio.gather(*tasks) == [None] * 5
        channel.configure(msgspec.structs.replace(HELLO, timeout_s=0.01))
        gate.clear()
        with pytest.raises(PluginError, match="failed"):
            await channel.file_event(event(6))


async def test_an_error_names_the_plugin_once_and_is_an_attempt(tmp_path: Path) -> None:
    async def file_event(event: FileEvent, context: Any) -> None:
        raise ValueError("no such page")

    async with connected(tmp_path, Package(file_event=file_event)) as (channel, _):
        with pytest.raises(PluginError) as failed:
            await channel.file_event(event())
    assert str(failed.value) == "plugin tester: mosaicfs_file_event failed: no such page"


async def test_queries_health_and_crawls_cross_with_their_types(tmp_path: Path) -> None:
    hits = ResultEnvelope(results=(Hit(file_id="node-a.u", score=0.5),), description="one")
    operations = [
        Create(export_path="/x/new\nline", size=1, mtime=5, fingerprint="f"),
        Directory(export_path="/x/d", files=[Entry("a", 1, 2, 3, 4)], directories=["e"]),
        Complete(prefix="/x"),
    ]

    async def query(context: Any, request: QueryRequest) -> ResultEnvelope:
        assert request == QueryRequest(capability="search", endpoint="text", query="a b", limit=3)
        return hits

    async def health(context: Any) -> HealthReport:
        return HealthReport(status="degraded", notices=(Notice(key="k", severity="info", title="t"),))

    async def crawl(context: Any, request: CrawlRequest) -> AsyncGenerator[Any, None]:
        yield operations[0]
        yield operations[1:]
        yield []

    async with connected(tmp_path, Package(query=query, health=health, crawl=crawl)) as (channel, _):
        assert await channel.query(QueryRequest(capability="search", endpoint="text", query="a b", limit=3)) == hits
        assert (await channel.health()).notices[0].key == "k"
        found = [part async for part in channel.crawl(CrawlRequest(trigger="manual"))]
        again = channel.crawl(CrawlRequest(trigger="manual"))
        assert await anext(again) == [operations[0]]
        await again.aclose()
    assert [operation for part in found for operation in part] == operations


async def test_the_context_calls_back(tmp_path: Path) -> None:
    async def file_event(context: Any, event: FileEvent) -> Mapping[str, Any]:
        page = await context.find_files(FileQuery(text="b", labels=("x",)))
        with pytest.raises(NotFound, match="nothing does not exist"):
            await context.read_document("nothing")
        whole = b"".join([chunk async for chunk in context.open_file(page.items[0])])
        first = context.open_file(page.items[0], offset=1)
        assert await anext(first) == bytes([0, 255, 10]) * 1000
        await first.aclose()
        return {"found": page.items[0].name, "bytes": len(whole)}

    async with connected(tmp_path, Package(file_event=file_event)) as (channel, kind):
        assert await channel.file_event(event()) == {"found": "a b.pdf", "bytes": 60_000}
        assert kind.plugin.asked == [FileQuery(text="b", labels=("x",))]
        await kind.plugin.closed.wait()


async def test_a_watcher_waits_until_what_it_emits_is_taken_and_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    taken: list[Any] = []
    ended = asyncio.Event()

    async def watch(context: Any, emit: Callable[[Any], Awaitable[None]]) -> None:
        try:
            await emit([])
            await emit([Create(export_path="/x/a", size=1, mtime=1)])
            assert len(taken) == 2
            await asyncio.Event().wait()
        finally:
            ended.set()

    got = asyncio.Event()

    async def emit(operations: Sequence[Any]) -> None:
        taken.append(list(operations))
        if len(taken) == 2:
            got.set()

    async with connected(tmp_path, Package(watch=watch)) as (channel, _):
        watching = asyncio.create_task(channel.watch(emit))
        await got.wait()
        watching.cancel()
        await ended.wait()
    assert taken == [[], [Create(export_path="/x/a", size=1, mtime=1)]]


def test_the_schemas_describe_what_is_sent() -> None:
    found = schemas()
    definitions = found.pop("$defs")
    line = {"ack": 3, "annotation": {"a": 1}}
    jsonschema.validate(line, {**found["FromPlugin"], "$defs": definitions})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"ack": "three"}, {**found["FromPlugin"], "$defs": definitions})
    hello = msgspec.to_builtins(HELLO)
    jsonschema.validate({"hello": hello}, {**found["FromHost"], "$defs": definitions})
