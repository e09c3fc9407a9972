"""How jobs in flight end: an answer is stored with the end of its job; a failed one comes again later or stays for the
user; one that was given back waits again. Runs inside transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mosaicfs_core.backoff import pause_after
from mosaicfs_core.documents.times import MICROS_PER_SECOND
from mosaicfs_core.errors import MosaicError
from mosaicfs_core.jobs import annotating, rows, syncing, taking
from mosaicfs_core.jobs.annotating import Place, Said
from mosaicfs_core.jobs.collapse import DELETED, collapse
from mosaicfs_core.jobs.instances import Instance, Tally, named
from mosaicfs_core.jobs.records import Job, Subscription
from mosaicfs_core.jobs.rows import Row
from mosaicfs_core.jobs.schema import BEHIND, FAILED, IN_FLIGHT, JOB_COLUMNS, READY, RETRYING, SYNC_DOC
from mosaicfs_core.store import FileRow, WriteTransaction

FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 3600.0
MOST_POSTPONED: Final = 32
"""Times that a job comes again before it counts that what the plugin needs is not there: about a day."""
ERROR_LENGTH: Final = 2_000
"""Characters of an error that are kept."""

_OF_STATUS = f"""SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_status
    WHERE instance = ? AND status = ? ORDER BY sequence"""
_ENTER = """INSERT INTO job_ledger(instance, doc, mtime, size, version, annotated) VALUES(?, ?, ?, ?, ?, ?)
    ON CONFLICT(instance, doc) DO UPDATE SET mtime = excluded.mtime, size = excluded.size,
    version = excluded.version, annotated = excluded.annotated"""


class Answer(NamedTuple):
    """What a plugin said to a job."""

    job: Job
    annotation: Mapping[str, Any] | None


class Bench:
    """The instances that one transaction is about, with what changes in their counts; ``close`` it at the end."""

    def __init__(self, tx: WriteTransaction, node_id: str, now: int) -> None:
        self.tx, self.node_id, self.now = tx, node_id, now
        self._places: dict[str, tuple[Instance, Subscription, Tally] | None] = {}

    def of(self, name: str) -> tuple[Instance, Subscription, Tally] | None:
        """An instance, its subscription and its tally; None when it is gone."""
        if name not in self._places:
            instance = named(self.tx, name)
            self._places[name] = None if instance is None else (instance, instance.parsed(), Tally(instance))
        return self._places[name]

    def in_flight(self, job: Job) -> Row | None:
        """The row of a job that was taken and is in flight still."""
        place = self.of(job.instance)
        if place is None:
            return None
        row = rows.one(self.tx, place[0].number, job.doc, job.sequence)
        return row if row is not None and (row.status, row.created_at) == (IN_FLIGHT, job.created_at) else None

    def close(self) -> None:
        """Store the counts, and complete full syncs that came to their end."""
        for place in self._places.values():
            if place is not None:
                instance, subscription, tally = place
                syncing.complete(self.tx, instance, subscription, tally, self.now)
                tally.write(self.tx)
        self.tx.execute("UPDATE job_state SET value = ? WHERE key = 'seq'", (self.tx.seq,))


def finish(bench: Bench, answers: Sequence[Answer]) -> list[bool | MosaicError]:
    """Store answers; of each whether its job was in flight still, or why its annotation cannot be stored."""
    found = [bench.in_flight(answer.job) for answer in answers]
    files = _files(bench.tx, [row for row in found if row is not None])
    said = [
        None if row is None else _said(answer, files.get(row.doc), bench)
        for answer, row in zip(answers, found, strict=True)
    ]
    documents = [
        None if one is None else annotating.document_of(bench.tx, bench.node_id, one, bench.now) for one in said
    ]
    errors = _write(bench.tx, [document for document in documents if document is not None])
    outcomes: list[bool | MosaicError] = []
    for answer, row, document in zip(answers, found, documents, strict=True):
        error = None if document is None else errors.get(document["_id"])
        outcomes.append(error if error is not None else row is not None)
        if row is not None and error is None:
            _end(bench, answer, row, files.get(row.doc))
    return outcomes


def _files(tx: WriteTransaction, found: Iterable[Row]) -> dict[int, FileRow]:
    """The files of these jobs that are there."""
    docs = [row.doc for row in found if row.doc != SYNC_DOC]
    return {file.doc: file for file in tx.files.file_rows(docs) if file.status == "active"} if docs else {}


def _said(answer: Answer, file: FileRow | None, bench: Bench, error: str | None = None) -> Said | None:
    """What is to be said of the file that an answer is about; None when it is about none, or about one that is gone."""
    job = answer.job
    if job.file is None or job.event == "file.deleted" or file is None:
        return None
    place = bench.of(job.instance)
    version = None if place is None else place[1].version
    # It was made of the file as it was given to the plugin, and says so; should the file have changed since, the next
    # job, which waits already, decides.
    at = Place(file.node_id, file.export_path)
    return Said(at, job.instance, version, job.file.mtime, job.file.size, answer.annotation or None, error)


def _write(tx: WriteTransaction, documents: Sequence[Mapping[str, Any]]) -> dict[str, MosaicError]:
    """Write annotations; what cannot be, by id."""
    unique = {document["_id"]: document for document in documents}
    return {result.id: result.error for result in tx.bulk(unique.values()) if result.error is not None}


def _end(bench: Bench, answer: Answer, row: Row, file: FileRow | None) -> None:
    """Take a job off, and what waited behind it forward; the ledger has what was done."""
    tx, job, place = bench.tx, answer.job, bench.of(answer.job.instance)
    assert place is not None
    instance, subscription, tally = place
    rows.remove(tx, row)
    tally.count(IN_FLIGHT, -1)
    if row.doc == SYNC_DOC:
        syncing.answered(tx, instance, row.event, bench.now)
    elif row.event == DELETED:
        tx.execute("DELETE FROM job_ledger WHERE instance = ? AND doc = ?", (row.instance, row.doc))
    elif file is not None and job.file is not None:
        done = (job.file.mtime, job.file.size, subscription.version, int(bool(answer.annotation)))
        tx.execute(_ENTER, (row.instance, row.doc, *done))
    _forward(tx, tally, row)


def _forward(tx: WriteTransaction, tally: Tally, row: Row) -> None:
    changed = tx.execute(
        "UPDATE jobs SET status = ? WHERE instance = ? AND doc = ? AND status = ?",
        (READY, row.instance, row.doc, BEHIND),
    ).rowcount
    tally.move(BEHIND, READY, changed)


def postpone(bench: Bench, job: Job, message: str, chance: Callable[[], float]) -> int | None:
    """Have a job come again that was not to be done at present, without an attempt unless that goes on for too long;
    otherwise as ``fail``."""
    row, place = bench.in_flight(job), bench.of(job.instance)
    if row is None or place is None:
        return None
    if row.postponed >= MOST_POSTPONED:
        return fail(bench, job, message, chance)
    again = row._replace(postponed=row.postponed + 1, due=_due(bench, row.postponed, chance))
    return give_back(bench.tx, place[2], again._replace(last_error=message[:ERROR_LENGTH]), RETRYING)


def _due(bench: Bench, failures: int, chance: Callable[[], float]) -> int:
    pause = pause_after(failures, chance(), first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)
    return bench.now + int(pause * MICROS_PER_SECOND)


def fail(bench: Bench, job: Job, message: str, chance: Callable[[], float]) -> int | None:
    """Count an attempt; returns the status that the job has now, None when it was not in flight."""
    row, place = bench.in_flight(job), bench.of(job.instance)
    if row is None or place is None:
        return None
    instance, subscription, tally = place
    text, attempts = message[:ERROR_LENGTH], row.attempts + 1
    if attempts < subscription.max_attempts:
        due = _due(bench, row.attempts, chance)
        return give_back(bench.tx, tally, row._replace(attempts=attempts, due=due, last_error=text), RETRYING)
    status = give_back(bench.tx, tally, row._replace(attempts=attempts, last_error=text), FAILED)
    if status != FAILED:
        return status
    if row.doc == SYNC_DOC:
        syncing.give_up(bench.tx, instance)
        _forward(bench.tx, tally, row)
        return status
    file = _files(bench.tx, [row]).get(row.doc)
    said = _said(Answer(job, None), file, bench, text or "It failed.")
    document = None if said is None else annotating.document_of(bench.tx, bench.node_id, said, bench.now)
    if document is not None:
        bench.tx.put(document)
    return status


def give_back(tx: WriteTransaction, tally: Tally, row: Row, status: int) -> int:
    """Have a job in flight wait again, with this status; where a newer one waits behind it, the two become one, which
    is ready at once. Returns the status it came to."""
    newer = rows.of_files(tx, row.instance, rows.numbers([row.doc]))[0].get(row.doc) if row.doc != SYNC_DOC else None
    if newer is None:
        sql = """UPDATE jobs SET status = ?, attempts = ?, due = ?, last_error = ?, postponed = ?
            WHERE instance = ? AND doc = ? AND sequence = ?"""
        said = (status, row.attempts, row.due, row.last_error, row.postponed)
        tx.execute(sql, (*said, row.instance, row.doc, row.sequence))
        tally.move(IN_FLIGHT, status)
        return status
    event = collapse(row.event, newer.event, known=True)
    assert event is not None
    rows.remove(tx, row)
    tally.count(IN_FLIGHT, -1)
    sql = """UPDATE jobs SET status = ?, event = ?, delivered = 1, previous = ?
        WHERE instance = ? AND doc = ? AND sequence = ?"""
    tx.execute(sql, (READY, event, row.previous or newer.previous, newer.instance, newer.doc, newer.sequence))
    tally.move(BEHIND, READY)
    return READY


def release(bench: Bench, jobs: Iterable[Job]) -> int:
    """Give jobs back without an attempt, and what they were counted for; how many were in flight still."""
    count = 0
    for job in jobs:
        row, place = bench.in_flight(job), bench.of(job.instance)
        if row is not None and place is not None:
            give_back(bench.tx, place[2], row, READY)
            taking.unuse(bench.tx, place[0], job)
            count += 1
    return count


def reclaim(tx: WriteTransaction, instance: Instance) -> int:
    """Have wait again what is in flight and nobody works on; how many that were."""
    tally = Tally(instance)
    found = tx.execute(_OF_STATUS, (instance.number, IN_FLIGHT)).fetchall()
    for values in found:
        give_back(tx, tally, Row(*values), READY)
    tally.write(tx)
    return len(found)


def recover(tx: WriteTransaction, instance: Instance, latest: int) -> None:
    """Have wait again what was in flight when the process ended, and no attempt later than ``latest``, which is where a
    clock that was set back would have them."""
    reclaim(tx, instance)
    sql = "UPDATE jobs INDEXED BY jobs_by_due SET due = ? WHERE instance = ? AND status = 1 AND due > ?"
    tx.execute(sql, (latest, instance.number, latest))
