"""An instance without processes: a throw-away home, its store, and the application over them, asked through ASGI."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from mosaicfs_core.documents import ids, times
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.testing.harness import Harness


class FakeAgent:
    """What the server needs of an agent; remembers what it was asked to crawl."""

    def __init__(self) -> None:
        self.crawls: list[dict[str, Any]] = []

    def status(self) -> dict[str, Any]:
        """As the agent's status document."""
        return {"overall": "healthy", "subsystems": {"crawler": {"status": "healthy", "detail": ""}}}

    async def crawl(self, **asked: Any) -> None:
        """Note the request."""
        self.crawls.append(asked)


class Instance:
    """The application and the ways to ask it."""

    def __init__(self, app: Quart, harness: Harness, agent: FakeAgent) -> None:
        self.app = app
        self.harness = harness
        self.agent = agent
        self.client = app.test_client()

    @property
    def server(self) -> ServerState:
        """What the routes share."""
        state: ServerState = self.app.extensions[EXTENSION]
        return state

    @property
    def node_id(self) -> str:
        """This node."""
        return self.harness.core.node_id

    async def ask(self, method: str, path: str, *, token: str | None = "local", **given: Any) -> Any:
        """Ask as the owner of the home, with another ``token``, or with none."""
        headers = dict(given.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {self.server.local_token if token == 'local' else token}"
        scope = {"client": (given.pop("address", "127.0.0.1"), 50000)}
        return await self.client.open(path, method=method, headers=headers, scope_base=scope, **given)

    async def add_file(self, path: Path, content: bytes = b"", mime_type: str | None = None) -> str:
        """Write a file and its document; its short id."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return await self.add_document(path, len(content), mime_type)

    async def add_document(self, path: Path, size: int, mime_type: str | None = None) -> str:
        """A file's document alone; its short id."""
        uuid = ids.first_file_uuid(self.node_id, str(path))
        identifier = ids.file_document_id(self.node_id, uuid)
        mtime = path.stat().st_mtime_ns // 1000 if path.exists() else 0
        document = {
            "_id": identifier,
            "type": "file",
            "inode": ids.derived_inode(identifier),
            "name": path.name,
            "source": {"node_id": self.node_id, "export_path": str(path), "export_parent": os.path.dirname(path)},
            "size": size,
            "mtime": times.format_time(mtime),
            "status": "active",
        }
        if mime_type is not None:
            document["mime_type"] = mime_type
        await self.harness.store.put(document)
        return ids.short_file_id(identifier)


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    """A running instance with the first-party plugins and one node, this one."""
    async with Harness.start(tmp_path / "home", safe_mode=True) as harness:
        agent = FakeAgent()
        harness.core.agent = agent
        await harness.store.put(
            {
                "_id": ids.node_document_id(harness.core.node_id),
                "type": "node",
                "node_id": harness.core.node_id,
                "friendly_name": "Test machine",
                "status": "online",
            }
        )
        async with running_app(harness.core) as app:
            yield Instance(app, harness, agent)
