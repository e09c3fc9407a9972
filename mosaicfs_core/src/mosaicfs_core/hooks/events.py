"""What a plugin is told of files: the events that cross ``mosaicfs_file_event``."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from mosaicfs_core.hooks.context import FileRecord

EventName: TypeAlias = Literal["file.added", "file.modified", "file.deleted", "sync.started", "sync.completed"]
SyncTrigger: TypeAlias = Literal["manual", "scheduled"]

FILE_EVENTS: Final[tuple[EventName, ...]] = ("file.added", "file.modified", "file.deleted")
EVENTS: Final[tuple[EventName, ...]] = (*FILE_EVENTS, "sync.started", "sync.completed")


class FileEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the job queue.

    ``sequence`` rises within the instance; an event that comes again (after a crash, a disconnect, a failure) has the
    sequence it had. ``timestamp`` is when it was enqueued, ISO 8601. ``file`` is there for file events: the file as
    its document says now, of a deleted one as it was known last. ``local_path`` is its path on this machine, when it
    is of this node, there, and UTF-8. ``previous_export_path`` is set when it was moved or renamed (``file.modified``).
    ``trigger`` is there for sync events.
    """

    event: EventName
    sequence: int
    timestamp: str
    node_id: str
    file: FileRecord | None = None
    local_path: str | None = None
    previous_export_path: str | None = None
    trigger: SyncTrigger | None = None
