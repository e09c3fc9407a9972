"""A control plane behind a real socket, and nodes that speak to it as agents do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from quart import Quart

from mosaicfs_core.agent.link import Connect
from mosaicfs_core.agent.link.connect import connector
from mosaicfs_core.config import ServerConfig
from mosaicfs_core.documents import ids
from mosaicfs_core.security.node_keys import NodeKey, NodeSigner
from mosaicfs_core.security.presence import UNTOLD, Process
from mosaicfs_core.security.requests import PlainRequests, SignedRequests
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.serve import bind, serving
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.store import Store
from mosaicfs_core.testing.harness import Harness

PATIENCE_S = 15.0
NODE = "node-laptop-aaaa"
OTHER = "node-desktop-bbbb"


class ControlPlane:
    """The application, served; ``store`` is its replica."""

    def __init__(self, app: Quart, harness: Harness, url: str) -> None:
        self.app = app
        self.harness = harness
        self.url = url
        self.opened: list[SignedRequests] = []
        self.keys: dict[str, NodeKey] = {}

    @property
    def store(self) -> Store:
        """Its replica."""
        return self.harness.store

    @property
    def server(self) -> ServerState:
        """What its routes share."""
        state: ServerState = self.app.extensions[EXTENSION]
        return state

    def requests(self, node_id: str, process: Process = UNTOLD) -> SignedRequests:
        """Requests of a process of a node, signed by it."""
        known = self.server.identity
        signer = NodeSigner(node_id, self.keys[node_id], {known.node_id: known.key.public}.get)
        return SignedRequests(self.url, known.node_id, signer, process=process)

    def connect(self, node_id: str, process: str = "", *, moved: bool = False) -> Connect:
        """How a process of a node opens its link."""
        requests = self.requests(node_id, Process(name=process, moved=moved))
        self.opened.append(requests)
        return connector(requests)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask as the owner of its home; status and decoded body."""
        local = PlainRequests(self.url, headers={"Authorization": f"Bearer {self.server.local_token}"})
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            data = None if body is None else msgspec.json.encode(body)
            async with local.request(method, path, body=data, headers=headers, timeout=PATIENCE_S) as answer:
                return answer.status, await answer.json(content_type=None)
        finally:
            await local.close()

    async def add_node(self, node_id: str, **fields: Any) -> None:
        """An enrolled node."""
        key = self.keys.setdefault(node_id, NodeKey.generate())
        await self.store.put(
            {
                "_id": ids.node_document_id(node_id),
                "type": "node",
                "node_id": node_id,
                "friendly_name": node_id,
                "status": "offline",
                "public_key": key.public,
                **fields,
            }
        )

    async def status_of(self, node_id: str) -> Any:
        """The control plane's word on a node."""
        document = await self.store.get(ids.node_document_id(node_id))
        return document and document["status"]


async def eventually(condition: Callable[[], Any], within: float = PATIENCE_S) -> Any:
    """The first true answer; looks whenever the loop has nothing else to do, and fails after ``within`` seconds."""
    async with asyncio.timeout(within):
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    """``await eventually(condition)``."""
    return eventually


@asynccontextmanager
async def serving_control_plane(path: Path) -> AsyncIterator[ControlPlane]:
    """A control plane at ``path``, on a free port."""
    async with AsyncExitStack() as stack:
        harness = await stack.enter_async_context(Harness.start(path, safe_mode=True))
        app = await stack.enter_async_context(running_app(harness.core))
        url = await stack.enter_async_context(serving(app, bind(ServerConfig(port=0)), harness.home))
        made = ControlPlane(app, harness, url)
        yield made
        for requests in made.opened:
            await requests.close()


@pytest.fixture
def serve() -> Callable[[Path], Any]:
    """``async with serve(home) as control_plane``."""
    return serving_control_plane


@pytest.fixture
async def control_plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """A control plane that knows ``NODE`` and ``OTHER``."""
    async with serving_control_plane(tmp_path / "control") as running:
        await running.add_node(NODE)
        await running.add_node(OTHER)
        yield running


def plain(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without what belongs to the store."""
    return {key: value for key, value in mapping.items() if not key.startswith("_")}
