"""The two ends of the relay, each with another one that lies, fails, or takes its time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mosaicfs_core.agent.link.push import ATTEMPTS, Pusher
from mosaicfs_core.errors import MosaicError, NotFound, NotSignedIn, Unavailable, UserError
from mosaicfs_core.link import ReaderWaits
from mosaicfs_core.server.link.relay import PIECE

NODE = "node-laptop-aaaa"
OTHER = "node-desktop-bbbb"


async def test_pieces_that_do_not_fit_are_refused(control_plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that brings what nobody asked for, out of order, twice, too much, or under another's ticket."""
    relay = control_plane.server.relay
    monkeypatch.setattr(relay, "_room_s", 0.02)

    async def push(given: dict[str, Any]) -> dict[str, Any]:
        return {"size": 100, "mtime": 1, "etag": '"e"', "start": given["start"], "stop": given["stop"]}

    async def call(_node: str, _method: str, params: dict[str, Any], _timeout: float) -> Any:
        return await push(params)

    monkeypatch.setattr(relay._links, "call", call)
    requests, other = control_plane.requests(NODE), control_plane.requests(OTHER)

    async def bring(by: Any, ticket: str, at: int, piece: bytes) -> int:
        async with by.request("POST", f"/api/agent/relay/{ticket}", params={"at": str(at)}, body=piece) as answer:
            status: int = answer.status
            return status

    async with relay.range_of(NODE, "x", 0, 10) as found:
        (ticket,) = relay._tickets
        assert await bring(requests, "no-such-ticket", 0, b"x") == 404
        assert await bring(other, ticket, 0, b"stolen") == 404
        assert await bring(requests, ticket, 4, b"late") == 409
        assert await bring(requests, ticket, 0, b"") == 400
        with pytest.raises(UserError):
            await relay.put(NODE, ticket, 0, b"x" * (PIECE + 1))
        assert await bring(requests, ticket, -1, b"x") == 400
        assert await bring(requests, ticket, 0, b"0123") == 200
        assert await bring(requests, ticket, 0, b"0123") == 200  # the answer was lost, and it asks again
        assert await bring(requests, ticket, 4, b"456789") == 200
        assert b"".join([piece async for piece in found]) == b"0123456789"
    assert await bring(requests, ticket, 10, b"more") == 404
    async with relay.range_of(NODE, "x", 0, 10) as found:
        (ticket,) = relay._tickets
        assert await bring(requests, ticket, 0, b"01234567890") == 200
        with pytest.raises(Unavailable, match="more than it was asked for"):
            async for _ in found:
                pass
    await requests.close()
    await other.close()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"size": 5, "mtime": 1, "etag": "e", "start": 0, "stop": 6},
        {"size": 5, "mtime": 1, "etag": "e", "start": 3, "stop": 2},
        {"size": -1, "mtime": 1, "etag": "e", "start": 0, "stop": 0},
        {"size": 2**53, "mtime": 1, "etag": '"e"', "start": 0, "stop": 0},
        {"size": 50, "mtime": 1, "etag": "e", "start": 1, "stop": 4},
        {"size": 50, "mtime": 1, "etag": "e", "start": 0, "stop": 40},
        {"size": 50, "mtime": 1, "etag": "e", "start": 0, "stop": 10},
        {"size": 50, "mtime": 1, "etag": '"e"\r\nSet-Cookie: x', "start": 0, "stop": 10},
        {"size": 50, "mtime": 10**19, "etag": '"e"', "start": 0, "stop": 10},
        NotSignedIn("sign in first"),
        MosaicError("something that nobody foresaw"),
    ],
    ids=str,
)
async def test_what_a_node_says_of_a_file_is_checked(
    control_plane: Any, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    relay = control_plane.server.relay

    async def call(*_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(relay._links, "call", call)
    with pytest.raises(Unavailable, match=NODE):
        async with relay.range_of(NODE, "x", 0, 10):
            pass
    assert not relay._tickets


class _Answer:
    """What a proxy or our control plane says to a piece."""

    def __init__(self, status: int, code: str | None) -> None:
        self.status, self.reason, self.headers = status, "Service Unavailable", dict[str, str]()
        self._body = json.dumps({"error": {"code": code, "message": "wait"}}).encode() if code else b"<html>"
        self.content = self

    async def read(self, _: int = -1) -> bytes:
        return self._body


class _Requests:
    """Answers each piece with the next of ``statuses``, the last one for ever."""

    def __init__(self, *answers: tuple[int, str | None]) -> None:
        self._answers = [_Answer(*one) for one in answers]
        self.asked = 0

    @asynccontextmanager
    async def request(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        self.asked += 1
        yield self._answers[min(self.asked, len(self._answers)) - 1]


class _Source:
    size, mtime, etag = PIECE, 0, '"x"'

    async def read(self, _: int, length: int) -> bytes:
        return bytes(length)

    def close(self) -> None:
        pass


@pytest.mark.logs("could not be sent")
@pytest.mark.parametrize("code", [None, "unavailable"])
async def test_a_control_plane_that_fails_is_not_taken_for_a_reader_that_waits(code: str | None) -> None:
    """A proxy's 503, or one of our own that means something else: a few times with growing pauses, then no more."""
    requests, slept, told = _Requests((503, code)), list[float](), list[Any]()

    async def tell(*what: Any) -> None:
        told.append(what)

    async def pause(seconds: float) -> None:
        slept.append(seconds)

    pusher = Pusher(None, requests, tell, pause=pause)  # type: ignore[arg-type]
    await pusher._send("ticket", _Source(), 0, PIECE)
    assert requests.asked == ATTEMPTS
    assert len(slept) == ATTEMPTS - 1
    assert slept[-1] > 2 * slept[0]
    assert [one[1]["code"] for one in told] == ["unavailable"]


async def test_a_reader_may_take_its_time(caplog: pytest.LogCaptureFixture) -> None:
    requests = _Requests(*[(503, ReaderWaits.code)] * 20, (502, None), (200, None))

    async def pause(_: float) -> None:
        await asyncio.sleep(0)

    pusher = Pusher(None, requests, lambda *_: asyncio.sleep(0), pause=pause)  # type: ignore[arg-type]
    await pusher._send("ticket", _Source(), 0, PIECE)
    assert (requests.asked, caplog.records) == (22, [])


@pytest.mark.parametrize("error", [NotSignedIn("sign in first"), MosaicError("nobody foresaw this"), NotFound("gone")])
async def test_a_reader_is_told_of_the_node_and_not_of_itself(
    control_plane: Any, monkeypatch: pytest.MonkeyPatch, error: MosaicError
) -> None:
    relay = control_plane.server.relay

    async def call(*_: Any) -> Any:
        return {"size": 50, "mtime": 1, "etag": '"e"', "start": 0, "stop": 10}

    monkeypatch.setattr(relay._links, "call", call)
    async with relay.range_of(NODE, "x", 0, 10) as found:
        (ticket,) = relay._tickets
        relay.fail(NODE, ticket, error)
        with pytest.raises(NotFound if isinstance(error, NotFound) else Unavailable):
            await anext(aiter(found))
