"""The replica's one SQLite file: its tables, every column explained, and how a connection to it is set up.

Files are by far the most numerous documents, so theirs are typed columns of one wide row; every other document keeps
its JSON in ``extra`` and is found through ``lookup``. Superseded bodies are dropped at once: only leaves have a body.

Memory: the page cache counts towards the process, so it is bounded (``WRITER_CACHE_KIB``), and nothing is mapped.
"""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from typing import Final

from ..errors import MosaicError

SCHEMA_VERSION: Final = 1
WRITER_CACHE_KIB: Final = 28 * 1024
READER_CACHE_KIB: Final = 2 * 1024
LARGE: Final = 16 << 20
"""Files from this size on (bytes) have an index by size."""
WAL_PAGES: Final = 12_000
"""Pages of write-ahead log after which a commit copies it into the database (48 MB). A batch of 1,000 files into a
large replica touches some 2,000 pages, much the same ones each time: a short log copies them every other time."""

# Bits of ``documents.flags``.
DELETED: Final = 1
"""The winning revision is a tombstone."""
LEAVES: Final = 2
"""Other leaves exist; they stand in ``leaves``."""
CONFLICT: Final = 4
"""At least one of those leaves is not a tombstone."""
QUARANTINED: Final = 8
"""The winning body fails its schema; it is kept and replicated, and shown nowhere."""
WHOLE: Final = 16
"""``extra`` is the whole body; the columns are only there to be searched."""
OWN_INODE: Final = 32
"""The document's inode is not the one derived from its id; it stands in ``inodes`` too."""
INACTIVE: Final = 64
"""A file whose ``status`` is ``deleted``."""

FILE: Final = 1
TYPE_NUMBERS: Final[dict[str, int]] = {
    "file": FILE,
    "virtual_directory": 2,
    "node": 3,
    "credential": 4,
    "agent_status": 5,
    "utilization_snapshot": 6,
    "label_assignment": 7,
    "label_rule": 8,
    "plugin": 9,
    "annotation": 10,
    "notification": 11,
}
TYPE_NAMES: Final[dict[int, str]] = {number: name for name, number in TYPE_NUMBERS.items()}

