"""Events, questions and file operations as JSON, both ways. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from mosaicfs_core.documents import times
from mosaicfs_core.errors import UserError
from mosaicfs_core.hooks.context import FileRecord
from mosaicfs_core.hooks.events import FileEvent
from mosaicfs_core.hooks.operations import (
    Checkpoint,
    Complete,
    CompleteDirectory,
    CrawlRequest,
    Create,
    Delete,
    Directory,
    Entry,
    FileOperation,
    Problem,
    Rename,
)
from mosaicfs_core.hooks.wire.calls import decoded
from mosaicfs_core.hooks.wire.messages import Envelope

T = TypeVar("T")
_ACTIONS: Final[Mapping[str, type[Any]]] = {
    "create": Create,
    "rename": Rename,
    "delete": Delete,
    "directory": Directory,
    "complete_directory": CompleteDirectory,
    "complete": Complete,
    "checkpoint": Checkpoint,
    "problem": Problem,
}
_NAMES: Final = {kind: name for name, kind in _ACTIONS.items()}


def event_envelope(event: FileEvent, config: Mapping[str, Any] | None = None) -> Envelope:
    """An event as a message."""
    payload: dict[str, Any] = {}
    if event.file is not None:
        payload = file_payload(event.file)
    for name in ("local_path", "previous_export_path", "trigger"):
        value = getattr(event, name)
        if value is not None:
            payload[name] = value
    return Envelope(
        event=event.event,
        sequence=event.sequence,
        timestamp=event.timestamp,
        node_id=event.node_id,
        payload=payload,
        config=config,
    )


def file_payload(file: FileRecord) -> dict[str, Any]:
    """A file as plugins in other languages see it."""
    payload = {
        "file_id": file.file_id,
        "node_id": file.node_id,
        "export_path": file.export_path,
        "name": file.name,
        "size": file.size,
        "mtime": times.format_time(file.mtime),
        "inode": file.inode,
        "status": file.status,
    }
    return payload if file.mime_type is None else payload | {"mime_type": file.mime_type}


def event_of(event: str, sequence: int, timestamp: str, node_id: str, payload: Mapping[str, Any]) -> FileEvent:
    """The event that a message carries. Raises ``UserError``."""
    given: dict[str, Any] = {
        name: payload[name] for name in ("local_path", "previous_export_path", "trigger") if name in payload
    }
    if "file_id" in payload:
        given["file"] = {**payload, "mtime": _micros(payload.get("mtime"))}
    given |= {"event": event, "sequence": sequence, "timestamp": timestamp, "node_id": node_id}
    return _converted(given, FileEvent)


def crawl_payload(request: CrawlRequest) -> dict[str, Any]:
    """A request to crawl as a message's payload."""
    return dict(msgspec.to_builtins(request))


def operation_body(operation: FileOperation) -> dict[str, Any]:
    """A file operation as JSON: its fields and ``action``."""
    return {"action": _NAMES[type(operation)], **msgspec.to_builtins(operation)}


def operation_of(body: Any) -> FileOperation:
    """The file operation that ``body`` says. Times are ISO 8601 or microseconds. Raises ``UserError``."""
    if isinstance(body, msgspec.Raw):
        body = decoded(body, Any, "a file operation that is no JSON")
    if not isinstance(body, Mapping):
        raise UserError(f"a file operation is an object with an action, not {type(body).__name__}")
    action = body.get("action")
    kind = _ACTIONS.get(str(action))
    if kind is None:
        raise UserError(f"action: expected one of {', '.join(_ACTIONS)}, got {action!r}", field="action")
    fields = {name: value for name, value in body.items() if name != "action"}
    if kind is Create:
        fields["mtime"] = _micros(fields.get("mtime"))
    if kind is Directory:
        files = fields.get("files", ())
        fields["files"] = [_entry(row) for row in files] if isinstance(files, list | tuple) else files
    operation: FileOperation = _converted(fields, kind)
    return operation


def _entry(row: Any) -> Any:
    """A row of a directory: ``[name, size, mtime, device?, number?]`` or an object with these names."""
    if isinstance(row, Mapping):
        row = [row.get(name, default) for name, default in zip(Entry._fields, (None, None, None, 0, 0), strict=True)]
    return [*row[:2], _micros(row[2]), *row[3:]] if isinstance(row, list) and len(row) > 2 else row


def _micros(value: Any) -> Any:
    return times.parse_time(value) if isinstance(value, str) else value


def _converted(given: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{kind.__name__}: {error}") from None
