"""What people and workers ask of the queue, read without the writer."""

from __future__ import annotations

from typing import Any, Final

from mosaicfs_core.errors import NotFound
from mosaicfs_core.jobs.records import Counts, JobPage, JobRow, JobStatus, Standing, SyncProgress, Usage
from mosaicfs_core.jobs.schema import (
    BEHIND,
    EVENT_NAMES,
    FAILED,
    IN_FLIGHT,
    LISTING,
    READY,
    RETRYING,
    STATUS_COLUMNS,
)
from mosaicfs_core.store.reader_files import FileReader

_INSTANCE: Final = f"""SELECT instance, name, enabled, paused, day, day_jobs, day_bytes, last_at, last_sync,
    {", ".join(STATUS_COLUMNS)} FROM job_instances WHERE name"""
_SYNC: Final = "SELECT trigger, phase, started_at, looked_at, until, enqueued FROM job_syncs WHERE instance = ?"
_SOON: Final = f"""SELECT due FROM jobs INDEXED BY jobs_by_due
    WHERE instance = ? AND status = {RETRYING} ORDER BY due LIMIT 1"""
_MAY_RUN: Final = f"""SELECT i.ready, i.retrying, s.phase = {LISTING} FROM job_instances i
    LEFT JOIN job_syncs s ON s.instance = i.instance WHERE i.name = ? AND i.enabled = 1 AND i.paused = 0"""
_PAGE: Final = """SELECT sequence, event, status, attempts, created_at, due, last_error, doc FROM jobs
    INDEXED BY jobs_by_status WHERE instance = ? AND status = ? AND sequence > ? ORDER BY sequence LIMIT ?"""
_PHASES: Final = ("starting", "listing", "finishing", "completing")
_STATUSES: Final[dict[str, tuple[int, ...]]] = {
    "pending": (READY, RETRYING, BEHIND),
    "in_flight": (IN_FLIGHT,),
    "failed": (FAILED,),
}
_WHY: Final = {
    RETRYING: "The last attempt failed; it comes again after a while.",
    BEHIND: "An earlier job of the same file is under way.",
}


def standing(reader: FileReader, name: str) -> Standing:
    """How an instance's queue stands. Raises NotFound."""
    rows = reader.rows(f"{_INSTANCE} = ?", (name,))
    if not rows:
        raise NotFound(f"There is no plugin instance {name!r} on this node.")
    return _standing(reader, rows[0])


def standings(reader: FileReader) -> list[Standing]:
    """The same of all, by name."""
    return [_standing(reader, row) for row in reader.rows(f"{_INSTANCE} IS NOT NULL ORDER BY name")]


def _standing(reader: FileReader, row: tuple[Any, ...]) -> Standing:
    number, name, enabled, paused, day, day_jobs, day_bytes, last_at, last_sync = row[:9]
    ready, retrying, behind, in_flight, failed = row[9:]
    counts = Counts(
        pending=ready + retrying + behind, in_flight=in_flight, failed=failed, retrying=retrying, behind=behind
    )
    return Standing(
        instance=name,
        enabled=bool(enabled),
        paused=bool(paused),
        counts=counts,
        sync=_progress(reader, number),
        last_sync=last_sync,
        usage=Usage(day=day, jobs=day_jobs, bytes=day_bytes, last_at=last_at),
        next_due=_soonest(reader, number) if retrying and not ready else None,
    )


def _progress(reader: FileReader, number: int) -> SyncProgress | None:
    rows = reader.rows(_SYNC, (number,))
    if not rows:
        return None
    trigger, phase, started_at, looked_at, until, enqueued = rows[0]
    return SyncProgress(
        trigger=trigger,
        phase=_PHASES[phase],
        started_at=started_at,
        looked_at=looked_at,
        documents=until,
        enqueued=enqueued,
    )


def _soonest(reader: FileReader, number: int) -> int | None:
    rows = reader.rows(_SOON, (number,))
    return rows[0][0] if rows else None


def may_take(reader: FileReader, name: str) -> int | None:
    """When ``take`` may find something (microseconds, 0: now); None when it cannot, as things are."""
    rows = reader.rows(_MAY_RUN, (name,))
    if not rows:
        return None
    ready, retrying, listing = rows[0]
    if ready or listing:
        return 0
    if not retrying:
        return None
    number = reader.rows("SELECT instance FROM job_instances WHERE name = ?", (name,))[0][0]
    return _soonest(reader, number)


def page(reader: FileReader, name: str, status: JobStatus, after: int, limit: int) -> JobPage:
    """Jobs of one status, by sequence. Raises NotFound."""
    counts = standing(reader, name).counts
    number = reader.rows("SELECT instance FROM job_instances WHERE name = ?", (name,))[0][0]
    rows: list[tuple[Any, ...]] = []
    for one in _STATUSES[status]:
        rows += reader.rows(_PAGE, (number, one, after, limit + 1))
    rows.sort()
    files = {file.doc: file for file in reader.file_rows([row[-1] for row in rows[:limit]])}
    items = []
    for sequence, event, stands, attempts, created_at, due, last_error, doc in rows[:limit]:
        file = files.get(doc)
        items.append(
            JobRow(
                instance=name,
                sequence=sequence,
                event=EVENT_NAMES[event],
                status=status,
                attempts=attempts,
                created_at=created_at,
                not_before=due if stands == RETRYING else 0,
                last_error=last_error,
                file_id=None if file is None else file.file_id,
                node_id=None if file is None else file.node_id,
                export_path=None if file is None else file.export_path,
                why=_WHY.get(stands, ""),
            )
        )
    cursor = items[-1].sequence if len(rows) > limit else None
    return JobPage(items=tuple(items), total=getattr(counts, status), cursor=cursor)
