"""The queue's tables in the replica's file, every column explained. They belong to this node alone: nothing here is
replicated. A replica that was made before there were jobs gets them at the first ``JobQueue.open``.

A file's waiting job of an instance is one row, whatever happened to the file; besides it there may be one in flight.
What is acknowledged is not kept: the ledger says what was done. So the tables hold what is to be done, and a row of the
ledger per file.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from mosaicfs_core.errors import MosaicError
from mosaicfs_core.hooks import EventName
from mosaicfs_core.jobs.collapse import ADDED, DELETED, MODIFIED
from mosaicfs_core.store import WriteTransaction

LAYOUT: Final = 2

# ``jobs.event``; the first three are ``collapse``'s.
SYNC_STARTED: Final = 4
SYNC_COMPLETED: Final = 5
EVENT_NAMES: Final[dict[int, EventName]] = {
    ADDED: "file.added",
    MODIFIED: "file.modified",
    DELETED: "file.deleted",
    SYNC_STARTED: "sync.started",
    SYNC_COMPLETED: "sync.completed",
}
EVENT_NUMBERS: Final[dict[str, int]] = {name: number for number, name in EVENT_NAMES.items()}

# ``jobs.status``.
READY: Final = 0
"""Waits for its turn alone."""
RETRYING: Final = 1
"""Waits until it is ``due`` again."""
BEHIND: Final = 2
"""Waits for the end of the job in flight of the same file."""
IN_FLIGHT: Final = 3
FAILED: Final = 4
"""Failed for good; waits for the user."""
STATUS_COLUMNS: Final = ("ready", "retrying", "behind", "in_flight", "failed")
"""The columns of ``job_instances`` that count the jobs of each status."""

# ``job_syncs.phase``.
STARTING: Final = 0
LISTING: Final = 1
FINISHING: Final = 2
COMPLETING: Final = 3

SYNC_DOC: Final = 0
"""``jobs.doc`` of a sync event; documents have numbers from 1 on."""

JOB_COLUMNS: Final = (
    "instance, doc, sequence, event, status, attempts, due, delivered, created_at, previous, record, last_error, "
    "postponed"
)

SCHEMA: Final = """
-- Facts about these tables: layout; seq, the replica's update sequence up to which every write of a file was seen.
CREATE TABLE job_state(
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- One row per plugin instance.
CREATE TABLE job_instances(
    instance INTEGER PRIMARY KEY AUTOINCREMENT,  -- its number here
    name TEXT UNIQUE,                        -- NULL once it is gone, until its rows are
    subscription BLOB NOT NULL,              -- JSON of records.Subscription
    enabled INTEGER NOT NULL,                -- as the subscription says
    paused INTEGER NOT NULL DEFAULT 0,       -- 1: by the user
    needs_sync INTEGER NOT NULL DEFAULT 1,   -- 1: files may have been missed, until a full sync begins
    sequence INTEGER NOT NULL DEFAULT 0,     -- the last one given to a job
    ready INTEGER NOT NULL DEFAULT 0,        -- how many jobs there are of each status
    retrying INTEGER NOT NULL DEFAULT 0,
    behind INTEGER NOT NULL DEFAULT 0,
    in_flight INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    day TEXT NOT NULL DEFAULT '',            -- the day which the next two are about
    day_jobs INTEGER NOT NULL DEFAULT 0,     -- jobs with a file taken on that day
    day_bytes INTEGER NOT NULL DEFAULT 0,    -- and the bytes of those files
    last_at INTEGER NOT NULL DEFAULT 0,      -- when one was taken last (microseconds)
    last_sync INTEGER                        -- when a full sync was completed last (microseconds)
);

-- What is to be done.
CREATE TABLE jobs(
    instance INTEGER NOT NULL,               -- job_instances.instance
    doc INTEGER NOT NULL,                    -- documents.doc of the file; 0 for a sync event
    sequence INTEGER NOT NULL,               -- rises within the instance
    event INTEGER NOT NULL,                  -- ADDED, MODIFIED, ... above
    status INTEGER NOT NULL,                 -- READY, RETRYING, ... above
    attempts INTEGER NOT NULL,               -- that failed
    due INTEGER NOT NULL,                    -- RETRYING: not before (microseconds), else 0
    delivered INTEGER NOT NULL,              -- 1: this job, or one that it took the place of, was given to the plugin
    created_at INTEGER NOT NULL,             -- microseconds
    previous TEXT,                           -- export path where the plugin knows the file, when it moved since
    record BLOB,                             -- JSON of the file as it was known last, when its document tells no more;
                                             -- of a sync event its trigger
    last_error TEXT,                         -- of the last attempt
    postponed INTEGER NOT NULL DEFAULT 0,    -- times that the plugin could not do it for want of something else
    PRIMARY KEY(instance, doc, sequence)
) WITHOUT ROWID;
CREATE INDEX jobs_by_status ON jobs(instance, status, sequence);
CREATE INDEX jobs_by_due ON jobs(instance, due) WHERE status = 1;

-- What was done: the files that an instance knows, as it was given them last.
CREATE TABLE job_ledger(
    instance INTEGER NOT NULL,
    doc INTEGER NOT NULL,                    -- documents.doc
    mtime INTEGER,                           -- microseconds; NULL: it is known, but is to be processed again
    size INTEGER NOT NULL,
    version TEXT,                            -- of the plugin
    annotated INTEGER NOT NULL,              -- 1: an annotation came of it
    PRIMARY KEY(instance, doc)
) WITHOUT ROWID;

-- Full syncs under way.
CREATE TABLE job_syncs(
    instance INTEGER PRIMARY KEY,
    trigger TEXT NOT NULL,                   -- manual, scheduled
    phase INTEGER NOT NULL,                  -- STARTING, LISTING, ... above
    started_at INTEGER NOT NULL,             -- microseconds
    looked_at INTEGER NOT NULL DEFAULT 0,    -- the last document number that was looked at
    until INTEGER NOT NULL,                  -- the last one to be looked at
    enqueued INTEGER NOT NULL DEFAULT 0,     -- jobs that came of it
    last_sequence INTEGER NOT NULL DEFAULT 0 -- FINISHING: it is completed when no job up to this one is left
);
"""


def prepare(tx: WriteTransaction) -> None:
    """Create the tables unless they are there, and bring those of the former version up to date. Raises ``MosaicError``
    for those of another version."""
    if tx.execute("SELECT 1 FROM sqlite_master WHERE name = 'job_state'").fetchone() is None:
        for statement in _statements(SCHEMA):
            tx.execute(statement)
        tx.execute("INSERT INTO job_state(key, value) VALUES('layout', ?), ('seq', ?)", (LAYOUT, tx.seq))
    found = tx.execute("SELECT value FROM job_state WHERE key = 'layout'").fetchone()[0]
    if found == 1:
        tx.execute("ALTER TABLE jobs ADD COLUMN postponed INTEGER NOT NULL DEFAULT 0")
        tx.execute("UPDATE job_state SET value = 2 WHERE key = 'layout'")
        found = 2
    if found != LAYOUT:
        raise MosaicError(f"The job queue has layout {found}; this version of MosaicFS reads layout {LAYOUT}.")


def _statements(script: str) -> list[str]:
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current.strip())
            current = ""
    return statements
