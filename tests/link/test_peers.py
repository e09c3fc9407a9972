"""An agent's listener for other machines, and the ways they find to it: TLS, signatures, real sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.agent.peers import PeerRoutes, public_key_of
from mosaicfs_core.agent.replication import Replication
from mosaicfs_core.cli.endpoints import endpoints
from mosaicfs_core.cli.runtime import _until_met
from mosaicfs_core.config import ServerConfig
from mosaicfs_core.content import Content, LocalTier, Route
from mosaicfs_core.documents import ids, times
from mosaicfs_core.errors import Unavailable
from mosaicfs_core.home import Home
from mosaicfs_core.security import certificates
from mosaicfs_core.security.authority import Authority, ServerCertificate, server_context
from mosaicfs_core.security.node_keys import NodeKey, NodeSigner
from mosaicfs_core.security.requests import PlainRequests, Untrusted
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.peers import is_for_peers, serving_peers
from mosaicfs_core.server.serve import bind
from mosaicfs_core.testing.harness import Harness

OWNER = "node-laptop-aaaa"
READER = "node-desktop-bbbb"
CONTENT = os.urandom(100_000)


class Peers:
    """The owner of a file behind its listener, and the routes of a reader to it."""

    def __init__(self, routes: PeerRoutes, endpoint: str, file_id: str, owner: Harness, reader: Harness) -> None:
        self.routes = routes
        self.endpoint = endpoint
        self.file_id = file_id
        self.owner = owner
        self.reader = reader

    async def get(self, path: str) -> tuple[int, bytes]:
        """A request over the first route."""
        route = self.routes(OWNER)[0]
        async with route.requests.request("GET", path, timeout=10) as answer:
            return answer.status, await answer.read()


def node(node_id: str, key: NodeKey, **fields: Any) -> dict[str, Any]:
    """A node's document."""
    known = {"type": "node", "node_id": node_id, "friendly_name": node_id, "status": "online"}
    return {"_id": ids.node_document_id(node_id), **known, "public_key": key.public, **fields}


