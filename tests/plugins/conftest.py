"""A server with our plugins over a throw-away replica, asked through ASGI and by commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import pytest
from click.testing import CliRunner, Result
from quart import Quart

from mosaicfs_core import documents as d
from mosaicfs_core.cli.frame_context import TerminalContext
from mosaicfs_core.errors import Stale
from mosaicfs_core.server.app import running_app
from mosaicfs_core.server.state import EXTENSION
from mosaicfs_core.testing.harness import Harness

# 2026-02-16T00:00:00Z
NOW = 1_771_200_000_000_000


class Answer:
    """A status, decoded JSON and headers."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def error(self) -> dict[str, Any]:
        """The error of an answer that is one, in the shape all of them have."""
        assert set(self.body) == {"error"}, self.body
        return dict(self.body["error"])


class Server:
    """The application, its store, and ways to ask it."""

    def __init__(self, app: Quart, harness: Harness) -> None:
        self.app = app
        self.core = harness.core
        self.store = harness.store
        self.node_id = harness.core.node_id
        self._client = app.test_client()
        self._headers = {"Authorization": f"Bearer {app.extensions[EXTENSION].local_token}"}

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        params: Any = None,
    ) -> Answer:
        """Ask as the owner of the home."""
        query = params if isinstance(params, str | None) else urlencode(params, doseq=True)
        answer = await self._client.open(
            f"/api/{path}" if not query else f"/api/{path}?{query}",
            method=method,
            headers={**self._headers, **(headers or {})},
            scope_base={"client": ("127.0.0.1", 50000)},
            **({} if body is None else {"json": body}),
        )
        data = await answer.get_data(as_text=False)
        return Answer(answer.status_code, json.loads(data) if data else None, answer.headers)

    async def add(
        self, path: str, *, node_id: str | None = None, size: int = 1, age_days: int = 0, mime: str = ""
    ) -> str:
        """Index a file; its id."""
        node_id = node_id or self.node_id
        uuid = d.first_file_uuid(node_id, path)
        document = {
            "_id": d.file_document_id(node_id, uuid),
            "type": "file",
            "inode": d.derived_inode(d.file_document_id(node_id, uuid)),
            "name": d.name_of(path),
            "source": {"node_id": node_id, "export_path": path, "export_parent": d.parent_of(path)},
            "size": size,
            "mtime": d.format_time(NOW - age_days * d.MICROS_PER_DAY),
            "status": "active",
            **({"mime_type": mime} if mime else {}),
        }
        await self.store.put(document)
        return f"{node_id}.{uuid}"


class CommandLine:
    """Runs a plugin's commands against the server: what ``CommandContext`` promises, without a terminal."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self.shown: list[Any] = []
        self.said: list[str] = []

    json = False

    @property
    def api(self) -> CommandLine:
        """Itself."""
        return self

    def get(self, path: str, /, **params: Any) -> Any:
        """GET."""
        return self.send("GET", path, **params)

    def get_with_etag(self, path: str, /, **params: Any) -> tuple[Any, str | None]:
        """GET, with the tag."""
        answer = self._ask("GET", path, None, params)
        return answer.body, answer.headers.get("ETag")

    def send(self, method: str, path: str, /, body: Any = None, *, if_match: str | None = None, **params: Any) -> Any:
        """Ask from the thread that a command runs in; an error answer ends the command, but for ``Stale``."""
        return self._ask(method, path, body, params, {} if if_match is None else {"If-Match": if_match}).body

    def _ask(
        self, method: str, path: str, body: Any, params: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Answer:
        given = {name: value for name, value in params.items() if value is not None}
        asked = self._server.ask(method, path, body, headers, params=given)
        answer = asyncio.run_coroutine_threadsafe(asked, self._loop).result(timeout=30)
        if answer.status == 412:
            raise Stale(answer.error["message"])
        if answer.status >= 400:
            raise click.ClickException(answer.error["message"])
        return answer

    def watchable(self, folders: Sequence[str]) -> list[str]:
        """As on the terminal."""
        context = TerminalContext()
        context.home_path = self._server.core.home.path
        return context.watchable(folders)

    def show(self, value: Any, columns: Any = None, empty: str = "") -> None:
        """Remember what was shown."""
        self.shown.append(value)

    def say(self, text: str) -> None:
        """Remember what was said."""
        self.said.append(text)

    async def run(self, register: Any, *arguments: str) -> Result:
        """Run a line in a thread; ``register`` is the plugin's ``mosaicfs_commands`` part."""
        group = click.Group()
        register(group, self)
        self.shown.clear()
        self.said.clear()
        return await asyncio.to_thread(CliRunner().invoke, group, arguments)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with four plugins and an empty replica."""
    async with (
        Harness.start(tmp_path / "home", only={"labels", "localfs", "pins", "search"}) as harness,
        running_app(harness.core) as app,
    ):
        assert not harness.host.failures
        yield Server(app, harness)


@pytest.fixture
async def command_line(server: Server) -> CommandLine:
    """The plugins' commands."""
    return CommandLine(server, asyncio.get_running_loop())
