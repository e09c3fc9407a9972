"""A package without its host: loaded by name in a process of its own, with a context that knows one event."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import msgspec
from importlib_metadata import EntryPoint

from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.hooks import ENTRY_POINT_GROUP, HOOK_API, FileEvent, FileRecord, Notice, Status
from mosaicfs_core.hooks.wire import HostHello
from mosaicfs_core.hooks.wire.remote import RemoteContext
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.loading import LoadedPlugin

_CHUNK: Final = 1 << 20


def load_alone(name: str) -> tuple[PluginHost, LoadedPlugin]:
    """The package of a name, or of ``NAME=MODULE`` one that is importable but not installed as a plugin, in a host that
    has nothing else. Raises ``NotFound``, or ``PluginError`` when it cannot be used."""
    name, _, module = name.partition("=")
    given = [EntryPoint(name=name, value=module, group=ENTRY_POINT_GROUP)] if module else None
    host = PluginHost.discover(only=(name,), entry_points=given)
    plugin = host.get(name)
    if plugin.status != "ok":
        raise PluginError(f"plugin {name} cannot be used: {plugin.error}", name, "")
    return host, plugin


@contextmanager
def own_output() -> Iterator[BinaryIO]:
    """Standard output for what the host is to read alone; what a plugin prints goes to standard error."""
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)
        try:
            yield output
        finally:
            sys.stdout.flush()


class _Nobody:
    """Where others have a connection to a host."""

    async def ask(self, name: str, params: Mapping[str, Any]) -> msgspec.Raw:
        """Raises ``Unavailable``."""
        self._refuse(name)

    async def parts(self, name: str, params: Mapping[str, Any]) -> AsyncGenerator[msgspec.Raw, None]:
        """Raises ``Unavailable``."""
        self._refuse(name)
        yield msgspec.Raw()

    def tell(self, name: str, params: Mapping[str, Any]) -> None:
        """Nobody hears it."""

    def _refuse(self, name: str) -> NoReturn:
        raise Unavailable(f"{name}: a program that is run for one event has no host to ask; serve it on a socket")


class AloneContext(RemoteContext):
    """``PluginContext`` for one event: its file can be read, what is said of the instance is logged, and what needs the
    host raises ``Unavailable``."""

    def __init__(self, instance: str, package: str, node_id: str, config: Mapping[str, Any], state_dir: Path) -> None:
        hello = HostHello(
            hook_api=HOOK_API,
            node_id=node_id,
            instance=instance,
            package=package,
            config=config,
            state_dir=str(state_dir),
            files_dir=str(state_dir),
        )
        super().__init__(hello, _Nobody())
        self._event: FileEvent | None = None

    def give(self, event: FileEvent) -> None:
        """The file of this event can be read from now on."""
        self._event = event

    async def local_path(self, file: FileRecord) -> Path | None:
        """Where the event says that its file is; None for others."""
        event = self._event
        if event is None or event.file is None or event.local_path is None or event.file.file_id != file.file_id:
            return None
        return Path(event.local_path)

    async def open_file(
        self, file: FileRecord, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of the event's file. Raises ``Unavailable`` for others, and when it is gone."""
        path = await self.local_path(file)
        if path is None:
            raise Unavailable(f"{file.export_path} is not on this machine, and there is no host to ask for it")
        try:
            with await asyncio.to_thread(path.open, "rb") as source:
                source.seek(offset)
                left = file.size if length is None else length
                while left > 0 and (part := await asyncio.to_thread(source.read, min(left, _CHUNK))):
                    left -= len(part)
                    yield part
        except OSError as error:
            raise Unavailable(f"{path} cannot be read: {error.strerror}") from None

    async def report(self, status: Status, detail: str = "", figures: Mapping[str, Any] | None = None) -> None:
        """Log it."""
        self.logger.info("%s: %s", status, detail)

    async def raise_notification(self, notice: Notice) -> None:
        """Log it."""
        self.logger.warning("%s: %s", notice.title, notice.message)

    async def resolve_notification(self, key: str) -> None:
        """Nothing was raised by this process."""