@pytest.fixture
async def peers(tmp_path: Path) -> AsyncIterator[Peers]:
    """Two machines of one authority."""
    authority = Authority.of_home(Home(tmp_path / "control").prepare())
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "film.bin").write_bytes(CONTENT)
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(Harness.start(tmp_path / "owner", only=()))
        reader = await stack.enter_async_context(Harness.start(tmp_path / "reader", only=()))
        keys = {OWNER: NodeKey.of_home(owner.home), READER: NodeKey.of_home(reader.home)}
        owner.core.node_id, owner.core.control = OWNER, False
        owner.core.content = Content([LocalTier(OWNER, lambda: (os.fsencode(tree),))])
        own = ServerCertificate(owner.home)
        own.install(authority.issue(certificates.make_request(own.key()), OWNER), authority.pem)
        path = str(tree / "film.bin")
        identifier = ids.file_document_id(OWNER, ids.first_file_uuid(OWNER, path))
        await owner.store.put(
            {
                "_id": identifier,
                "type": "file",
                "inode": ids.derived_inode(identifier),
                "name": "film.bin",
                "source": {"node_id": OWNER, "export_path": path, "export_parent": str(tree)},
                "size": len(CONTENT),
                "mtime": times.format_time((tree / "film.bin").stat().st_mtime_ns // 1000),
                "status": "active",
            }
        )
        await owner.store.bulk([node(name, key) for name, key in keys.items()])
        app = await stack.enter_async_context(running_app(owner.core))
        listener = bind(ServerConfig(port=0, tls="on"))
        context = server_context(own.chain_file, own.key_file)
        port = await stack.enter_async_context(serving_peers(app, listener, context))
        (endpoint,) = endpoints((), "127.0.0.1", port)
        described = node(OWNER, keys[OWNER], transfer={"endpoints": [endpoint]})
        await reader.store.bulk([described, node(READER, keys[READER])])
        signer = NodeSigner(READER, keys[READER], public_key_of(reader.store))
        routes = PeerRoutes(reader.store, signer, lambda: authority.pem)
        stack.push_async_callback(routes.close)
        yield Peers(routes, endpoint, ids.short_file_id(identifier), owner, reader)


async def test_a_peer_reads_files_and_finds_nothing_else(peers: Peers) -> None:
    assert await peers.get(f"/api/agent/transfer/{peers.file_id}") == (200, CONTENT)
    assert (await peers.get("/api/health"))[0] == 200
    for path in ("/api/nodes", "/api/files", "/api/auth/login", "/db/mosaicfs", "/", "/api/agent/heartbeat"):
        assert (await peers.get(path))[0] == 404, path
    assert not is_for_peers("/api/agent/transfer")
    assert not is_for_peers("/api/health/../nodes")


async def test_nobody_else_reads_and_no_other_machine_is_taken_for_it(peers: Peers) -> None:
    stranger = PlainRequests(peers.endpoint, ca_pem=None)
    with pytest.raises(Untrusted):
        async with stranger.request("GET", "/api/health", timeout=10):
            pass
    await stranger.close()
    await peers.owner.store.update(
        ids.node_document_id(READER), lambda there: {**(there or {}), "status": "disabled", "control_version": 1}
    )
    assert (await peers.get(f"/api/agent/transfer/{peers.file_id}"))[0] == 401


async def test_the_routes_to_a_node_are_those_of_the_moment(peers: Peers) -> None:
    (direct,) = peers.routes(OWNER)
    assert peers.routes(OWNER)[0] is direct
    assert peers.routes("node-nobody-aaaa") == ()
    relay = Route("relay", direct.requests, relay=True)
    signer = NodeSigner(READER, NodeKey.generate(), public_key_of(peers.reader.store))
    routes = PeerRoutes(peers.reader.store, signer, str, lambda _node_id: relay)
    assert [route.relay for route in routes(OWNER)] == [False, True]

    async def change(**fields: Any) -> None:
        await peers.reader.store.update(ids.node_document_id(OWNER), lambda there: {**(there or {}), **fields})

    key = "MOSAICFS_0123456789abcdef"
    stub = {"type": "credential", "access_key_id": key, "secret_key_hash": "!", "name": "k", "kind": "agent"}
    stub |= {"_id": ids.credential_document_id(key), "node_id": OWNER, "created_at": times.format_time(0)}
    await change(access_key_id=key)
    assert routes(OWNER) == ()  # its key has not arrived yet
    await peers.reader.store.put({**stub, "enabled": True})
    assert [route.relay for route in routes(OWNER)] == [False, True]
    assert public_key_of(peers.reader.store)(OWNER) is not None
    await peers.reader.store.update(stub["_id"], lambda there: {**(there or {}), "enabled": False})
    assert routes(OWNER) == ()
    assert public_key_of(peers.reader.store)(OWNER) is None
    await peers.reader.store.update(stub["_id"], lambda there: {**(there or {}), "enabled": True})

    await change(transfer={"endpoints": []})
    assert list(routes(OWNER)) == [relay]
    await change(status="disabled")
    assert routes(OWNER) == ()
    assert public_key_of(peers.reader.store)(OWNER) is None


async def test_only_addresses_at_which_nobody_reads_along_are_used(peers: Peers) -> None:
    async def told(*addresses: str) -> list[str]:
        await peers.reader.store.update(
            ids.node_document_id(OWNER), lambda there: {**(there or {}), "transfer": {"endpoints": list(addresses)}}
        )
        return [route.name.removeprefix(f"{OWNER} at ") for route in peers.routes(OWNER)]

    used = ["https://192.0.2.1:6673", "https://vpn:9", "https://[2001:db8::1]:1", "http://127.0.0.1:80"]
    assert await told(*used) == used
    assert await told("http://[::1]:80", "http://127.8.8.8", "http://localhost:1") == [
        "http://[::1]:80",
        "http://127.8.8.8",
        "http://localhost:1",
    ]
    clear = ["http://192.0.2.1:80", "http://127.0.0.1.example", "http://nas", "http://0.0.0.0", "http://127.0.0.1@evil"]
    broken = ["ftp://127.0.0.1", "https://", "https://[::", "https://nas:port", "", "nas:6673"]
    assert await told(*clear, *broken[:3]) == []
    assert await told(*broken) == []


async def test_no_more_is_kept_than_a_node_has_addresses_now(peers: Peers) -> None:
    (direct,) = peers.routes(OWNER)
    assert (await peers.get("/api/health"))[0] == 200
    identifier = ids.node_document_id(OWNER)
    for number in range(50):
        moved = {"endpoints": [f"https://192.0.2.{number}:6673"]}
        await peers.reader.store.update(identifier, lambda there, moved=moved: {**(there or {}), "transfer": moved})
        assert len(peers.routes(OWNER)) == 1
    assert sum(map(len, peers.routes._known.values())) == 1
    await peers.reader.store.update(identifier, lambda there: {**(there or {}), "status": "disabled"})
    assert peers.routes(OWNER) == ()
    assert not peers.routes._known
    await peers.routes.close()
    assert direct.requests._session is None  # its connections were given back


def test_addresses_as_other_machines_are_told_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mosaicfs_core.cli.endpoints.machine_addresses", lambda: ("192.0.2.1", "2001:db8::1"))
    assert endpoints((), "0.0.0.0", 6673) == ("https://192.0.2.1:6673", "https://[2001:db8::1]:6673")
    assert endpoints((), "nas.example", 1) == ("https://nas.example:1",)
    assert endpoints(("https://vpn:9",), "0.0.0.0", 6673) == ("https://vpn:9",)


@pytest.mark.logs("waiting for the control plane")
async def test_a_new_replica_waits_for_its_control_plane_until_it_is_stopped(tmp_path: Path) -> None:
    async with Harness.start(tmp_path / "home", only=()) as harness:
        nowhere = PlainRequests("http://127.0.0.1:1")
        replication = Replication(harness.store, OWNER, nowhere)
        stop = asyncio.Event()
        waiting = asyncio.create_task(_until_met(harness.home, replication, "http://127.0.0.1:1", stop))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        stop.set()
        with pytest.raises(Unavailable, match="stopped before"):
            async with asyncio.timeout(10):
                await waiting
        await nowhere.close()
