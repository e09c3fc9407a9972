"""The context of a plugin that runs in another process than its host: what it asks goes over the connection."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mosaicfs_core.documents import paths
from mosaicfs_core.errors import MosaicError, Unavailable, error_told
from mosaicfs_core.hooks.context import (
    DocumentQuery,
    FilePlace,
    FileQuery,
    FileRecord,
    Held,
    Page,
    SelectedFiles,
    Selection,
    Status,
)
from mosaicfs_core.hooks.health import Notice
from mosaicfs_core.hooks.operations import FileOperation
from mosaicfs_core.hooks.wire import calls
from mosaicfs_core.hooks.wire.lines import Lines
from mosaicfs_core.hooks.wire.messages import FromHost, HostHello
from mosaicfs_core.hooks.wire.payloads import operation_body


class Asks(Protocol):
    """What a context asks through."""

    async def ask(self, name: str, params: Mapping[str, Any]) -> msgspec.Raw:
        """Call and wait for the one answer."""

    def parts(self, name: str, params: Mapping[str, Any]) -> AsyncGenerator[msgspec.Raw, None]:
        """Call and take the parts of the answer as they come."""

    def tell(self, name: str, params: Mapping[str, Any]) -> None:
        """Call without waiting for the answer."""


class Asking:
    """The calls of this side, and their answers as they come."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._next = 0
        self._answers: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._parts: dict[int, asyncio.Queue[msgspec.Raw | MosaicError | None]] = {}

    async def ask(self, name: str, params: Mapping[str, Any]) -> msgspec.Raw:
        """Call and wait for the one answer. Raises what the host says."""
        number = self._begin(name, params)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            await self._lines.drain()
            return await answer
        except asyncio.CancelledError:
            self._lines.send({"stop": number})
            raise
        except ConnectionError:
            raise Unavailable("the host is gone") from None
        finally:
            del self._answers[number]

    async def parts(self, name: str, params: Mapping[str, Any]) -> AsyncGenerator[msgspec.Raw, None]:
        """Call and take the parts of the answer as they come. Raises what the host says."""
        number = self._begin(name, params)
        # Bounded by the credit that the host was given.
        parts: asyncio.Queue[msgspec.Raw | MosaicError | None] = asyncio.Queue()
        self._parts[number] = parts
        ended = False
        try:
            while True:
                part = await parts.get()
                ended = part is None or isinstance(part, MosaicError)
                if part is None:
                    return
                if isinstance(part, MosaicError):
                    raise part
                yield part
                self._lines.send({"more": number})
        finally:
            del self._parts[number]
            if not ended:
                self._lines.send({"stop": number})

    def tell(self, name: str, params: Mapping[str, Any]) -> None:
        """Call without waiting for the answer. Plain function."""
        self._begin(name, params)

    def _begin(self, name: str, params: Mapping[str, Any]) -> int:
        self._next += 1
        self._lines.send({"call": name, "id": self._next, "params": params})
        return self._next

    def answered(self, message: FromHost) -> None:
        """An answer, or a part of one, came. Plain function."""
        assert message.reply_to is not None
        error = None if message.error is None else error_told(message.error.code, message.error.message)
        parts, answer = self._parts.get(message.reply_to), self._answers.get(message.reply_to)
        if parts is not None:
            parts.put_nowait(error or message.item or None)
        elif answer is not None and not answer.done():
            if error is None:
                answer.set_result(message.result or msgspec.Raw(b"null"))
            else:
                answer.set_exception(error)

    def give_up(self) -> None:
        """No answer will come any more. Plain function."""
        error = Unavailable("the host is gone")
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
        for parts in self._parts.values():
            parts.put_nowait(error)


