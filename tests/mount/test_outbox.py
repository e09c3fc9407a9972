"""Protects lines to the agent from being cut: a full socket delays them, and one that nobody reads ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from mosaicfs_vfs.fuse.outbox import Outbox

LINES = [b"%06d" % number + b"x" * 1000 + b"\n" for number in range(900)]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    yield ours, theirs
    ours.close()
    theirs.close()


async def test_a_full_socket_cuts_no_line(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    outbox = Outbox(ours)
    for line in LINES:
        outbox.put(line)
    received, wanted = b"", b"".join(LINES)
    while len(received) < len(wanted):
        received += await asyncio.get_running_loop().sock_recv(theirs, 10_000)
    assert received == wanted
    outbox.put(b"and more\n")
    assert await asyncio.get_running_loop().sock_recv(theirs, 100) == b"and more\n"
    outbox.close()


@pytest.mark.logs("does not take requests: it does not read")
async def test_a_connection_that_nobody_reads_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    outbox = Outbox(ours)
    for line in LINES * 2:
        outbox.put(line)
    assert await asyncio.get_running_loop().sock_recv(ours, 1) == b""
    outbox.close()


@pytest.mark.logs("does not take requests")
async def test_a_connection_that_broke_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.close()
    Outbox(ours).put(b"line\n")
    assert await asyncio.get_running_loop().sock_recv(ours, 1) == b""
