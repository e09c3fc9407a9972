"""Protects both sides of the wire between the host and a plugin in another process, over a real Unix socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from mosaicfs_core.errors import NotFound, PluginError, Unavailable
from mosaicfs_core.hooks import (
    HOOK_API,
    Complete,
    CrawlRequest,
    Create,
    Directory,
    Entry,
    FileEvent,
    FileQuery,
    FileRecord,
    HealthReport,
    Hit,
    Notice,
    Page,
    QueryRequest,
    ResultEnvelope,
)
from mosaicfs_core.hooks.wire import (
    ANNOTATION_LIMIT,
    BrokenWire,
    Channel,
    HostHello,
    PluginHello,
    connect,
    schemas,
    serve,
)
from mosaicfs_core.hooks.wire.lines import LINE_LIMIT

FILE = FileRecord(
    file_id="node-a.u", node_id="node-a", export_path="/a b.pdf", name="a b.pdf", size=3, mtime=1_000_001, inode=1001
)


def event(sequence: int = 1, name: Any = "file.added") -> FileEvent:
    return FileEvent(
        event=name,
        sequence=sequence,
        timestamp="2026-02-16T09:22:00.000000Z",
        node_id="node-a",
        file=FILE,
        local_path="/a b.pdf",
    )


class HostContext:
    """The context that the host's side has of the instance: what a plugin calls ends here."""

    instance, node_id = "tester", "node-a"

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.closed = asyncio.Event()

    async def find_files(self, query: FileQuery) -> Page[FileRecord]:
        self.asked.append(query)
        return Page(items=(FILE,), total=1, offset=0, limit=query.limit)

    async def read_document(self, document_id: str) -> dict[str, Any] | None:
        raise NotFound(f"{document_id} does not exist")

    async def open_file(self, file: FileRecord, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        try:
            for number in range(20):
                yield bytes([number, 255, 10]) * 1000
        finally:
            self.closed.set()


class HostKind:
    """A ``KindContext``."""

    package = "tester"
    plugin_dirs: Sequence[Path] = ()
    socket_dir = Path("/nowhere")

    def __init__(self) -> None:
        self.plugin: Any = HostContext()
        self.timeout_s = 30.0
        self.notices: list[Notice] = []
        self.changes = 0

    async def notify(self, notice: Notice) -> None:
        self.notices.append(notice)

    def changed(self) -> None:
        self.changes += 1


class Package:
    """A ``Served`` whose hooks are functions given by a test."""

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        self._hooks = {f"mosaicfs_{name}": function for name, function in hooks.items()}
        self.hello = PluginHello(hook_api=HOOK_API, name="tester", version="1")

    async def call(self, hook: str, timeout: float | None, **arguments: Any) -> Any:
        try:
            async with asyncio.timeout(timeout):
                return await self._hooks[hook](**arguments)
        except (ValueError, TimeoutError) as error:
            raise PluginError(f"plugin tester: {hook} failed: {error}", "tester", hook) from error

    def iterate(self, hook: str, **arguments: Any) -> AsyncGenerator[Any, None]:
        items: AsyncGenerator[Any, None] = self._hooks[hook](**arguments)
        return items


HELLO = HostHello(hook_api=HOOK_API, node_id="node-a", instance="tester", package="tester", config={"n": 1}, workers=2)


@asynccontextmanager
async def connected(tmp_path: Path, package: Package) -> AsyncIterator[tuple[Channel, HostKind]]:
    """A host's channel to a served package."""
    stop, up = asyncio.Event(), asyncio.Event()
    path = tmp_path / "s.sock"
    serving = asyncio.create_task(serve(path, package, up.set, stop))
    await up.wait()
    assert path.stat().st_mode & 0o777 == 0o600
    kind = HostKind()
    channel = Channel(await connect(path), kind)
    channel.greet(HELLO)
    running = asyncio.create_task(channel.run())
    try:
        yield channel, kind
    finally:
        stop.set()
        await serving
        await running
        assert not path.exists()


Script = Callable[[asyncio.StreamReader, Callable[[Any], None]], Awaitable[None]]


@asynccontextmanager
async def scripted(tmp_path: Path, script: Script) -> AsyncIterator[tuple[Channel, HostKind, asyncio.Task[None]]]:
    """A host's channel to a program that speaks for itself: ``script(reader, say)``."""
    done = asyncio.Event()

    async def program(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(message: Any) -> None:
            writer.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")

        try:
            await script(reader, say)
            await writer.drain()
        except ConnectionError:
            pass  # the host had enough
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_unix_server(program, tmp_path / "s.sock", limit=LINE_LIMIT)
    kind = HostKind()
    channel = Channel(await connect(tmp_path / "s.sock"), kind)
    channel.greet(HELLO)
    running = asyncio.create_task(channel.run())
    try:
        yield channel, kind, running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await done.wait()
        server.close()


async def said(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next line of the host."""
    return dict(json.loads(await reader.readline()))


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


async def test_what_waits_is_given_up_without_an_attempt_when_the_connection_ends(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, say: Any) -> None:
        for _ in range(4):
            await said(reader)

    async with scripted(tmp_path, script) as (channel, _, running):
        crawl = channel.crawl(CrawlRequest(trigger="manual"))
        waiting = [
            asyncio.create_task(channel.file_event(event())),
            asyncio.create_task(channel.health()),
            asyncio.ensure_future(anext(crawl)),
        ]
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
        await running
        # What is asked after its end is not waited for either.
        with pytest.raises(Unavailable, match="it closed the connection"):
            await channel.health()
        with pytest.raises(Unavailable):
            await channel.file_event(event(2))
        with pytest.raises(Unavailable):
            await anext(channel.crawl(CrawlRequest(trigger="manual")))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"this is no JSON\n", "no message of the protocol"),
        (b'{"ack": "seven"}\n', "no message of the protocol"),
        (b'{"ack": 1', "in the middle of a line"),
        (b'{"wonderful": true}\n', "neither hello, ack"),
        (b"[" * 100_000 + b"\n", "no message of the protocol"),
        (b'{"hello": {"hook_api": 99}}\n', "written for hook API 99, this MosaicFS offers"),
    ],
    ids=["text", "wrong type", "cut", "unknown", "deep", "newer"],
)
async def test_a_plugin_that_does_not_keep_to_the_protocol_is_disconnected(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    async def script(reader: asyncio.StreamReader, say: Any) -> None:
        await said(reader)
        await said(reader)
        say(line)

    async with scripted(tmp_path, script) as (channel, _, running):
        with pytest.raises(Unavailable):
            await channel.file_event(event())
        with pytest.raises(BrokenWire, match=reason):
            await running


async def test_a_line_without_end_is_not_kept_in_memory(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, say: Any) -> None:
        await said(reader)
        say(b'{"hello": "' + b"x" * (2 * LINE_LIMIT))
        await reader.read()

    async with scripted(tmp_path, script) as (_, _, running):
        with pytest.raises(BrokenWire, match="more than 16,777,216 bytes"):
            await running


async def test_odd_acknowledgements_hurt_no_other_event(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, say: Any) -> None:
        await said(reader)
        first, second, third = await said(reader), await said(reader), await said(reader)
        say({"ack": 4711})
        say({"ack": third["sequence"], "annotation": {"text": "x" * ANNOTATION_LIMIT}})
        say({"ack": first["sequence"], "annotation": [1, 2]})
        say({"ack": first["sequence"], "annotation": {"late": True}})
        say({"notification": {"key": "k", "severity": "info", "title": "Hello"}})
        say({"ack": second["sequence"], "annotation": {"fine": True}, "of a newer version": 1})
        await reader.read()

    async with scripted(tmp_path, script) as (channel, kind, _):
        first, second, third = await asyncio.gather(
            *(channel.file_event(event(number)) for number in (1, 2, 3)), return_exceptions=True
        )
        assert isinstance(first, PluginError)
        assert "an annotation that is list, not an object" in str(first)
        assert second == {"fine": True}
        assert isinstance(third, PluginError)
        assert "an annotation of more than 1,048,576 bytes" in str(third)
        assert [notice.title for notice in kind.notices] == ["Hello"]


async def test_the_answer_to_an_event_that_was_let_go_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mosaicfs.plugins")
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, say: Any) -> None:
        await said(reader)
        await said(reader)
        await go.wait()
        say({"ack": 1})
        say({"ack": (await said(reader))["sequence"], "annotation": {"n": 2}})
        await reader.read()

    async with scripted(tmp_path, script) as (channel, _, _):
        first = asyncio.ensure_future(channel.file_event(event(1)))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        go.set()
        assert await channel.file_event(event(2)) == {"n": 2}
    assert [record.getMessage() for record in caplog.records if "does not wait" in record.getMessage()] == []


async def test_only_the_oldest_event_fails_when_nothing_is_acknowledged_in_time(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def script(reader: asyncio.StreamReader, say: Any) -> None:
        await said(reader)
        await said(reader)
        second = await said(reader)
        await go.wait()
        say({"ack": second["sequence"]})
        await reader.read()

    async with scripted(tmp_path, script) as (channel, kind, _):
        kind.timeout_s = 0.05
        first = asyncio.create_task(channel.file_event(event(1)))
        second = asyncio.create_task(channel.file_event(event(2)))
        with pytest.raises(PluginError, match=r"did not acknowledge an event within 0\.05 s"):
            await first
        assert channel.timed_out.is_set()
        kind.timeout_s = 30
        if second.done():  # the machine stood still for as long as the limit
            pytest.skip("the clock ran away")
        go.set()
        assert await second is None


def test_the_schemas_describe_what_is_sent() -> None:
    found = schemas()
    definitions = found.pop("$defs")
    line = {"ack": 3, "annotation": {"a": 1}}
    jsonschema.validate(line, {**found["FromPlugin"], "$defs": definitions})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"ack": "three"}, {**found["FromPlugin"], "$defs": definitions})
    hello = msgspec.to_builtins(HELLO)
    jsonschema.validate({"hello": hello}, {**found["FromHost"], "$defs": definitions})