SCHEMA: Final = """
-- Facts about the database itself: instance_id, schema_version, revs_limit.
CREATE TABLE meta(
    key TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

-- Node ids as small numbers.
CREATE TABLE nodes(
    node INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL UNIQUE
);

-- MIME types as small numbers.
CREATE TABLE mimes(
    mime INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- Every directory that holds, or once held, an indexed file, with all its ancestors. Rows are never removed nor
-- renumbered, so a directory number may be remembered for ever.
CREATE TABLE directories(
    dir INTEGER PRIMARY KEY,
    node INTEGER NOT NULL,              -- nodes.node
    parent INTEGER,                     -- directories.dir; NULL for a node's "/"
    path TEXT NOT NULL,                 -- export path in written form
    direct INTEGER NOT NULL DEFAULT 0,  -- shown files directly in it
    below INTEGER NOT NULL DEFAULT 0,   -- shown files in it and beneath it
    UNIQUE(node, path)
);
CREATE INDEX directories_by_parent ON directories(parent);

-- One row per document, whatever its type.
CREATE TABLE documents(
    doc INTEGER PRIMARY KEY,   -- the document's number here; dense, never reused, not replicated
    id_hash INTEGER NOT NULL,  -- first 63 bits of sha256(_id); its first 53 bits are the derived inode
    type NOT NULL,             -- number of the type (TYPE_NUMBERS), or its name when this version does not know it
    node INTEGER NOT NULL,     -- nodes.node of the id when key is a uuid, else 0
    key NOT NULL,              -- BLOB: the uuid of `file::{node_id}::{uuid}`; TEXT: the whole _id
    seq INTEGER NOT NULL,      -- update sequence of the latest change
    gen INTEGER NOT NULL,      -- winning revision: the number before the dash
    rev NOT NULL,              -- winning revision: BLOB of 16 bytes for 32 hex digits, else TEXT
    flags INTEGER NOT NULL,    -- DELETED, LEAVES, CONFLICT, ... above
    shown INTEGER,             -- 1 for an active file that listings and searches show, else NULL
    dir INTEGER,               -- files: directories.dir of the export parent
    name TEXT,                 -- files: last component of the export path
    size INTEGER,              -- files: bytes
    mtime INTEGER,             -- files: microseconds since the epoch
    mime INTEGER,              -- files: mimes.mime
    extra BLOB,                -- JSON of what the columns do not hold; the whole body when flags has WHOLE
    tree BLOB                  -- packed revision tree (revtree.pack); NULL while the winner is all that is known
);
CREATE INDEX documents_by_hash ON documents(id_hash);
CREATE UNIQUE INDEX documents_by_seq ON documents(seq);
CREATE INDEX files_by_directory ON documents(dir, name) WHERE shown = 1;
CREATE INDEX files_inactive ON documents(dir, name) WHERE shown IS NULL AND dir IS NOT NULL;
CREATE INDEX files_by_mtime ON documents(mtime) WHERE shown = 1;
CREATE INDEX files_by_mime ON documents(mime) WHERE shown = 1;
CREATE INDEX files_by_size ON documents(size) WHERE shown = 1 AND size >= 16777216;

-- Trigrams of the folded names (search_text.fold) of shown files; holds no text, so a row is removed by naming it
-- again.
CREATE VIRTUAL TABLE names USING fts5(
    name, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1'
);

-- Leaves that are not the winner.
CREATE TABLE leaves(
    doc INTEGER NOT NULL,
    gen INTEGER NOT NULL,
    rev TEXT NOT NULL,
    deleted INTEGER NOT NULL,  -- 1 for a tombstone
    body BLOB NOT NULL,        -- JSON without the fields that begin with an underscore
    PRIMARY KEY(doc, gen, rev)
) WITHOUT ROWID;

-- Indexes of documents that are not files (indexes.keys): up to three leading fields each.
CREATE TABLE lookup(
    kind INTEGER NOT NULL,  -- number of the index
    a NOT NULL, b NOT NULL, c NOT NULL,
    doc INTEGER NOT NULL,
    PRIMARY KEY(kind, a, b, c, doc)
) WITHOUT ROWID;

-- Documents whose inode is not the one derived from their id.
CREATE TABLE inodes(
    inode INTEGER NOT NULL,
    doc INTEGER NOT NULL,
    PRIMARY KEY(inode, doc)
) WITHOUT ROWID;
CREATE INDEX inodes_by_doc ON inodes(doc);

-- Documents held back because they fail their schema, and why.
CREATE TABLE quarantine(
    doc INTEGER PRIMARY KEY,
    reason TEXT NOT NULL
);

-- How many documents of each type there are.
CREATE TABLE counts(
    type PRIMARY KEY,                        -- as documents.type
    live INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,      -- tombstones
    quarantined INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- `_local` documents: never replicated.
CREATE TABLE locals(
    id TEXT PRIMARY KEY,   -- without the `_local/` prefix
    rev INTEGER NOT NULL,  -- counts writes; shown as `0-{rev}`
    body BLOB NOT NULL
) WITHOUT ROWID;

-- What recognizes a local file after a move. Never replicated.
CREATE TABLE file_identity(
    doc INTEGER PRIMARY KEY,
    device INTEGER NOT NULL,
    number INTEGER NOT NULL,  -- inode number on that device
    fingerprint TEXT
);
CREATE INDEX file_identity_by_number ON file_identity(number, device);
"""


def connect(path: Path, *, cache_kib: int, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode. A reader opens the file like the writer and forbids itself to write:
    ``mode=ro`` fails on a write-ahead log that has to be created."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute(f"PRAGMA cache_size = -{cache_kib}")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA temp_store = MEMORY")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables in a new file; refuse a file of another version."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            for statement in _statements(SCHEMA):
                connection.execute(statement)
            connection.execute("INSERT INTO names(names, rank) VALUES('automerge', 8)")
            facts = {"instance_id": secrets.token_hex(16), "schema_version": SCHEMA_VERSION, "revs_limit": 1000}
            connection.executemany("INSERT INTO meta(key, value) VALUES(?, ?)", facts.items())
        found = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0]
        if found != SCHEMA_VERSION:
            raise MosaicError(
                f"The replica has layout {found}; this version of MosaicFS reads layout {SCHEMA_VERSION}."
            )
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one, so that they can share a transaction."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current.strip())
            current = ""
    return statements
