"""Handing out jobs, inside a transaction: two short walks along an index, whatever the length of the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.jobs import rows, syncing
from mosaicfs_core.jobs.collapse import DELETED
from mosaicfs_core.jobs.instances import Instance, Tally, named
from mosaicfs_core.jobs.records import Job
from mosaicfs_core.jobs.rows import Row
from mosaicfs_core.jobs.schema import EVENT_NAMES, IN_FLIGHT, JOB_COLUMNS, LISTING, READY, RETRYING, SYNC_DOC
from mosaicfs_core.store import WriteTransaction
from mosaicfs_core.store.rows import COLUMNS, format_uuid, inode_of

_DUE: Final = f"""SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_due
    WHERE instance = ? AND status = {RETRYING} AND due <= ? ORDER BY due LIMIT ?"""
_NEXT: Final = f"""SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_status
    WHERE instance = ? AND status = {READY} ORDER BY sequence LIMIT ?"""
_DOCUMENT: Final = f"SELECT {COLUMNS} FROM documents WHERE doc = ?"
_LISTING: Final = "SELECT 1 FROM job_syncs WHERE instance = ? AND phase = ?"


class Wish(NamedTuple):
    """What is asked for; see ``JobQueue.take``."""

    limit: int
    now: int
    max_bytes: int | None
    day: str
    fresh: bool = False


class Taken(NamedTuple):
    """Jobs that are in flight now. ``listing``: the instance has a full sync whose listing may bring more. ``dropped``:
    some were taken off because their file is gone, so another look is worth it."""

    jobs: list[Job]
    instance: Instance | None
    listing: bool
    dropped: bool


def take(tx: WriteTransaction, name: str, wish: Wish) -> Taken:
    """Hand out jobs that may run."""
    instance = named(tx, name)
    if instance is None or instance.paused or not instance.enabled:
        return Taken([], None, False, False)
    found: list[Row] = []
    due, new = (_DUE, (instance.number, wish.now)), (_NEXT, (instance.number,))
    for walk, parameters in (new, due) if wish.fresh else (due, new):
        if len(found) < wish.limit:
            found += [Row(*row) for row in tx.execute(walk, (*parameters, wish.limit - len(found)))]
    records = _records(tx, found)
    tally = Tally(instance)
    jobs: list[Job] = []
    size, dropped = 0, False
    for row in found:
        record = records.get(row.doc)
        if row.doc != SYNC_DOC and (record is None or (row.event != DELETED and record.status != "active")):
            # The document was changed while nobody watched; what it comes to is the full sync's to find.
            rows.remove(tx, row)
            tally.count(row.status, -1)
            dropped = True
            continue
        if jobs and record is not None and wish.max_bytes is not None and size + record.size > wish.max_bytes:
            break
        size += 0 if record is None else record.size
        tally.move(row.status, IN_FLIGHT)
        jobs.append(_job(name, row, record, wish.day))
    _fly(tx, instance, jobs)
    if dropped:
        syncing.complete(tx, instance, instance.parsed(), tally, wish.now)
    tally.write(tx)
    _use(tx, instance, jobs, size, wish)
    listing = tx.execute(_LISTING, (instance.number, LISTING)).fetchone() is not None
    return Taken(jobs, instance, listing, dropped)


def _fly(tx: WriteTransaction, instance: Instance, jobs: Sequence[Job]) -> None:
    keys = [(instance.number, job.doc, job.sequence) for job in jobs]
    sql = f"UPDATE jobs SET status = {IN_FLIGHT}, due = 0, delivered = 1 FROM (VALUES "
    match = ") AS v WHERE instance = v.column1 AND doc = v.column2 AND sequence = v.column3"
    tx.execute_many(sql, keys, match)


def _use(tx: WriteTransaction, instance: Instance, jobs: Sequence[Job], size: int, wish: Wish) -> None:
    """Count what is taken to the day."""
    files = sum(job.file is not None for job in jobs)
    if files:
        sql = """UPDATE job_instances SET last_at = ?1, day = ?2,
            day_jobs = ?3 + iif(day = ?2, day_jobs, 0), day_bytes = ?4 + iif(day = ?2, day_bytes, 0)
            WHERE instance = ?5"""
        tx.execute(sql, (wish.now, wish.day, files, size, instance.number))


def unuse(tx: WriteTransaction, instance: Instance, job: Job) -> None:
    """Take off its day a job that was given back."""
    if job.file is not None:
        sql = """UPDATE job_instances SET day_jobs = max(0, day_jobs - 1), day_bytes = max(0, day_bytes - ?)
            WHERE instance = ? AND day = ?"""
        tx.execute(sql, (job.file.size, instance.number, job.day))


def _job(name: str, row: Row, record: FileRecord | None, day: str) -> Job:
    trigger: Any = row.record.decode() if row.doc == SYNC_DOC and row.record is not None else None
    return Job(
        instance=name,
        sequence=row.sequence,
        event=EVENT_NAMES[row.event],
        doc=row.doc,
        attempts=row.attempts,
        created_at=row.created_at,
        file=record,
        previous_export_path=row.previous,
        trigger=trigger,
        day=day,
    )


def _records(tx: WriteTransaction, found: Sequence[Row]) -> dict[int, FileRecord]:
    """The files of jobs: as their documents say, and of those whose documents say nothing any more as they were known
    last."""
    docs = [row.doc for row in found if row.doc != SYNC_DOC]
    if not docs:
        return {}
    records = {file.doc: file.record() for file in tx.files.file_rows(docs)}
    for row in found:
        if row.doc not in records and row.doc != SYNC_DOC and row.record is not None:
            records[row.doc] = _last_known(tx, row.doc, row.record)
    return records


def _last_known(tx: WriteTransaction, doc: int, record: bytes) -> FileRecord:
    row = tx.execute(_DOCUMENT, (doc,)).fetchone()
    path, name, size, mtime, mime_type = msgspec.json.decode(record)
    key = row[4]
    node_id, _, uuid = key.removeprefix("file::").rpartition("::") if isinstance(key, str) else ("", "", "")
    if not isinstance(key, str):
        node_id, uuid = tx.files.names.node_id(row[3]), format_uuid(key)
    return FileRecord(
        file_id=f"{node_id}.{uuid}",
        node_id=node_id,
        export_path=path,
        name=name,
        size=size,
        mtime=mtime,
        inode=inode_of(row[1]),
        mime_type=mime_type,
        status="deleted",
    )