class RemoteContext:
    """``PluginContext`` over a connection. ``configure`` follows the settings."""

    def __init__(self, hello: HostHello, asking: Asks) -> None:
        self._hello = hello
        self._asking = asking
        self._config = hello.config
        self._logger = logging.getLogger(f"mosaicfs.plugins.{hello.instance}")

    def configure(self, config: Mapping[str, Any]) -> None:
        """The settings are these from now on."""
        self._config = config

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings, as of the last change that the host told of."""
        return self._config

    @property
    def node_id(self) -> str:
        """The node that the host is."""
        return self._hello.node_id

    @property
    def instance(self) -> str:
        """The instance's name."""
        return self._hello.instance

    @property
    def state_dir(self) -> Path:
        """A private directory, which the host has made."""
        return Path(self._hello.state_dir)

    @property
    def files_dir(self) -> Path:
        """The root of provided files, which the host has made."""
        return Path(self._hello.files_dir)

    @property
    def prefix(self) -> str:
        """The export path beneath which a filesystem's files are named."""
        return self._hello.prefix

    @property
    def excluded(self) -> Sequence[Path]:
        """Directories no crawl may enter, as of the connection's begin."""
        return [Path(path) for path in self._hello.excluded]

    @property
    def logger(self) -> logging.Logger:
        """Names the instance; the host logs what is written to standard error."""
        return self._logger

    def written(self, path: bytes) -> str:
        """The written form of a native path."""
        return paths.escape(path)

    def native(self, path: str) -> bytes:
        """The native bytes of a written path. Raises ``UserError``."""
        return paths.unescape(path)

    async def read_document(self, document_id: str) -> dict[str, Any] | None:
        """A document or None."""
        answer: dict[str, Any] | None = await self._ask("read_document", document_id=document_id)
        return answer

    async def find_documents(self, query: DocumentQuery) -> Page[dict[str, Any]]:
        """Documents of a type."""
        answer: Page[dict[str, Any]] = await self._ask("find_documents", query=query)
        return answer

    async def write_documents(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Write documents, all or none."""
        answer: list[dict[str, Any]] = await self._ask("write_documents", documents=documents)
        return answer

    async def find_files(self, query: FileQuery) -> Page[FileRecord]:
        """Files by name and facts."""
        answer: Page[FileRecord] = await self._ask("find_files", query=query)
        return answer

    async def effective_labels(self, files: Sequence[FileRecord]) -> list[tuple[str, ...]]:
        """The effective labels of each file."""
        answer: list[tuple[str, ...]] = await self._ask("effective_labels", files=files)
        return answer

    async def open_file(
        self, file: FileRecord, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The file's bytes in chunks."""
        parts = self._asking.parts("open_file", {"file": file, "offset": offset, "length": length})
        try:
            async for part in parts:
                yield base64.b64decode(msgspec.json.decode(part, type=str))
        finally:
            await parts.aclose()

    async def local_path(self, file: FileRecord) -> Path | None:
        """The file's path on this machine, or None."""
        answer: Path | None = await self._ask("local_path", file=file)
        return answer

    async def follow_files(self, selections: Mapping[str, Selection]) -> AsyncGenerator[SelectedFiles, None]:
        """The files of selections, and every difference from then on."""
        parts = self._asking.parts("follow_files", {"selections": selections})
        try:
            async for part in parts:
                yield calls.decoded(part, SelectedFiles, "follow_files")
        finally:
            await parts.aclose()

    async def check_selection(self, selection: Selection) -> tuple[str, ...]:
        """What is odd with a selection."""
        answer: tuple[str, ...] = await self._ask("check_selection", selection=selection)
        return answer

    async def pin(self, file: FileRecord) -> None:
        """Keep a file's bytes on this node."""
        await self._ask("pin", file=file)

    async def unpin(self, file: FileRecord | FilePlace) -> None:
        """Let go of a file."""
        await self._ask("unpin", file=file)

    async def pinned(self) -> list[FilePlace]:
        """What this instance has pinned."""
        answer: list[FilePlace] = await self._ask("pinned")
        return answer

    async def held(self, files: Sequence[FileRecord]) -> list[Held]:
        """How much of each file is on this node."""
        answer: list[Held] = await self._ask("held", files=files)
        return answer

    async def report(self, status: Status, detail: str = "", figures: Mapping[str, Any] | None = None) -> None:
        """Say how this instance is."""
        await self._ask("report", status=status, detail=detail, figures=figures)

    async def raise_notification(self, notice: Notice) -> None:
        """Tell the user of a condition that holds."""
        await self._ask("raise_notification", notice=notice)

    async def resolve_notification(self, key: str) -> None:
        """The condition of this key is over."""
        await self._ask("resolve_notification", key=key)

    def capability(self, name: str, available: bool) -> None:
        """Withdraw a capability, or offer it again: told to the host without waiting for its answer."""
        self._asking.tell("capability", {"name": name, "available": available})

    async def emit(self, request_id: int, operations: Sequence[FileOperation]) -> None:
        """Hand over what a watcher found, and wait until it is indexed."""
        body = [operation_body(operation) for operation in operations]
        await self._asking.ask(calls.EMIT, {"request_id": request_id, "files": body})

    async def _ask(self, name: str, **params: Any) -> Any:
        answer = await self._asking.ask(name, params)
        return calls.decoded(answer, calls.CALLS[name].result, name)
