"""Protects how lines are sent: many at once wake the other side once, and none is lost for having waited."""

from __future__ import annotations

import asyncio
import socket

from mosaicfs_core.hooks.wire.lines import Lines


async def pair() -> tuple[Lines, socket.socket]:
    """Lines, and the other side's end of their connection."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(20)
    return Lines(*await asyncio.open_unix_connection(sock=ours)), theirs


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
    lines.send({"ack": "x" * (2 << 20)})
    assert lines.behind
    await lines.abandon()
    lines.send({"ack": 2})
    assert not theirs.close()
