"""Bytes that a node sends through the control plane, over real sockets, with slow and leaving readers and nodes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent import Agent
from mosaicfs_core.agent.link import Uplink
from mosaicfs_core.content import Content, DigestBook, LocalTier
from mosaicfs_core.documents import ids, times
from mosaicfs_core.errors import NotFound, Stale, Unavailable, UserError
from mosaicfs_core.server.link import relay as relay_module
from mosaicfs_core.server.link.relay import PIECE, PIECES, Relay
from mosaicfs_core.testing.harness import Harness

NODE = "node-laptop-aaaa"
OTHER = "node-desktop-bbbb"


class Node:
    """An agent's machine with one file of two and a half pieces."""

    def __init__(self, harness: Harness, uplink: Uplink, path: Path) -> None:
        self.harness = harness
        self.uplink = uplink
        self.path = path
        self.content = os.urandom(2 * PIECE + PIECE // 2)
        self.file_id = ""

    async def index(self) -> None:
        """Write the file and its document."""
        self.path.write_bytes(self.content)
        node_id = self.harness.core.node_id
        identifier = ids.file_document_id(node_id, ids.first_file_uuid(node_id, str(self.path)))
        await self.harness.store.put(
            {
                "_id": identifier,
                "type": "file",
                "inode": ids.derived_inode(identifier),
                "name": self.path.name,
                "source": {
                    "node_id": node_id,
                    "export_path": str(self.path),
                    "export_parent": str(self.path.parent),
                },
                "size": len(self.content),
                "mtime": times.format_time(self.path.stat().st_mtime_ns // 1000),
                "status": "active",
            }
        )
        self.file_id = ids.short_file_id(identifier)


@asynccontextmanager
async def machine(plane: Any, path: Path) -> AsyncIterator[Node]:
    """A machine linked to the control plane."""
    path.mkdir()
    async with Harness.start(path / "home", only=()) as harness:
        harness.core.node_id = NODE
        harness.core.control, harness.core.control_url = False, plane.url
        harness.core.content = Content([LocalTier(NODE, lambda: (os.fsencode(path),))])
        agent = Agent(harness.core)
        requests = plane.requests(NODE)
        uplink = Uplink(harness.core, agent, requests, plane.connect(NODE))
        async with uplink:
            node = Node(harness, uplink, path / "film.bin")
            await node.index()
            yield node
        await requests.close()


@pytest.fixture
async def node(control_plane: Any, tmp_path: Path, eventually: Any) -> AsyncIterator[Node]:
    """The machine, connected."""
    async with machine(control_plane, tmp_path / "laptop") as made:
        await eventually(lambda: control_plane.server.links.connected(NODE) and made.uplink.link.state.connected)
        yield made


async def read(relay: Relay, node: Node, *range_: Any, **given: Any) -> bytes:
    async with relay.range_of(NODE, node.file_id, *range_, **given) as found:
        return b"".join([piece async for piece in found])


async def test_ranges_arrive_whole(control_plane: Any, node: Node) -> None:
    relay, content = control_plane.server.relay, node.content
    assert await read(relay, node) == content
    assert await read(relay, node, 5, 10) == content[5:10]
    assert await read(relay, node, PIECE - 1, PIECE + 1) == content[PIECE - 1 : PIECE + 1]
    assert await read(relay, node, len(content) - 1, len(content) + 100) == content[-1:]
    assert await read(relay, node, len(content)) == b""
    found = await asyncio.gather(*(read(relay, node, start) for start in range(0, 80, 10)))
    assert found == [content[start:] for start in range(0, 80, 10)]
    async with relay.range_of(NODE, node.file_id) as one:
        assert (one.facts.size, one.facts.mtime) == (len(content), node.path.stat().st_mtime_ns // 1000)
        assert one.facts.sha256 is None, "nobody has computed it yet"
        etag = one.facts.etag
    assert await read(relay, node, 0, 4, etag) == content[:4]
    with pytest.raises(Stale):
        await read(relay, node, 0, 4, '"another"')
    with pytest.raises(UserError, match="outside"):
        await read(relay, node, len(content) + 1)


async def test_a_digest_that_the_node_knows_goes_along(control_plane: Any, node: Node, tmp_path: Path) -> None:
    """So that a file of up to 50 MB that comes through here whole is compared with what its owner has."""
    with closing(DigestBook(tmp_path / "digests.db")) as book:
        tier = LocalTier(NODE, lambda: (os.fsencode(node.path.parent),), digests=book)
        node.harness.core.content = Content([tier])
        expected = hashlib.sha256(node.content).digest()
        async with control_plane.server.relay.range_of(NODE, node.file_id, 0, 0) as found:
            book.put(str(node.path), found.facts.etag, expected)
        document = await _document(node)
        await control_plane.server.core.store.put({key: value for key, value in document.items() if key != "_rev"})
        requests = control_plane.requests(OTHER)
        async with requests.request("GET", f"/api/files/{node.file_id}/content") as answer:
            assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(expected).decode()}:"
            assert await answer.read() == node.content
        await requests.close()


async def test_only_what_the_node_has_and_may_show(control_plane: Any, node: Node) -> None:
    relay = control_plane.server.relay
    foreign = ids.short_file_id(ids.file_document_id(OTHER, ids.first_file_uuid(OTHER, "/x")))
    for file_id in (foreign, ids.short_file_id(ids.file_document_id(NODE, ids.first_file_uuid(NODE, "/x")))):
        with pytest.raises(NotFound):
            async with relay.range_of(NODE, file_id):
                pass
    with pytest.raises(UserError):
        async with relay.range_of(NODE, "nonsense"):
            pass
    with pytest.raises(Unavailable, match="not connected"):
        async with relay.range_of(OTHER, node.file_id):
            pass
    node.path.unlink()
    with pytest.raises(NotFound):
        await read(relay, node)


async def test_a_slow_reader_holds_the_node_back(control_plane: Any, node: Node, eventually: Any) -> None:
    node.content = os.urandom(8 * PIECE)
    node.path.write_bytes(node.content)
    relay = control_plane.server.relay
    async with relay.range_of(NODE, node.file_id) as found:
        (ticket,) = relay._tickets.values()
        await eventually(lambda: len(ticket._pieces) == PIECES)
        pieces = []
        async for piece in found:
            assert len(ticket._pieces) <= PIECES
            pieces.append(piece)
            await asyncio.sleep(0.01)
        assert b"".join(pieces) == node.content
    assert not relay._tickets


async def test_a_reader_that_rests_for_long_goes_on(
    control_plane: Any, node: Node, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    node.content = os.urandom(8 * PIECE)
    node.path.write_bytes(node.content)
    relay = control_plane.server.relay
    monkeypatch.setattr(relay, "_room_s", 0.02)
    refused = 0
    real = relay_module._Ticket.put

    async def counted(self: Any, at: int, piece: bytes) -> None:
        nonlocal refused
        try:
            await real(self, at, piece)
        except Unavailable:
            refused += 1
            raise

    monkeypatch.setattr(relay_module._Ticket, "put", counted)
    async with relay.range_of(NODE, node.file_id) as found:
        await eventually(lambda: refused >= 2)
        assert b"".join([piece async for piece in found]) == node.content


async def test_a_reader_that_leaves_ends_the_sending(control_plane: Any, node: Node, eventually: Any) -> None:
    node.content = os.urandom(8 * PIECE)
    node.path.write_bytes(node.content)
    async with control_plane.server.relay.range_of(NODE, node.file_id) as found:
        async for _ in found:
            break
    pusher = node.uplink._methods._pusher
    await eventually(lambda: not pusher._tasks)


async def test_a_node_that_goes_away_is_not_waited_for_for_ever(
    control_plane: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    relay = control_plane.server.relay
    monkeypatch.setattr(relay, "_stall_s", 0.2)
    async with machine(control_plane, tmp_path / "laptop") as made:
        await eventually(lambda: made.uplink.link.state.connected)
        made.content = os.urandom(8 * PIECE)
        made.path.write_bytes(made.content)
        async with relay.range_of(NODE, made.file_id) as found:
            await made.uplink._methods._pusher.close()
            with pytest.raises(Unavailable, match="sent nothing"):
                async for _ in found:
                    pass


@pytest.mark.logs("could not be sent")
async def test_a_file_that_shrinks_is_an_error_and_no_short_answer(
    control_plane: Any, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.content = os.urandom(8 * PIECE)
    node.path.write_bytes(node.content)
    async with control_plane.server.relay.range_of(NODE, node.file_id) as found:
        os.truncate(node.path, 5 * PIECE)
        with pytest.raises(Unavailable, match="shorter"):
            async for _ in found:
                pass


async def test_a_node_is_not_sent_its_own_file(control_plane: Any, node: Node) -> None:
    plane = control_plane.server.core.store
    await plane.put({key: value for key, value in (await _document(node)).items() if key != "_rev"})
    requests, other = control_plane.requests(NODE), control_plane.requests(OTHER)
    for asking, expected in ((requests, 400), (other, 200)):
        async with asking.request("GET", f"/api/files/{node.file_id}/content") as answer:
            assert answer.status == expected
        await asking.close()


async def _document(node: Node) -> dict[str, Any]:
    return await node.harness.store.get(ids.full_file_id(node.file_id)) or {}
