"""Protects the host's side of the wire from a plugin that says nothing, nonsense, too much, or nothing in time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.wire.wire_bed import event, said, scripted

from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.hooks import CrawlRequest
from mosaicfs_core.hooks.wire import ANNOTATION_LIMIT, BrokenWire
from mosaicfs_core.hooks.wire.lines import LINE_LIMIT


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
