"""An instance without processes: a throw-away home, its store, and the application over them, asked through ASGI."""

from __future__ import annotations

import asyncio
import http.client
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from mosaicfs_core.agent.exclusions import Exclusions
from mosaicfs_core.agent.jobs import JobKeeper, JobMethods
from mosaicfs_core.agent.running import RunningInstances
from mosaicfs_core.config import ServerConfig
from mosaicfs_core.documents import ids, times
from mosaicfs_core.documents.paths import is_under
from mosaicfs_core.errors import NotFound
from mosaicfs_core.hooks import Problem
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.serve import bind, serving
from mosaicfs_core.server.state import EXTENSION, ServerState
from mosaicfs_core.testing.harness import Harness


class FakeAgent:
    """What the server needs of an agent; remembers what it was asked to crawl. Its plugins' jobs are real ones."""

    def __init__(self, harness: Harness) -> None:
        self.crawls: list[dict[str, Any]] = []
        instances = harness.instances
        running = RunningInstances(harness.core, instances, lambda name: None, lambda name: self.jobs.let_go(name))
        self.jobs = JobKeeper(harness.core, lambda: instances.current, running)
        self.job_methods = JobMethods(harness.core, self.jobs)

    def status(self) -> dict[str, Any]:
        """As the agent's status document."""
        return {"overall": "healthy", "subsystems": {"crawler": {"status": "healthy", "detail": ""}}}

    def check_crawls(self, instance: str | None) -> None:
        """Only localfs crawls."""
        if instance not in (None, "localfs"):
            raise NotFound(f"no instance {instance} crawls on this node", instance=instance)

    async def crawl(self, **asked: Any) -> None:
        """Note the request."""
        self.crawls.append(asked)

    async def exclusions(self, path: str | None = None, *, limit: int = 100, offset: int = 0) -> Exclusions:
        """Three symbolic links, in ``/tree`` alone."""
        if path is not None and not is_under(path, "/tree"):
            raise NotFound("no watched folder of this node holds that", path=path)
        links = [Problem(kind="symlink", export_path=f"/tree/{name}", message="a link") for name in "abc"]
        return Exclusions(tuple(links[offset : offset + limit]), more=offset + limit < len(links))


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


@asynccontextmanager
async def running_instance(home: Path) -> AsyncIterator[Instance]:
    """A running instance with the first-party plugins and one node, this one."""
    async with Harness.start(home, safe_mode=True) as harness, AsyncExitStack() as stack:
        agent = FakeAgent(harness)
        harness.core.agent = agent
        await agent.jobs.start()
        stack.push_async_callback(agent.jobs.stop)
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


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance in the test's own loop."""
    async with running_instance(tmp_path / "home") as running:
        yield running


@pytest.fixture
def start_instance() -> Callable[[Path], AbstractAsyncContextManager[Instance]]:
    """Starts an instance in a home, for tests that need several."""
    return running_instance


class Served:
    """An instance behind a real socket, in a thread with a loop of its own, asked with a plain client."""

    def __init__(self, port: int, token: str, file_id: str, content: bytes) -> None:
        self.port = port
        self.token = token
        self.file_id = file_id
        self.content = content

    def get(self, file_id: str, headers: dict[str, str], method: str = "GET") -> tuple[int, Any, bytes]:
        """Status, headers and body of a file's content."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Authorization": f"Bearer {self.token}", **headers}
        connection.request(method, f"/api/files/{file_id}/content", headers=given)
        with closing(connection), connection.getresponse() as answer:
            return answer.status, answer.headers, answer.read()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """An instance that serves one file of 10,007 bytes over a socket."""
    content = bytes((i * 31 + i // 251) % 256 for i in range(10_007))
    ready: queue.Queue[tuple[Served, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        stop = asyncio.Event()
        listener = bind(ServerConfig(port=0))
        async with running_instance(tmp_path / "home") as running:
            file_id = await running.add_file(tmp_path / "tree" / "data.bin", content, "application/pdf")
            async with serving(running.app, listener, running.harness.home):
                port = listener.getsockname()[1]
                ready.put(
                    (Served(port, running.server.local_token, file_id, content), asyncio.get_running_loop(), stop)
                )
                await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    running, loop, stop = ready.get(timeout=30)
    yield running
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()
