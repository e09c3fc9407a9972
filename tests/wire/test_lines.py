"""Protects how lines are sent: many at once wake the other side once, none is lost for having waited, and a side that
does not read holds nobody up for ever."""

from __future__ import annotations

import asyncio
import socket

import pytest

from mosaicfs_core.hooks.wire import lines as wire_lines
from mosaicfs_core.hooks.wire.lines import Lines

MUCH = {"ack": "x" * (4 << 20)}
"""More than the system takes off our hands for a side that does not read."""


async def pair() -> tuple[Lines, socket.socket]:
    """Lines, and the other side's end of their connection."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(20)
    return Lines(*await asyncio.open_unix_connection(sock=ours)), theirs


def rest(theirs: socket.socket) -> bytes:
    """All that still comes until the connection's end. Blocks."""
    parts = []
    while part := theirs.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


async def waiting_to_be_read(lines: Lines) -> asyncio.Task[None]:
    """A ``drain`` that the other side keeps waiting."""
    draining = asyncio.create_task(lines.drain())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not draining.done()
    return draining


async def test_what_is_sent_in_one_turn_is_one_write() -> None:
    lines, theirs = await pair()
    for number in range(3):
        lines.send({"ack": number})
    assert await asyncio.to_thread(theirs.recv, 1000) == b'{"ack":0}\n{"ack":1}\n{"ack":2}\n'
    await lines.close()
    theirs.close()


async def test_the_last_words_are_sent_before_the_end() -> None:
    lines, theirs = await pair()
    lines.send({"ack": 1})
    closing = asyncio.create_task(lines.close())
    assert await asyncio.to_thread(theirs.recv, 1000) == b'{"ack":1}\n'
    theirs.close()
    await closing


async def test_who_has_sent_much_is_behind_at_once() -> None:
    lines, theirs = await pair()
    lines.send(MUCH)
    assert lines.behind
    await lines.abandon()
    theirs.close()


async def test_what_is_sent_to_a_closed_connection_is_not_kept() -> None:
    lines, theirs = await pair()
    await lines.abandon()
    lines.send(MUCH)
    assert not lines.behind
    assert await asyncio.to_thread(rest, theirs) == b""
    theirs.close()


async def test_draining_sends_what_was_said_in_this_turn() -> None:
    lines, theirs = await pair()
    lines.send({"ack": 1})
    await lines.drain()
    theirs.setblocking(False)
    assert theirs.recv(1000) == b'{"ack":1}\n'
    await lines.abandon()
    theirs.close()


async def test_draining_waits_for_a_side_that_does_not_read() -> None:
    lines, theirs = await pair()
    lines.send(MUCH)
    draining = await waiting_to_be_read(lines)
    reading = asyncio.create_task(asyncio.to_thread(rest, theirs))
    await draining
    assert not lines.behind
    await lines.close()
    assert len(await reading) > len(MUCH["ack"])
    theirs.close()


async def test_hanging_up_on_a_side_that_does_not_read_ends_all_waiting_for_it() -> None:
    lines, theirs = await pair()
    lines.send(MUCH)
    draining = await waiting_to_be_read(lines)
    lines.hang_up()
    with pytest.raises(ConnectionError):
        await draining
    assert len(await asyncio.to_thread(rest, theirs)) < len(MUCH["ack"])
    theirs.close()


async def test_a_side_that_does_not_read_has_a_while_for_the_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_lines, "FLUSH_S", 0.05)
    lines, theirs = await pair()
    lines.send(MUCH)
    await lines.close()
    assert len(await asyncio.to_thread(rest, theirs)) < len(MUCH["ack"])
    theirs.close()
