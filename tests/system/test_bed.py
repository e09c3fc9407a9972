"""Protects the test bed itself: hosts reach each other, a cut link carries nothing, clocks move, delays delay."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from network_bed import FAKETIME, Relay

SERVE = """
import socket
server = socket.create_server(("", 4000))
print("up", flush=True)
while True:
    server.accept()[0].sendall(b"x")
"""
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], 4000), 1).recv(1))"


def test_hosts_reach_each_other_until_a_link_is_cut(network: Any) -> None:
    one, other = network.host("one"), network.host("other")
    server = one.start([sys.executable, "-c", SERVE])
    assert server.stdout.readline() == b"up\n"
    ask = [sys.executable, "-c", ASK, one.address]
    assert other.run(ask).stdout.strip() == "b'x'"
    one.cut()
    assert "timed out" in other.run(ask).stderr or "No route" in other.run(ask).stderr
    one.heal()
    assert other.run(ask).stdout.strip() == "b'x'"
    other.shape("10mbit")
    assert other.run(ask).stdout.strip() == "b'x'"


def test_a_link_delays(network: Any, netem: bool) -> None:
    one, other = network.host("one"), network.host("other")
    server = one.start([sys.executable, "-c", SERVE])
    assert server.stdout.readline() == b"up\n"
    one.disturb(delay_ms=40)
    timed = f"import time; begun = time.monotonic(); {ASK}; print(time.monotonic() - begun)"
    answer, seconds = other.run([sys.executable, "-c", timed, one.address]).stdout.split()
    # There and back for the connection and for the byte, and the wire holds both directions up.
    assert answer == "b'x'"
    assert float(seconds) >= 0.08
    one.disturb(loss_percent=100)
    assert "timed out" in other.run([sys.executable, "-c", ASK, one.address]).stderr


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed")
def test_a_clock_can_be_moved(network: Any) -> None:
    host = network.host("one")
    said = host.run([sys.executable, "-c", "import time; print(time.time())"], clock="+10m").stdout
    assert 590 < float(said) - time.time() < 610


async def test_a_relay_delays_and_changes_nothing(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Relay(server.sockets[0].getsockname(), 0.01) as relay:
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        sent = bytes(range(256)) * 1000
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent
        assert time.monotonic() - begun >= 0.02
        writer.close()
    server.close()
    await server.wait_closed()
