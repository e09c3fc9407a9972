"""Local documents and compaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Stale
from . import revtree
from .revisions import encode
from .schema import DELETED
from .transaction import WriteTransaction

if TYPE_CHECKING:
    from .store import Store

PRUNE_BATCH = 2_000
MERGE_PAGES = 2_000
"""Pages of the name index written by one step of merging it: some tens of milliseconds."""
_PAGE_FIGURES = ("freelist_count", "page_count", "page_size")


def local_put(tx: WriteTransaction, name: str, document: Mapping[str, Any]) -> str:
    """Write a ``_local`` document; ``_rev`` must be the present one, absent for a new one."""
    present = _local_rev(tx, name)
    given = document.get("_rev")
    if given != (None if present is None else f"0-{present}"):
        raise Stale(f"_local/{name} is at {'no revision' if present is None else f'0-{present}'}, not at {given}")
    number = (present or 0) + 1
    body = encode({key: value for key, value in document.items() if not key.startswith("_")})
    tx.execute("INSERT OR REPLACE INTO locals(id, rev, body) VALUES(?, ?, ?)", (name, number, body))
    return f"0-{number}"


def local_delete(tx: WriteTransaction, name: str, rev: str) -> None:
    """Remove a ``_local`` document at this revision."""
    present = _local_rev(tx, name)
    if present is None or rev != f"0-{present}":
        raise Stale(f"_local/{name} is not at {rev}")
    tx.execute("DELETE FROM locals WHERE id = ?", (name,))


def _local_rev(tx: WriteTransaction, name: str) -> int | None:
    row = tx.execute("SELECT rev FROM locals WHERE id = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


async def compact(store: Store) -> None:
    """Prune in steps, so that other writes come in between; then merge the name index and give back free pages."""
    after = 0
    while True:
        last = await store.transaction(partial(_prune_some, after=after))
        if last is None:
            break
        after = last
    pages = -MERGE_PAGES  # the first step, being negative, takes all segments together; the others go on with that
    while await store.transaction(partial(_merge_names, pages=pages)):
        pages = MERGE_PAGES
    await store.vacuum()


def _merge_names(tx: WriteTransaction, pages: int) -> bool:
    """One step of merging the name index; False when there was nothing left to do.

    A step that worked changes more than the row that asks for it (SQLite's documentation of FTS5, "merge").
    """
    before = tx.execute("SELECT total_changes()").fetchone()[0]
    tx.execute("INSERT INTO names(names, rank) VALUES('merge', ?)", (pages,))
    return bool(tx.execute("SELECT total_changes()").fetchone()[0] - before >= 2)


def _prune_some(tx: WriteTransaction, after: int) -> int | None:
    """Prune the trees of the next documents; the last number looked at, or None at the end."""
    limit = tx.revs_limit
    sql = "SELECT doc, gen, rev, flags, tree FROM documents WHERE doc > ? ORDER BY doc LIMIT ?"
    rows = tx.execute(sql, (after, PRUNE_BATCH)).fetchall()
    for doc, generation, digest, flags, packed in rows:
        if packed is not None:
            winner = (generation, revtree.unpack_hash(digest))
            tree = revtree.unpack(packed, winner, bool(flags & DELETED))
            if revtree.prune(tree, limit):
                tx.execute("UPDATE documents SET tree = ? WHERE doc = ?", (revtree.pack(tree), doc))
    return rows[-1][0] if rows else None


def vacuum(connection: sqlite3.Connection) -> None:
    """Outside any transaction. A quarter of the file, and 16 MB, must be free for it to be worth a rewrite."""
    free, pages, size = (int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in _PAGE_FIGURES)
    if free * 4 > pages and free * size > 16 << 20:
        connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def shrink_log(connection: sqlite3.Connection, kept: int) -> bool:
    """Move a write-ahead log of more than ``kept`` bytes into the file, and cut it to nothing; outside any transaction.
    Returns whether it is small now. Waits for nobody: while somebody reads what is in it, it stays."""
    file = connection.execute("PRAGMA database_list").fetchone()[2]
    log = Path(f"{file}-wal")
    if not log.exists() or log.stat().st_size <= kept:
        return True
    patience = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")
    return not busy
