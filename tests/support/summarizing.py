"""Files to summarize, and a context that is the least that ``summarize`` needs of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from mosaicfs_core.hooks import FileEvent, FileRecord
from mosaicfs_plugins.summarize.work import summarize


class Context:
    """A ``PluginContext`` as far as it goes."""

    def __init__(self, state_dir: Path, elsewhere: Mapping[str, bytes]) -> None:
        self.config: dict[str, Any] = {}
        self.state_dir = state_dir
        self._elsewhere = elsewhere

    async def local_path(self, file: FileRecord) -> Path | None:
        """None: what is here comes with its path."""
        return None

    async def open_file(self, file: FileRecord) -> AsyncIterator[bytes]:
        """The bytes of a file that is elsewhere, in two parts."""
        data = self._elsewhere[file.name]
        yield data[: len(data) // 2]
        yield data[len(data) // 2 :]


class Files:
    """A folder of this machine, and bytes that other machines have."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "folder"
        self.folder.mkdir()
        (path / "state").mkdir()
        self.elsewhere: dict[str, bytes] = {}
        self.context = Context(path / "state", self.elsewhere)

    def write(self, name: str, data: bytes) -> None:
        """Put a file there."""
        (self.folder / name).write_bytes(data)

    def event(self, name: str, mime_type: str, size: int) -> FileEvent:
        """What the host says of a file."""
        path = str(self.folder / name)
        file = FileRecord(
            file_id="node-a.u",
            node_id="node-a",
            export_path=path,
            name=name,
            size=size,
            mtime=1,
            inode=1001,
            mime_type=mime_type,
        )
        local = None if name in self.elsewhere else path
        return FileEvent(event="file.added", sequence=1, timestamp="t", node_id="node-a", file=file, local_path=local)

    async def summarize(self, name: str, mime_type: str, **settings: Any) -> Mapping[str, Any] | None:
        """What becomes of a file under these settings."""
        self.context.config = settings
        size = (self.folder / name).stat().st_size
        return await self.summarize_event(self.event(name, mime_type, size))

    async def summarize_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """What becomes of an event."""
        return await summarize(self.context, event)  # type: ignore[arg-type]
