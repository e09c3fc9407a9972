"""The link over real WebSockets: Hypercorn on one side, aiohttp on the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from mosaicfs_core.agent.link import Link
from mosaicfs_core.agent.link.client import PATH
from mosaicfs_core.backoff import Backoff
from mosaicfs_core.documents import ids
from mosaicfs_core.errors import NotFound, Unavailable
from mosaicfs_core.link import MESSAGE_LIMIT, BrokenLink, Method
from mosaicfs_core.security.presence import TWICE

NODE = "node-laptop-aaaa"
OTHER = "node-desktop-bbbb"


async def echo(params: dict[str, Any]) -> Any:
    return params


@asynccontextmanager
async def linked(
    plane: Any, node_id: str = NODE, methods: Mapping[str, Method] | None = None, **given: Any
) -> AsyncIterator[Link]:
    """A node's link, kept up around a block; pauses are short."""
    given.setdefault("backoff", Backoff(first_s=0.01, longest_s=0.05))
    link = Link(given.pop("connect", None) or plane.connect(node_id), methods or {"echo": echo}, **given)
    running = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_the_control_plane_asks_the_node_and_the_node_the_control_plane(
    control_plane: Any, eventually: Any
) -> None:
    links = control_plane.server.links
    async with linked(control_plane) as link:
        await eventually(lambda: links.connected(NODE) and link.state.connected)
        assert await links.call(NODE, "echo", {"n": 1}) == {"n": 1}
        assert "time" in await link.call("ping")
        with pytest.raises(NotFound, match="no method"):
            await link.call("crawl")
        with pytest.raises(Unavailable, match="not connected"):
            await links.call(OTHER, "echo", {})
        assert await control_plane.status_of(NODE) == "online"
    await eventually(lambda: not links.connected(NODE))


async def test_a_lost_connection_comes_back_and_is_told_of(control_plane: Any, eventually: Any) -> None:
    ups: list[bool] = []

    async def up(again: bool) -> None:
        ups.append(again)

    links = control_plane.server.links
    async with linked(control_plane, up=up) as link:
        await eventually(lambda: ups == [False] and links.connected(NODE))
        lost = links.nodes[NODE]
        await lost.close("cut")
        await eventually(lambda: len(ups) == 2 and links.connected(NODE))
        assert links.nodes[NODE] is not lost
        assert ups == [False, True]
        assert link.state.connected


async def test_what_follows_a_connection_that_ends_meanwhile_is_done_again_with_the_next_and_no_failure(
    control_plane: Any, eventually: Any
) -> None:
    ups: list[bool] = []

    async def up(again: bool) -> None:
        if not again:
            await links.nodes[NODE].close("cut")
            await link.call("ping")
        ups.append(again)

    links = control_plane.server.links
    async with linked(control_plane, up=up) as link:
        await eventually(lambda: ups == [True])


async def test_without_a_control_plane_it_tries_again_with_growing_pauses(eventually: Any) -> None:
    pauses: list[float] = []
    enough = asyncio.Event()

    @asynccontextmanager
    async def nowhere() -> AsyncIterator[Any]:
        raise Unavailable("nobody is there")
        yield

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            enough.set()
            await asyncio.Event().wait()

    link = Link(nowhere, {}, pause=pause, backoff=Backoff(dice=lambda: 1.0))
    running = asyncio.create_task(link.run())
    async with asyncio.timeout(5):
        await enough.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60]
    assert link.state.problem == "nobody is there"
    with pytest.raises(Unavailable, match="nobody is there"):
        await link.call("ping")


async def test_a_node_that_connects_anew_takes_the_place_of_its_older_self(control_plane: Any, eventually: Any) -> None:
    links = control_plane.server.links

    async def second(_: dict[str, Any]) -> str:
        return "the second"

    async with linked(control_plane, backoff=Backoff(first_s=1000)) as first:
        await eventually(lambda: first.state.connected)
        async with linked(control_plane, methods={"who": second}) as later:
            await eventually(lambda: later.state.connected and not first.state.connected)
            assert await links.call(NODE, "who", {}) == "the second"
            assert list(links.nodes) == [NODE]


