"""Full syncs: every file that an instance should know and does not, as the ledger says. Told once ``sync.started`` is
done, listed in pages as jobs are taken, completed when all that was enqueued until the end of the listing is done.

Where it stands is kept in ``job_syncs``, so a restart goes on with it. The listing looks for files in a reader, and
then once more, for those that it found, in the transaction that enqueues them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mosaicfs_core.hooks import SyncTrigger
from mosaicfs_core.jobs import rows
from mosaicfs_core.jobs.collapse import ADDED, DELETED
from mosaicfs_core.jobs.instances import Instance, Tally, events_of
from mosaicfs_core.jobs.matching import Matcher, facts_of_row
from mosaicfs_core.jobs.records import Subscription
from mosaicfs_core.jobs.rows import Row
from mosaicfs_core.jobs.schema import (
    BEHIND,
    COMPLETING,
    FAILED,
    FINISHING,
    IN_FLIGHT,
    LISTING,
    READY,
    RETRYING,
    STARTING,
    SYNC_COMPLETED,
    SYNC_DOC,
    SYNC_STARTED,
)
from mosaicfs_core.store import Reader, WriteTransaction
from mosaicfs_core.store.lookup import ReplicaLookup
from mosaicfs_core.store.reader_files import FILE_COLUMNS

WINDOW: Final = 5_000
"""Document numbers that one statement looks at."""
WINDOWS: Final = 20
"""Windows that are looked at before where it stands is noted."""
PAGE: Final = 1_000
"""Jobs enqueued in one transaction, about."""

_OPEN: Final = (READY, RETRYING, BEHIND, IN_FLIGHT)
_UNDONE: Final = """(l.doc IS NULL OR l.mtime IS NOT d.mtime OR l.size IS NOT d.size OR (?2 AND l.version IS NOT ?3))
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.instance = ?1 AND j.doc = d.doc)"""
_TO_ADD: Final = f"""SELECT {FILE_COLUMNS} FROM documents d LEFT JOIN job_ledger l ON l.instance = ?1 AND l.doc = d.doc
    WHERE d.doc > ?4 AND d.doc <= ?5 AND d.shown = 1 AND {_UNDONE} ORDER BY d.doc"""
_STILL_TO_ADD: Final = f"""SELECT d.doc FROM json_each(?4) AS wanted CROSS JOIN documents d ON d.doc = wanted.value
    LEFT JOIN job_ledger l ON l.instance = ?1 AND l.doc = d.doc WHERE d.shown = 1 AND {_UNDONE}"""
_GONE: Final = """SELECT l.doc FROM job_ledger l CROSS JOIN documents d ON d.doc = l.doc
    WHERE l.instance = ?1 AND l.doc > ?2 AND l.doc <= ?3 AND d.shown IS NULL
    AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.instance = ?1 AND j.doc = l.doc)"""
_STILL_GONE: Final = """SELECT d.doc, d.dir FROM json_each(?2) AS wanted CROSS JOIN documents d ON d.doc = wanted.value
    WHERE d.shown IS NULL AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.instance = ?1 AND j.doc = d.doc)"""


class Found(NamedTuple):
    """Files to be enqueued, by number, and the number up to which these are all."""

    add: list[int]
    gone: list[int]
    looked_at: int


def begin(tx: WriteTransaction, instance: Instance, subscription: Subscription, trigger: SyncTrigger, now: int) -> bool:
    """Begin a full sync; False when one is under way, which looks at everything again if files may have been missed."""
    tally = Tally(instance)
    complete(tx, instance, subscription, tally, now)
    missed = tx.execute("SELECT needs_sync FROM job_instances WHERE instance = ?", (instance.number,)).fetchone()[0]
    tx.execute("UPDATE job_instances SET needs_sync = 0 WHERE instance = ?", (instance.number,))
    until = tx.execute("SELECT ifnull(max(doc), 0) FROM documents").fetchone()[0]
    phase = tx.execute("SELECT phase FROM job_syncs WHERE instance = ?", (instance.number,)).fetchone()
    if phase is not None and phase[0] != COMPLETING:
        if missed and phase[0] != STARTING:
            sql = "UPDATE job_syncs SET phase = ?, looked_at = 0, until = ? WHERE instance = ?"
            tx.execute(sql, (LISTING, until, instance.number))
        return False
    _clear(tx, instance)
    told = SYNC_STARTED in events_of(subscription)
    sql = "INSERT OR REPLACE INTO job_syncs(instance, trigger, phase, started_at, until) VALUES(?, ?, ?, ?, ?)"
    tx.execute(sql, (instance.number, trigger, STARTING if told else LISTING, now, until))
    if told:
        _tell(tx, instance, tally, SYNC_STARTED, trigger, now)
    tally.write(tx)
    return True


def _clear(tx: WriteTransaction, instance: Instance) -> None:
    """Take off events of former syncs that failed for good."""
    sql = "DELETE FROM jobs WHERE instance = ? AND doc = ? AND status = ?"
    tally = Tally(instance)
    tally.count(FAILED, -tx.execute(sql, (instance.number, SYNC_DOC, FAILED)).rowcount)
    tally.write(tx)


def _tell(tx: WriteTransaction, instance: Instance, tally: Tally, event: int, trigger: str, now: int) -> None:
    """Enqueue a sync event; it waits for the end of the one before."""
    sql = "SELECT 1 FROM jobs WHERE instance = ? AND doc = ? AND status != ? LIMIT 1"
    before = tx.execute(sql, (instance.number, SYNC_DOC, FAILED)).fetchone()
    status = READY if before is None else BEHIND
    row = Row(instance.number, SYNC_DOC, tally.next(), event, status, created_at=now, record=trigger.encode())
    rows.insert(tx, [row])
    tally.count(status, 1)


def look(reader: Reader, instance: Instance, matcher: Matcher, after: int, until: int, now: int) -> Found:
    """Look for files to be enqueued whose number is above ``after``, for a while."""
    lookup = ReplicaLookup(reader)
    add: list[int] = []
    gone: list[int] = []
    for _ in range(WINDOWS):
        if after >= until or len(add) + len(gone) >= PAGE:
            break
        upto = min(after + WINDOW, until)
        if ADDED in matcher.events:
            found = reader.rows(_TO_ADD, (*_done_by(instance.number, matcher.subscription), after, upto))
            files = [reader.file_row(row) for row in found]
            add += matcher.among([(file.doc, facts_of_row(file)) for file in files], lookup, now)
        gone += [doc for (doc,) in reader.rows(_GONE, (instance.number, after, upto))]
        after = upto
    return Found(add, gone, after)


def _done_by(number: int, subscription: Subscription) -> tuple[int, int, str | None]:
    return number, int(subscription.reprocess), subscription.version


def enqueue(tx: WriteTransaction, instance: Instance, matcher: Matcher, found: Found, after: int, now: int) -> None:
    """Enqueue what was found above ``after`` and needs it still, and note where the listing stands."""
    row = tx.execute("SELECT phase, looked_at, until FROM job_syncs WHERE instance = ?", (instance.number,)).fetchone()
    if row is None or row[:2] != (LISTING, after):
        return
    tally = Tally(instance)
    parameters = (*_done_by(instance.number, matcher.subscription), rows.numbers(found.add))
    made = [(ADDED, doc) for (doc,) in tx.execute(_STILL_TO_ADD, parameters)]
    for doc, directory in tx.execute(_STILL_GONE, (instance.number, rows.numbers(found.gone))).fetchall():
        if DELETED in matcher.events and directory is not None:
            made.append((DELETED, doc))
        else:  # nobody is to be told, or nothing is known any more that could be told
            tx.execute("DELETE FROM job_ledger WHERE instance = ? AND doc = ?", (instance.number, doc))
    number = instance.number
    rows.insert(tx, [Row(number, doc, tally.next(), event, READY, created_at=now) for event, doc in made])
    tally.count(READY, len(made))
    over = found.looked_at >= row[2]
    tx.execute(
        """UPDATE job_syncs SET phase = ?, looked_at = ?, enqueued = enqueued + ?, last_sequence = ?
        WHERE instance = ?""",
        (FINISHING if over else LISTING, found.looked_at, len(made), tally.sequence, number),
    )
    if over:
        complete(tx, instance, matcher.subscription, tally, now)
    tally.write(tx)


def answered(tx: WriteTransaction, instance: Instance, event: int, now: int) -> None:
    """A sync event is done."""
    if event == SYNC_STARTED:
        sql = "UPDATE job_syncs SET phase = ? WHERE instance = ? AND phase = ?"
        tx.execute(sql, (LISTING, instance.number, STARTING))
    else:
        tx.execute("DELETE FROM job_syncs WHERE instance = ? AND phase = ?", (instance.number, COMPLETING))
        _note(tx, instance, now)


def give_up(tx: WriteTransaction, instance: Instance) -> None:
    """A sync event has failed for good: that is the end of the sync, which any other may begin anew."""
    tx.execute("DELETE FROM job_syncs WHERE instance = ? AND phase IN (?, ?)", (instance.number, STARTING, COMPLETING))


def complete(tx: WriteTransaction, instance: Instance, subscription: Subscription, tally: Tally, now: int) -> None:
    """Go on to the end of a sync whose jobs are done."""
    sql = "SELECT last_sequence, trigger FROM job_syncs WHERE instance = ? AND phase = ?"
    row = tx.execute(sql, (instance.number, FINISHING)).fetchone()
    if row is None or any(_left(tx, instance.number, status, row[0]) for status in _OPEN):
        return
    if SYNC_COMPLETED in events_of(subscription):
        tx.execute("UPDATE job_syncs SET phase = ? WHERE instance = ?", (COMPLETING, instance.number))
        _tell(tx, instance, tally, SYNC_COMPLETED, row[1], now)
    else:
        tx.execute("DELETE FROM job_syncs WHERE instance = ?", (instance.number,))
        _note(tx, instance, now)


def _left(tx: WriteTransaction, number: int, status: int, sequence: int) -> bool:
    sql = "SELECT 1 FROM jobs INDEXED BY jobs_by_status WHERE instance = ? AND status = ? AND sequence <= ? LIMIT 1"
    return tx.execute(sql, (number, status, sequence)).fetchone() is not None


def _note(tx: WriteTransaction, instance: Instance, now: int) -> None:
    tx.execute("UPDATE job_instances SET last_sync = ? WHERE instance = ?", (now, instance.number))
