"""What the queue takes and hands out: plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from mosaicfs_core.hooks import EventName, FileRecord, SyncTrigger

JobStatus: TypeAlias = Literal["pending", "in_flight", "failed"]
Scope: TypeAlias = Literal["node", "instance"]


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Which events of which files an instance is told, as data that the replica keeps.

    ``mime_globs`` empty: every file; a file without a MIME type matches no non-empty list. A file must pass ``steps``
    and ``budget_steps`` (chains as mounts have them; those of the instance and of its budget). ``scope`` ``node``:
    files of this node alone. One that is not ``enabled`` keeps its queue, takes nothing in and gives nothing out.
    ``version`` is the plugin's; it stands in annotations and in the ledger, and with ``reprocess`` a full sync
    processes again what another version has done.
    """

    events: tuple[str, ...] = ()
    mime_globs: tuple[str, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()
    budget_steps: tuple[Mapping[str, Any], ...] = ()
    scope: Scope = "node"
    enabled: bool = True
    version: str | None = None
    reprocess: bool = False
    workers: int = 2
    max_attempts: int = 3


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was taken: it is in flight until it is given back by ``done``, ``failed`` or ``released``.

    ``sequence`` rises within the instance; a job that comes again has the sequence it had. ``attempts`` counts those
    that failed before. ``created_at`` is in microseconds. ``file`` is there for file events: as the document said when
    the job was taken, of a deleted one as it was known last. ``previous_export_path`` is where the plugin knows the
    file when it moved since. ``trigger`` is there for sync events. ``doc`` is the file's number in this replica, 0 for
    a sync event. ``day`` is the one that it was counted to.
    """

    instance: str
    sequence: int
    event: EventName
    doc: int
    attempts: int
    created_at: int
    file: FileRecord | None = None
    previous_export_path: str | None = None
    trigger: SyncTrigger | None = None
    day: str = ""


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job as people see it. Times are microseconds; ``not_before`` is 0 for one that waits for nothing but its turn.

    ``why`` says in a sentence what a pending job waits for.
    """

    instance: str
    sequence: int
    event: EventName
    status: JobStatus
    attempts: int
    created_at: int
    not_before: int
    last_error: str | None
    file_id: str | None
    node_id: str | None
    export_path: str | None
    why: str = ""


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs of one status by ``sequence``; ``cursor`` is the ``after`` of the next page, None at the end."""

    items: tuple[JobRow, ...]
    total: int
    cursor: int | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs an instance has. ``pending`` includes those that wait for another attempt (``retrying``) and
    those that wait until the same file's job in flight has ended (``behind``)."""

    pending: int = 0
    in_flight: int = 0
    failed: int = 0
    retrying: int = 0
    behind: int = 0


class SyncProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A full sync under way. ``phase``: ``starting`` (``sync.started`` is not done), ``listing``, ``finishing`` (the
    jobs of the listing are not done) or ``completing`` (``sync.completed`` is not done). ``looked_at`` of ``documents``
    numbers were gone through; ``enqueued`` jobs came of it."""

    trigger: SyncTrigger
    phase: Literal["starting", "listing", "finishing", "completing"]
    started_at: int
    looked_at: int
    documents: int
    enqueued: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance was given on a day (``2026-02-16``, the day of the ``day`` it was taken with): jobs with a file
    and their bytes, without those that were given back; ``last_at`` is when, in microseconds."""

    day: str = ""
    jobs: int = 0
    bytes: int = 0
    last_at: int = 0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the queue of an instance stands. ``next_due`` is when the next attempt of a job may be made (microseconds),
    when all that is pending waits for that."""

    instance: str
    enabled: bool
    paused: bool
    counts: Counts
    sync: SyncProgress | None = None
    last_sync: int | None = None
    usage: Usage = Usage()
    next_due: int | None = None

    @property
    def files_left(self) -> int:
        """How many jobs of files are not done: all but the one that tells of a sync."""
        telling = self.sync is not None and self.sync.phase in ("starting", "completing")
        return max(0, self.counts.pending + self.counts.in_flight - telling)