@pytest.mark.logs("two machines run as node-laptop-aaaa")
async def test_a_copy_of_a_home_is_told_so_and_does_not_take_the_link(control_plane: Any, eventually: Any) -> None:
    links, soon = control_plane.server.links, Backoff(first_s=0.01, longest_s=0.05)
    original = {"connect": control_plane.connect(NODE, "first"), "backoff": soon}
    async with linked(control_plane, **original) as first:
        await eventually(lambda: first.state.connected)
        present = links.nodes[NODE]
        async with linked(control_plane, connect=control_plane.connect(NODE, "second"), backoff=soon) as second:
            await eventually(
                lambda: second.state.problem and "another machine runs as this node" in second.state.problem
            )
            assert second.state.problem == TWICE
            assert links.nodes[NODE] is present
            _, status = await control_plane.ask("GET", f"/api/nodes/{NODE}/status")
            assert (status["connected"], status["double"]) == (True, "127.0.0.1")
        # The same process may come again at any time, and another one once the former is gone or silent.
        async with linked(control_plane, connect=control_plane.connect(NODE, "first"), backoff=Backoff(first_s=1000)):
            await eventually(lambda: links.nodes.get(NODE) not in (None, present))
    async with linked(control_plane, connect=control_plane.connect(NODE, "second"), backoff=soon) as second:
        await eventually(lambda: second.state.connected)
        _, status = await control_plane.ask("GET", f"/api/nodes/{NODE}/status")
        assert "double" not in status


