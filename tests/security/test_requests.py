"""Protects outgoing requests from parties that take a connection and then say nothing."""

from __future__ import annotations

import asyncio

import pytest

from mosaicfs_core.security import requests
from mosaicfs_core.security.requests import PlainRequests, Unreachable


async def test_a_websocket_that_nobody_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "OPENING_SECONDS", 0.2)
    done = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        asking = PlainRequests(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with asyncio.timeout(5):
            with pytest.raises(Unreachable, match="did not answer in time"):
                async with asking.websocket("/api/agent/link"):
                    pass
        await asking.close()
        done.set()
