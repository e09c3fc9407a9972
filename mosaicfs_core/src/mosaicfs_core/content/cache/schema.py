"""The schema of ``index.db``. One writer, the agent; the mount reads it while the agent is down.

An entry stands for one version of one file. What its data file holds is said twice: ``block_map`` lists the blocks
(pairs of little-endian u64, see ``content/blockmap.py``), and ``blocks`` has the checksum of each. A block counts only
when both have it *and* the bytes on disk have that checksum, which every process finds out for itself before it serves
the block for the first time. That is why neither data nor index are ever flushed: bytes that a crash has lost, torn
or exchanged do not pass, and are fetched again.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 2

UPGRADE: Final = """
BEGIN;
ALTER TABLE entries ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
UPDATE entries SET pinned = 1 WHERE cache_key IN (SELECT cache_key FROM pins);
DROP INDEX entries_by_access;
PRAGMA user_version = 2;
COMMIT;
"""
"""What makes the tables of version 1 those of this one, before ``SCHEMA``."""

SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS entries (
    id           INTEGER PRIMARY KEY,   -- names the data file, together with cache_key
    cache_key    TEXT NOT NULL UNIQUE,  -- sha256 of "node_id::export_path", hexadecimal
    node_id      TEXT NOT NULL,         -- the owner
    export_path  TEXT NOT NULL,
    file_id      TEXT NOT NULL,         -- node_id.uuid
    file_size    INTEGER NOT NULL,      -- bytes, of the document and of the owner's file
    mtime        INTEGER NOT NULL,      -- microseconds, of the document: another one makes the entry invalid
    etag         TEXT NOT NULL,         -- the owner's validator: every request names it (If-Match)
    sha256       BLOB,                  -- of the whole file, where it was verified
    block_size   INTEGER NOT NULL,      -- bytes
    block_map    BLOB NOT NULL,
    cached_bytes INTEGER NOT NULL,      -- bytes of the blocks there are
    last_access  INTEGER NOT NULL,      -- microseconds; when it was closed last, or made
    source       TEXT NOT NULL,         -- remote, or plugin:NAME
    pinned       INTEGER NOT NULL DEFAULT 0  -- 1 when pins has its key
);
CREATE INDEX IF NOT EXISTS entries_to_go ON entries (pinned, last_access, cached_bytes);
CREATE INDEX IF NOT EXISTS entries_by_file ON entries (file_id);
CREATE TABLE IF NOT EXISTS blocks (
    entry    INTEGER NOT NULL,
    block    INTEGER NOT NULL,          -- number, from 0
    checksum INTEGER NOT NULL,          -- CRC-32 of the block's bytes
    PRIMARY KEY (entry, block)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pins (
    holder      TEXT NOT NULL,          -- the plugin instance for which the file's entry is never evicted
    cache_key   TEXT NOT NULL,          -- as in entries; there may be no entry (yet)
    node_id     TEXT NOT NULL,
    export_path TEXT NOT NULL,
    PRIMARY KEY (cache_key, holder)
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