async def test_a_restarted_agent_takes_the_place_of_one_that_is_silent(
    control_plane: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mosaicfs_core.server.link.links.ALIVE_S", 0.05)

    async def never(_: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    frozen = {"connect": control_plane.connect(NODE, "first"), "methods": {"ping": never}}
    async with linked(control_plane, **frozen, backoff=Backoff(first_s=1000)) as first:
        await eventually(lambda: first.state.connected)
        async with linked(control_plane, connect=control_plane.connect(NODE, "second")) as second:
            await eventually(lambda: second.state.connected and not first.state.connected)


async def test_only_a_nodes_key_opens_the_link(control_plane: Any) -> None:
    url = control_plane.url.replace("http", "ws") + "/api/agent/link"
    local = {"Authorization": f"Bearer {control_plane.server.local_token}"}
    refused = [({}, 401), ({"Authorization": "Bearer x"}, 401), (local, 403)]
    own = control_plane.requests(NODE)
    signed = own._headers_for("GET", URL(control_plane.url + PATH), None, None)
    refused.append(({**signed, "Origin": "https://evil.example"}, 403))
    async with aiohttp.ClientSession() as session:
        for headers, status in refused:
            async with session.ws_connect(url, headers=headers) as socket:
                closed = await socket.receive()
                assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 4000 + status)
                assert closed.extra
        # Nor is there anything to get without a WebSocket.
        async with session.get(control_plane.url + "/api/agent/link", headers=local) as answer:
            assert answer.status in (400, 404, 405)


@pytest.mark.parametrize(
    "message", ["nonsense", "[1]", '{"id": 1}', "x" * (MESSAGE_LIMIT + 10), b"\xff\x00"], ids=range(5)
)
async def test_hostile_messages_end_their_own_link_alone(
    control_plane: Any, eventually: Any, message: str | bytes
) -> None:
    links = control_plane.server.links
    requests = control_plane.requests(NODE)
    async with linked(control_plane, OTHER):
        await eventually(lambda: links.connected(OTHER))
        async with requests.websocket(PATH) as socket:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_str(message)
            async with asyncio.timeout(10):
                while (await socket.receive()).type not in (
                    aiohttp.WSMsgType.CLOSE,
                    aiohttp.WSMsgType.CLOSED,
                    aiohttp.WSMsgType.CLOSING,
                    aiohttp.WSMsgType.ERROR,
                ):
                    continue
        await requests.close()
        await eventually(lambda: not links.connected(NODE))
        assert await links.call(OTHER, "echo", {"still": "there"}) == {"still": "there"}


async def test_a_node_that_does_not_answer_is_waited_for_no_longer_than_said(
    control_plane: Any, eventually: Any
) -> None:
    async def never(_: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    async with linked(control_plane, methods={"never": never}) as link:
        await eventually(lambda: link.state.connected)
        with pytest.raises(Unavailable, match=r"no answer to never within 0\.05 s"):
            await control_plane.server.links.call(NODE, "never", {}, 0.05)
        assert control_plane.server.links.connected(NODE)


async def test_a_server_that_is_gone_without_a_word_is_noticed(eventually: Any) -> None:
    """It takes the connection and the first question, and then falls silent: a cable that was pulled."""
    asked: asyncio.Queue[str] = asyncio.Queue()
    answers: asyncio.Queue[str | None] = asyncio.Queue()
    connections = 0

    class Silent:
        async def send(self, text: str) -> None:
            await asked.put(text)
            if asked.qsize() == 1:
                await answers.put('{"id": 1, "result": {}}')

        async def receive(self) -> str | None:
            return await answers.get()

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        nonlocal connections
        connections += 1
        if connections > 1:
            await asyncio.Event().wait()
        yield Silent()

    link = Link(connect, {}, ping_s=0.03, backoff=Backoff(first_s=0.01))
    running = asyncio.create_task(link.run())
    await eventually(lambda: link.state.connected)
    await eventually(lambda: connections == 2)
    assert not link.state.connected
    assert link.state.problem is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_the_other_side_said_before_it_hung_up_is_the_reason(eventually: Any) -> None:
    class HangsUp:
        async def send(self, _text: str) -> None:
            raise OSError("Cannot write to closing transport")

        async def receive(self) -> str | None:
            await asyncio.sleep(0.05)
            raise BrokenLink("the access key of this node was disabled")

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        yield HangsUp()

    link = Link(connect, {}, backoff=Backoff(first_s=1000))
    running = asyncio.create_task(link.run())
    await eventually(lambda: link.state.problem)
    assert link.state.problem == "the access key of this node was disabled"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_control_plane_stops_at_once_with_links_open(tmp_path: Any, serve: Any, eventually: Any) -> None:
    async with serve(tmp_path / "home") as plane:
        await plane.add_node(NODE)
        async with linked(plane, backoff=Backoff(first_s=1000)) as link:
            await eventually(lambda: link.state.connected)
            begun = time.monotonic()
            await plane.server.links.close()
            await eventually(lambda: not link.state.connected)
            assert time.monotonic() - begun < 2


@pytest.mark.logs("is cut off")
async def test_a_machine_whose_key_is_disabled_loses_its_link(control_plane: Any, eventually: Any) -> None:
    links = control_plane.server.links
    async with linked(control_plane) as link, linked(control_plane, OTHER) as other:
        await eventually(lambda: link.state.connected and other.state.connected)
        status, _ = await control_plane.ask("DELETE", f"/api/nodes/{NODE}")
        assert status == 200
        await eventually(lambda: not links.connected(NODE) and not link.state.connected)
        await eventually(lambda: link.state.problem and "disabled" in link.state.problem)
        assert links.connected(OTHER)
        assert await control_plane.status_of(NODE) == "disabled"


@pytest.mark.logs("is cut off")
async def test_a_machine_whose_access_key_is_revoked_loses_its_link(control_plane: Any, eventually: Any) -> None:
    key_id = await _enrolled_with_a_key(control_plane)
    links = control_plane.server.links
    async with linked(control_plane) as link:
        await eventually(lambda: links.connected(NODE))
        assert (await control_plane.ask("DELETE", f"/api/credentials/{key_id}"))[0] == 200
        await eventually(lambda: not links.connected(NODE))
        await eventually(lambda: link.state.problem and "access key" in link.state.problem)


async def test_a_machine_that_is_revoked_while_it_connects_gets_no_link(
    control_plane: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = await _enrolled_with_a_key(control_plane)
    links, heard = control_plane.server.links, control_plane.server.liveness.heard
    before = control_plane.store.seq

    async def revoked_meanwhile(node_id: str) -> None:
        await heard(node_id)
        await control_plane.ask("DELETE", f"/api/credentials/{key_id}")
        await asyncio.sleep(0.1)  # whoever cuts links off has seen it, and found none

    monkeypatch.setattr(control_plane.server.liveness, "heard", revoked_meanwhile)
    async with linked(control_plane, backoff=Backoff(first_s=1000)) as link:
        await eventually(lambda: link.state.problem)
        assert control_plane.store.seq > before
        assert not links.connected(NODE)
        assert "access key" in link.state.problem


async def _enrolled_with_a_key(control_plane: Any) -> str:
    _, key = await control_plane.ask("POST", "/api/credentials", {"name": "laptop", "kind": "agent"})
    key_id = str(key["id"])
    store = control_plane.store
    await store.update(ids.credential_document_id(key_id), lambda known: {**(known or {}), "node_id": NODE})
    await store.update(ids.node_document_id(NODE), lambda known: {**(known or {}), "access_key_id": key_id})
    return key_id
