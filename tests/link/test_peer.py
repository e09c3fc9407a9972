"""One end of a link against another, and against whatever may come over a wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mosaicfs_core.errors import MosaicError, NotFound, Unavailable, UserError
from mosaicfs_core.link import MESSAGE_LIMIT, BrokenLink, Method, Peer, converse
from mosaicfs_core.link.messages import decode, encode, error_body, error_of
from mosaicfs_core.link.peer import MAX_SERVED


@asynccontextmanager
async def pair(
    left: Mapping[str, Method] | None = None, right: Mapping[str, Method] | None = None, idle_s: float = 10.0
) -> AsyncIterator[tuple[Peer, Peer]]:
    """Two ends that hand their messages to one another."""
    to_left: asyncio.Queue[str | None] = asyncio.Queue()
    to_right: asyncio.Queue[str | None] = asyncio.Queue()
    one, two = Peer(to_right.put, left or {}, "left"), Peer(to_left.put, right or {}, "right")
    talks = [
        asyncio.create_task(converse(one, to_left.get, idle_s)),
        asyncio.create_task(converse(two, to_right.get, idle_s)),
    ]
    try:
        yield one, two
    finally:
        await to_left.put(None)
        await to_right.put(None)
        await asyncio.gather(*talks)


async def echo(params: dict[str, Any]) -> Any:
    return params


async def test_both_ends_ask_and_answer_at_the_same_time() -> None:
    async with pair({"echo": echo}, {"echo": echo}) as (left, right):
        asked = [left.call("echo", {"n": n}) for n in range(40)] + [right.call("echo", {"n": -n}) for n in range(40)]
        found = await asyncio.gather(*asked)
    assert [one["n"] for one in found] == [*range(40), *(-n for n in range(40))]


@pytest.mark.logs("a request over the link failed")
async def test_errors_arrive_as_what_they_were(caplog: pytest.LogCaptureFixture) -> None:
    async def missing(_: dict[str, Any]) -> None:
        raise NotFound("no such file", file_id="x")

    async def later(_: dict[str, Any]) -> None:
        raise Unavailable("busy", retry_after=7)

    async def bug(_: dict[str, Any]) -> None:
        raise ZeroDivisionError("a secret of the inside")

    async with pair(right={"missing": missing, "later": later, "bug": bug}) as (left, _):
        with pytest.raises(NotFound, match="no such file") as found:
            await left.call("missing")
        assert found.value.details == {"file_id": "x"}
        with pytest.raises(Unavailable) as busy:
            await left.call("later")
        assert busy.value.retry_after == 7
        with pytest.raises(MosaicError) as inside:
            await left.call("bug")
        assert "secret" not in str(inside.value)
        with pytest.raises(NotFound, match="no method nothing"):
            await left.call("nothing")
    assert "ZeroDivisionError" in caplog.text


async def test_who_waits_for_an_answer_hears_when_the_link_ends() -> None:
    async def never(_: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    async with pair(right={"never": never}) as (left, right):
        waiting = asyncio.create_task(left.call("never"))
        await asyncio.sleep(0)
        await right.close("gone")
        await left.close("it ended")
        with pytest.raises(Unavailable, match="it ended"):
            await waiting
        with pytest.raises(Unavailable):
            await left.call("never")


@pytest.mark.parametrize("how", ["time-out", "cancelled"])
async def test_a_request_that_is_given_up_is_taken_back_over_there(how: str) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def long(_: dict[str, Any]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with pair(right={"long": long}) as (left, _):
        asked = asyncio.create_task(left.call("long", timeout=0.05 if how == "time-out" else 30))
        await begun.wait()
        if how == "cancelled":
            asked.cancel()
        outcome = (await asyncio.gather(asked, return_exceptions=True))[0]
        assert isinstance(outcome, Unavailable if how == "time-out" else asyncio.CancelledError)
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_side_that_says_nothing_is_taken_to_be_gone() -> None:
    silent: asyncio.Queue[str | None] = asyncio.Queue()
    peer = Peer(silent.put, {})
    assert "nothing was heard" in await converse(peer, asyncio.Queue[str | None]().get, 0.02)
    assert peer.closed


async def test_a_link_that_cannot_send_is_of_no_more_use() -> None:
    async def broken(_: str) -> None:
        raise ConnectionResetError("gone")

    peer = Peer(broken, {})
    talk = asyncio.create_task(converse(peer, asyncio.Queue[str | None]().get, 30))
    with pytest.raises(Unavailable, match="gone"):
        await peer.call("anything")
    async with asyncio.timeout(5):
        await talk


async def test_more_at_once_than_it_takes_is_refused_and_a_flood_ends_the_link() -> None:
    sent: list[dict[str, Any]] = []

    async def send(text: str) -> None:
        sent.append(json.loads(text))

    async def never(_: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    peer = Peer(send, {"never": never})
    for number in range(1, MAX_SERVED + 3):
        peer.take(encode({"id": number, "method": "never"}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [(one["id"], one["error"]["code"]) for one in sent] == [
        (MAX_SERVED + 1, "unavailable"),
        (MAX_SERVED + 2, "unavailable"),
    ]
    for number in range(1000, 1000 + MAX_SERVED):
        peer.take(encode({"id": number, "method": "never"}))
    with pytest.raises(BrokenLink, match="without waiting"):
        peer.take(encode({"id": 5000, "method": "never"}))
    await peer.close()


HOSTILE = (
    "",
    "{",
    "null",
    "[]",
    "7",
    '"text"',
    "{}",
    '{"id": 1}',
    '{"id": 0, "method": "x"}',
    '{"id": -1, "method": "x"}',
    '{"id": true, "method": "x"}',
    '{"id": "1", "method": "x"}',
    '{"id": 1.5, "method": "x"}',
    '{"id": 9007199254740992, "method": "x"}',
    '{"id": 1, "method": ""}',
    '{"id": 1, "method": 7}',
    '{"id": 1, "method": "x", "params": []}',
    '{"id": 1, "method": "' + "x" * 100 + '"}',
    '{"id": 1, "error": "text"}',
    '{"id": 1, "error": {"code": "x"}}',
    '{"id": 1, "cancel": 1}',
    "[" * 200_000,
    '{"id": 1, "result": "' + "x" * MESSAGE_LIMIT + '"}',
    b"\xff\xfe",
)


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
async def test_what_is_no_message_ends_the_link(data: str | bytes) -> None:
    arriving: asyncio.Queue[str | bytes | None] = asyncio.Queue()

    async def send(_: str) -> None:
        raise AssertionError("nothing is to be answered")

    peer = Peer(send, {"x": echo})
    await arriving.put(data)
    async with asyncio.timeout(5):
        reason = await converse(peer, arriving.get, 30)
    assert "connection has ended" not in reason


@given(st.binary() | st.text())
def test_nothing_but_a_broken_link_comes_of_noise(data: bytes | str) -> None:
    try:
        decode(data)
    except BrokenLink:
        pass


async def test_answers_that_nobody_waits_for_are_passed_over() -> None:
    async with pair({"echo": echo}) as (left, right):
        left.take('{"id": 99, "result": 1}')
        left.take('{"id": 98, "error": {"code": "x", "message": "y"}}')
        left.take('{"id": 97, "cancel": true}')
        assert await right.call("echo", {"still": "there"}) == {"still": "there"}


async def test_an_id_that_is_in_use_is_not_taken_twice() -> None:
    async def send(_: str) -> None:
        return None

    async def never(_: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    peer = Peer(send, {"never": never})
    peer.take('{"id": 1, "method": "never"}')
    with pytest.raises(BrokenLink, match="twice"):
        peer.take('{"id": 1, "method": "never"}')
    await peer.close()


async def test_what_is_too_long_is_not_sent() -> None:
    async def long(_: dict[str, Any]) -> str:
        return "x" * MESSAGE_LIMIT

    async def unwritable(_: dict[str, Any]) -> Any:
        return {object(): 3}

    async with pair(right={"long": long, "unwritable": unwritable}) as (left, _):
        with pytest.raises(UserError, match="ask for less"):
            await left.call("long")
        with pytest.raises(MosaicError):
            await left.call("unwritable")
        with pytest.raises(UserError, match="ask for less"):
            await left.call("long", {"much": "x" * MESSAGE_LIMIT})


def test_a_long_error_is_cut() -> None:
    body = error_body(NotFound("m" * 10_000, path="p" * 10_000))
    assert len(body["message"]) < 5000
    assert "details" not in body
    assert isinstance(error_of(body), NotFound)
