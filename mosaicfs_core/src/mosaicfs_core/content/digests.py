"""The digests that this node has computed of its own files, by path and version, in a small table.

Whoever receives a whole file checks it against the owner's SHA-256. The owner computes it while it streams the file the
first time and keeps it here, under path and validator (``etag_of``), so that it is computed once for each version.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from mosaicfs_core.content.source import etag_of

logger = logging.getLogger(__name__)

KEPT: Final = 200_000
_CHUNK: Final = 4 << 20
# ``used`` orders the rows by age.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS digests (
    path TEXT NOT NULL, etag TEXT NOT NULL, sha256 BLOB NOT NULL, used INTEGER PRIMARY KEY AUTOINCREMENT,
    UNIQUE (path, etag)
);
"""


class DigestBook:
    """The table. Callable from any thread. Losing it costs nothing but computing again, so it is never flushed."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = file
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        try:
            self._db = _connect(file)
        except sqlite3.Error as error:
            logger.warning("the table of digests is damaged and begins anew: %s", error)
            for name in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm"))):
                name.unlink(missing_ok=True)
            self._db = _connect(file)

    def get(self, path: str, etag: str) -> bytes | None:
        """The digest of a version of a file, when it is known."""
        with self._lock:
            if self._db is None:
                return None
            try:
                row = self._db.execute(
                    "SELECT sha256 FROM digests WHERE path = ? AND etag = ?", (path, etag)
                ).fetchone()
            except sqlite3.Error as error:
                logger.warning("a digest cannot be looked up: %s", error)
                return None
        return bytes(row[0]) if row else None

    def put(self, path: str, etag: str, sha256: bytes) -> None:
        """Remember a digest; the oldest make room. A table that cannot be written is logged and otherwise ignored."""
        with self._lock:
            if self._db is None:
                return
            try:
                made = self._db.execute(
                    "INSERT OR REPLACE INTO digests (path, etag, sha256) VALUES (?, ?, ?)", (path, etag, sha256)
                )
                self._db.execute("DELETE FROM digests WHERE used <= ?", ((made.lastrowid or 0) - KEPT,))
            except sqlite3.Error as error:
                logger.warning("a digest cannot be kept: %s", error)

    def close(self) -> None:
        """Close the table."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None


def sha256_of(descriptor: int) -> bytes | None:
    """The digest of an open file, by reading it; None when it changed meanwhile. Blocks. Raises OSError."""
    before = os.fstat(descriptor)
    digest, offset = hashlib.sha256(), 0
    while part := os.pread(descriptor, _CHUNK, offset):
        digest.update(part)
        offset += len(part)
    return digest.digest() if offset == before.st_size and unchanged(descriptor, etag_of(before)) else None


def digest_of(data: bytes | bytearray) -> bytes:
    """The SHA-256 of bytes. Blocks for as long as there are many."""
    return hashlib.sha256(data).digest()


def unchanged(descriptor: int, etag: str) -> bool:
    """Whether an open file still is the version that ``etag`` names."""
    with suppress(OSError):
        return etag_of(os.fstat(descriptor)) == etag
    return False


def _connect(file: Path) -> sqlite3.Connection:
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # no shared memory that others could truncate
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_SCHEMA)
        connection.execute("SELECT COUNT(*) FROM digests").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection
