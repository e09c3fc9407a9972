"""The cache's index: a small SQLite file with a thread of its own, whose loss costs fetching again and nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from mosaicfs_core.content.cache.layout import INDEX, Row, in_directory
from mosaicfs_core.content.cache.pins import PinRow
from mosaicfs_core.content.cache.schema import SCHEMA, UPGRADE, VERSION

logger = logging.getLogger(__name__)
T = TypeVar("T")

_COLUMNS: Final = ", ".join(Row._fields)
_IS_PINNED: Final = "EXISTS(SELECT 1 FROM pins WHERE pins.cache_key = entries.cache_key)"
_INSERT: Final = f"INSERT OR REPLACE INTO entries ({_COLUMNS}) VALUES ({', '.join('?' * len(Row._fields))})"
_MARK: Final = f"UPDATE entries SET pinned = {_IS_PINNED} WHERE cache_key = ?"

PATIENCE_S: Final = 5.0
"""How long the first attempt to open the file waits for whoever has it locked."""
RETRY_S: Final = 5.0
"""How long after an attempt to open it that failed the next one is made, which does not wait."""


class IndexLost(Exception):
    """The index file is damaged, deleted or replaced: what it says is not to be used."""


class IndexClosed(Exception):
    """The index is not open, since the file is locked or the disk fails: what it says is not known at the moment."""


class Index:
    """The index; ``generation`` counts how often it was begun or opened. Methods that end in ``_now`` block and
    run in its thread."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / INDEX
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache-index")
        self._db: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._next_attempt = 0.0
        self._closed = False
        self.generation = 0

    async def open(self) -> tuple[list[Row], list[PinRow]]:
        """Open the file, or begin a new one in the place of a damaged one or of another schema's; all entries and pins.

        Raises ``sqlite3.OperationalError`` when it is locked or cannot be read now: that says nothing against it.
        """
        return await self._submit(self._open_now)

    async def reset(self) -> None:
        """Begin a new, empty index."""
        await self._submit(self._reset_now)

    async def give_up(self) -> None:
        """Close the file until the next attempt to open it."""
        await self._submit(self._close_now)

    async def close(self) -> None:
        """Close the file and end the thread."""
        self._closed = True
        await self._submit(self._close_now)
        self._thread.shutdown()

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._db is not None

    @property
    def due(self) -> bool:
        """Whether it is not open and the next attempt to open it may be made."""
        return self._db is None and not self._closed and time.monotonic() >= self._next_attempt

    @property
    def lost(self) -> bool:
        """Whether the file at its path is not the one that is open any more."""
        if self._db is None:
            return False
        try:
            facts = os.stat(self._file)
        except OSError:
            return True
        return (facts.st_dev, facts.st_ino) != self._inode

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one transaction in the index's thread. Raises ``IndexLost``, ``IndexClosed``, or
        ``sqlite3.OperationalError`` when the disk is full or fails, upon which nothing has changed."""
        return await self._submit(lambda: self._run_now(work))

    # What is asked of it.

    async def rows(self) -> list[Row]:
        """All entries."""
        return await self.run(_rows)

    async def has_entries(self) -> bool:
        """Whether there is any entry."""
        return await self.run(lambda db: db.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is not None)

    async def find(self, key: str) -> Row | None:
        """The entry of a file."""
        return await self.run(lambda db: find_row(db, key))

    async def insert(self, row: Row, checksums: Mapping[int, int]) -> None:
        """Add an entry in place of any other of the same key."""

        def work(db: sqlite3.Connection) -> None:
            former = db.execute("SELECT id FROM entries WHERE cache_key = ?", (row.cache_key,)).fetchall()
            db.executemany("DELETE FROM blocks WHERE entry = ?", former)
            db.execute(_INSERT, row)
            db.execute(_MARK, (row.cache_key,))
            _put_checksums(db, row.id, checksums)

        await self.run(work)

    async def put_blocks(
        self, identifier: int, block_map: bytes, cached_bytes: int, checksums: Mapping[int, int]
    ) -> None:
        """Note which blocks an entry has now, and the checksums of the new ones. An entry that is gone stays gone."""

        def work(db: sqlite3.Connection) -> None:
            changed = db.execute(
                "UPDATE entries SET block_map = ?, cached_bytes = ? WHERE id = ?", (block_map, cached_bytes, identifier)
            )
            if changed.rowcount:
                _put_checksums(db, identifier, checksums)

        await self.run(work)

    async def checksums(self, identifier: int, start: int, stop: int) -> dict[int, int]:
        """The checksums of an entry's blocks by number, as far as they are known."""
        return await self.run(lambda db: find_checksums(db, identifier, start, stop))

    async def touch(self, identifier: int, last_access: int) -> None:
        """An entry was used."""
        await self.run(
            lambda db: db.execute("UPDATE entries SET last_access = ? WHERE id = ?", (last_access, identifier))
        )

    async def delete(self, identifiers: Iterable[int]) -> None:
        """Remove entries."""
        given = [(identifier,) for identifier in identifiers]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM entries WHERE id = ?", given)
            db.executemany("DELETE FROM blocks WHERE entry = ?", given)

        await self.run(work)

    async def to_go(self, lacking: int, staying: Collection[int]) -> list[Row]:
        """Of the entries that nobody has pinned those used longest ago, as many as have ``lacking`` bytes together;
        none when all have not. ``staying`` are the ids of entries to pass over."""
        return await self.run(lambda db: _to_go(db, lacking, staying))

    async def of_files(self, file_ids: Iterable[str]) -> list[Row]:
        """The entries of files by their ids."""
        sql = f"SELECT {_COLUMNS} FROM entries WHERE file_id = ?"
        given = list(file_ids)
        return await self.run(lambda db: [Row(*row) for one in given for row in db.execute(sql, (one,))])

    async def find_many(self, keys: Iterable[str]) -> dict[str, Row]:
        """The entries of files by their keys, as far as there are any."""
        sql = f"SELECT {_COLUMNS} FROM entries WHERE cache_key IN (SELECT value FROM json_each(?))"
        given = json.dumps(list(keys))
        return await self.run(lambda db: {row[1]: Row(*row) for row in db.execute(sql, (given,))})

    async def unpinned_bytes(self) -> int:
        """The bytes of the entries that nobody has pinned."""
        sql = "SELECT ifnull(sum(cached_bytes), 0) FROM entries WHERE pinned = 0"
        return await self.run(lambda db: int(db.execute(sql).fetchone()[0]))

    async def put_pins(self, pins: Iterable[PinRow]) -> None:
        """Add pins."""
        given = list(pins)
        sql = "INSERT OR REPLACE INTO pins (holder, cache_key, node_id, export_path) VALUES (?, ?, ?, ?)"

        def work(db: sqlite3.Connection) -> None:
            db.executemany(sql, given)
            db.executemany(_MARK, [(pin.cache_key,) for pin in given])

        await self.run(work)

    async def delete_pin(self, holder: str, key: str) -> None:
        """Remove a pin."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM pins WHERE cache_key = ? AND holder = ?", (key, holder))
            db.execute(_MARK, (key,))

        await self.run(work)

    async def delete_pins(self, holder: str) -> None:
        """Remove all pins of a holder."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM pins WHERE holder = ?", (holder,))
            db.execute(f"UPDATE entries SET pinned = 0 WHERE pinned = 1 AND NOT {_IS_PINNED}")

        await self.run(work)

    # In its thread.

    async def _submit(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _run_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is None:
            raise IndexClosed("the index is not open")
        try:
            with self._db:
                self._db.execute("BEGIN")
                return work(self._db)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
                raise IndexLost(str(error)) from error
            raise
        except (sqlite3.DatabaseError, TypeError) as error:
            raise IndexLost(str(error)) from error

    def _open_now(self) -> tuple[list[Row], list[PinRow]]:
        patience = PATIENCE_S if not self._next_attempt else 0.0
        self._next_attempt = time.monotonic() + RETRY_S
        try:
            db = self._connect(patience)
            return _rows(db), _pins(db)
        except (sqlite3.DatabaseError, IndexLost) as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                self._close_now()
                raise
            logger.warning("the cache's index is damaged and begins anew: %s", error, extra={"operation": "cache"})
        self._reset_now()
        return [], []

    def _reset_now(self) -> None:
        self._close_now()
        self._next_attempt = time.monotonic() + RETRY_S
        for name in (INDEX, f"{INDEX}-wal", f"{INDEX}-shm"):
            (self._file.parent / name).unlink(missing_ok=True)
        self._connect(PATIENCE_S)

    def _connect(self, patience_s: float) -> sqlite3.Connection:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        os.close(in_directory(self._file.parent, lambda: os.open(self._file, flags, 0o600)))
        connection = sqlite3.connect(self._file, timeout=patience_s, isolation_level=None, check_same_thread=False)
        try:
            # Alone with the file, SQLite maps no shared memory, whose truncation by others would kill the process.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            # A commit that a power cut takes back costs fetching its blocks again.
            connection.execute("PRAGMA synchronous = NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 1:
                connection.executescript(UPGRADE)
            elif version not in (0, VERSION):
                raise IndexLost(f"its schema is of version {version}")
            connection.executescript(SCHEMA)
            if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise IndexLost("its pages do not agree")
            facts = os.stat(self._file)
        except (sqlite3.Error, IndexLost, OSError):
            connection.close()
            raise
        self._db = connection
        self.generation += 1
        self._inode = (facts.st_dev, facts.st_ino)
        return connection

    def _close_now(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether an error is about what the file says (pages, or a schema that ours does not fit), not about who has it
    locked or about the disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _rows(db: sqlite3.Connection) -> list[Row]:
    return [Row(*row) for row in db.execute(f"SELECT {_COLUMNS} FROM entries")]


def _pins(db: sqlite3.Connection) -> list[PinRow]:
    return [PinRow(*row) for row in db.execute("SELECT holder, cache_key, node_id, export_path FROM pins")]


def _to_go(db: sqlite3.Connection, lacking: int, staying: Collection[int]) -> list[Row]:
    # The index ``entries_to_go`` has all that this looks at, in this order.
    chosen: list[int] = []
    for identifier, size in db.execute("SELECT id, cached_bytes FROM entries WHERE pinned = 0 ORDER BY last_access"):
        if identifier not in staying:
            chosen.append(identifier)
            lacking -= size
            if lacking <= 0:
                sql = f"SELECT {_COLUMNS} FROM entries WHERE id = ?"
                return [Row(*row) for one in chosen for row in db.execute(sql, (one,))]
    return []


def find_row(db: sqlite3.Connection, key: str) -> Row | None:
    """The row of a key, in any connection."""
    row = db.execute(f"SELECT {_COLUMNS} FROM entries WHERE cache_key = ?", (key,)).fetchone()
    return None if row is None else Row(*row)


def find_checksums(db: sqlite3.Connection, identifier: int, start: int, stop: int) -> dict[int, int]:
    """The checksums of an entry's blocks from ``start`` up to ``stop``, in any connection."""
    sql = "SELECT block, checksum FROM blocks WHERE entry = ? AND block >= ? AND block < ?"
    return dict(db.execute(sql, (identifier, start, stop)).fetchall())


def _put_checksums(db: sqlite3.Connection, identifier: int, checksums: Mapping[int, int]) -> None:
    rows = [(identifier, block, value) for block, value in checksums.items()]
    db.executemany("INSERT OR REPLACE INTO blocks (entry, block, checksum) VALUES (?, ?, ?)", rows)
