"""An instance of the plugin in a throw-away MosaicFS, asked as the host asks it."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mosaicfs_core.documents import ids, times
from mosaicfs_core.hooks import FileEvent, FileRecord, HealthReport, QueryRequest, ResultEnvelope, RunningPlugin
from mosaicfs_core.plugins.context import InstanceContext
from mosaicfs_core.testing import Harness, written
from mosaicfs_fulltext import marks

NOW = "2026-02-16T09:22:00.000000Z"
PLUGIN = "fulltext"


class Instance:
    """One instance and a folder whose files it is told of; in this process, unless ``running_plugin`` is set."""

    def __init__(self, harness: Harness, context: InstanceContext, folder: Path) -> None:
        self.harness, self.context, self.folder = harness, context, folder
        self.running_plugin: RunningPlugin | None = None
        self._sequence = itertools.count(1)

    def write(self, name: str, content: str | bytes) -> Path:
        """Put a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def record(self, path: Path, **facts: Any) -> FileRecord:
        """A file as the host knows it. ``file_id`` is by the path unless it is given."""
        found = path.stat() if path.exists() else None
        known: dict[str, Any] = {
            "file_id": f"{self.context.node_id}.{written(os.fsencode(path))}",
            "node_id": self.context.node_id,
            "export_path": written(os.fsencode(path)),
            "name": written(os.fsencode(path.name)),
            "size": found.st_size if found else 0,
            "mtime": found.st_mtime_ns // 1000 if found else 0,
            "inode": 1,
        }
        return FileRecord(**{**known, **facts})

    async def tell(self, event: str, file: FileRecord | None = None, **facts: Any) -> Any:
        """Give it an event and wait for its answer."""
        local = file.export_path if file is not None and event != "file.deleted" else None
        told = FileEvent(
            event=event,  # type: ignore[arg-type]
            sequence=next(self._sequence),
            timestamp=NOW,
            node_id=self.context.node_id,
            **{"file": file, "local_path": local, **facts},
        )
        return await self.call("mosaicfs_file_event", event=told)

    async def add(self, name: str, content: str | bytes, **facts: Any) -> FileRecord:
        """A file that came."""
        file = self.record(self.write(name, content), **facts)
        await self.tell("file.added", file)
        return file

    async def known(self, name: str, content: str, **facts: Any) -> FileRecord:
        """A file that the store knows as well, so that it is found there."""
        file = self.record(self.write(name, content))
        uuid = ids.new_uuid()
        identifier = ids.file_document_id(file.node_id, uuid)
        document = {
            "_id": identifier,
            "type": "file",
            "inode": ids.derived_inode(identifier),
            "name": written(os.fsencode(name)),
            "source": {
                "node_id": file.node_id,
                "export_path": file.export_path,
                "export_parent": os.path.dirname(file.export_path),
            },
            "size": file.size,
            "mtime": times.format_time(file.mtime),
            "status": "active",
        }
        await self.harness.store.put({**document, **facts})
        return msgspec.structs.replace(file, file_id=f"{file.node_id}.{uuid}")

    async def refilled(self) -> None:
        """Wait until the index has everything again."""
        async with asyncio.timeout(20):
            await self.settled()
            while marks.refill_reason(self.context.state_dir) is not None:
                await self.settled()

    async def settled(self) -> None:
        """All that was told is to be found."""
        await self.tell("sync.completed", trigger="manual")

    async def envelope(self, query: str | Mapping[str, Any], limit: int = 20) -> ResultEnvelope:
        """The answer to a search."""
        request = QueryRequest(capability="search", endpoint="search", query=query, limit=limit)
        answer: ResultEnvelope = await self.call("mosaicfs_query", request=request)
        return answer

    async def names(self, query: str | Mapping[str, Any], limit: int = 20) -> list[str]:
        """The names of the files that a search finds, best first."""
        results = (await self.envelope(query, limit)).results
        return [os.path.basename(str(hit.file_id)) for hit in results]

    async def widget(self) -> Mapping[str, Any]:
        """The figures of the dashboard."""
        request = QueryRequest(capability="dashboard_widget", endpoint="widget", query="")
        answer: ResultEnvelope = await self.call("mosaicfs_query", request=request)
        return answer.data

    async def health(self) -> HealthReport:
        """How it is."""
        report: HealthReport = await self.call("mosaicfs_health")
        return report

    async def call(self, hook: str, **arguments: Any) -> Any:
        """Call a hook as the host does."""
        if self.running_plugin is not None:
            method = getattr(self.running_plugin, hook.removeprefix("mosaicfs_"))
            return await method(*arguments.values())
        return await self.harness.host.call(PLUGIN, hook, timeout=60, context=self.context, **arguments)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The instance switched on."""
        call = self.harness.host.call(PLUGIN, "mosaicfs_run", timeout=None, context=self.context)
        task = asyncio.ensure_future(call)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """``async with start(settings) as instance``: switched on in the same home each time."""

    @asynccontextmanager
    async def begin(settings: Mapping[str, Any] | None = None, switched_on: bool = True) -> AsyncIterator[Instance]:
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        async with Harness.start(tmp_path / "home", only={PLUGIN}) as harness:
            harness.working(PLUGIN)
            instance = Instance(harness, await harness.instance(PLUGIN, settings), folder)
            async with instance.running() if switched_on else nullcontext():
                yield instance

    return begin
