"""The rows that one batch writes, by table, so that each table is written in one go."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import Any

from . import indexes
from .revisions import encode
from .revtree import Rev
from .rows import COLUMNS
from .schema import DELETED, FILE, QUARANTINED
from .search_text import fold
from .statements import run_rows
from .states import Leaf

_INSERT = f"INSERT INTO documents({COLUMNS}) VALUES "
_UPDATED = ["type", *COLUMNS.split(", ")[5:]]
_UPDATE_INDEXED = "UPDATE documents SET " + ", ".join(f"{name} = ?" for name in _UPDATED) + " WHERE doc = ?"
_UNINDEXED = ("seq", "gen", "rev", "flags", "extra", "tree")
_UPDATE = "UPDATE documents SET " + ", ".join(f"{name} = ?" for name in _UNINDEXED) + " WHERE doc = ?"


class Changes:
    """The rows that one batch writes, by table, so that each table is written in one go."""

    def __init__(self) -> None:
        self._inserted: list[tuple[Any, ...]] = []
        self._updated: list[tuple[Any, ...]] = []
        self._updated_indexed: list[tuple[Any, ...]] = []
        self._names_gone: list[tuple[Any, ...]] = []
        self._names: list[tuple[Any, ...]] = []
        self._keys_gone: list[tuple[Any, ...]] = []
        self._keys: list[tuple[Any, ...]] = []
        self._inodes_gone: list[tuple[int]] = []
        self._inodes: list[tuple[int, int]] = []
        self._quarantine_gone: list[tuple[int]] = []
        self._quarantine: list[tuple[int, str]] = []
        self._leaves_gone: list[tuple[int]] = []
        self._leaves: list[tuple[Any, ...]] = []
        self._counts: defaultdict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])

    def new_file(self, row: tuple[Any, ...], folded: str) -> None:
        """A live file that was not there; ``folded`` is its name as searches see it."""
        self._inserted.append(row)
        self._counts[FILE][0] += 1
        if row[9]:
            self._names.append((row[0], folded))

    def row(self, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> None:
        if old is None:
            self._inserted.append(new)
        elif old[9:15] == new[9:15] and old[2] == new[2]:
            self._updated.append((*new[5:9], new[15], new[16], new[0]))
        else:
            self._updated_indexed.append((new[2], *new[5:], new[0]))

    def names(self, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> None:
        before = old[11] if old is not None and old[9] else None
        after = new[11] if new[9] else None
        if before != after:
            if before is not None:
                self._names_gone.append(("delete", new[0], fold(before)))
            if after is not None:
                self._names.append((new[0], fold(after)))

    def count(self, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> None:
        if old is not None:
            self._counts[old[2]][_category(old[8])] -= 1
        self._counts[new[2]][_category(new[8])] += 1

    def keys(self, doc: int, before: set[indexes.Key], after: set[indexes.Key]) -> None:
        if before != after:
            self._keys_gone.extend((*key, doc) for key in before - after)
            self._keys.extend((*key, doc) for key in after - before)

    def inode(self, doc: int, inode: int | None) -> None:
        self._inodes_gone.append((doc,))
        if inode is not None:
            self._inodes.append((inode, doc))

    def quarantine(self, doc: int, reason: str | None) -> None:
        self._quarantine_gone.append((doc,))
        if reason is not None:
            self._quarantine.append((doc, reason))

    def leaves(self, doc: int, others: dict[Rev, Leaf]) -> None:
        self._leaves_gone.append((doc,))
        for rev, leaf in others.items():
            self._leaves.append((doc, rev[0], rev[1], int(leaf.deleted), encode(leaf.body)))

    def run(self, connection: sqlite3.Connection) -> None:
        """Write it all."""
        run_rows(connection, _INSERT, self._inserted)
        _run_each(connection, _UPDATE, self._updated)
        _run_each(connection, _UPDATE_INDEXED, self._updated_indexed)
        run_rows(connection, "INSERT INTO names(names, rowid, name) VALUES ", self._names_gone)
        run_rows(connection, "INSERT INTO names(rowid, name) VALUES ", self._names)
        _run_each(
            connection, "DELETE FROM lookup WHERE kind = ? AND a = ? AND b = ? AND c = ? AND doc = ?", self._keys_gone
        )
        run_rows(connection, "INSERT OR IGNORE INTO lookup(kind, a, b, c, doc) VALUES ", self._keys)
        _run_each(connection, "DELETE FROM inodes WHERE doc = ?", self._inodes_gone)
        run_rows(connection, "INSERT INTO inodes(inode, doc) VALUES ", self._inodes)
        _run_each(connection, "DELETE FROM quarantine WHERE doc = ?", self._quarantine_gone)
        run_rows(connection, "INSERT INTO quarantine(doc, reason) VALUES ", self._quarantine)
        _run_each(connection, "DELETE FROM leaves WHERE doc = ?", self._leaves_gone)
        run_rows(connection, "INSERT INTO leaves(doc, gen, rev, deleted, body) VALUES ", self._leaves)
        counts = [(column, *figures) for column, figures in self._counts.items() if any(figures)]
        run_rows(
            connection,
            "INSERT INTO counts(type, live, deleted, quarantined) VALUES ",
            counts,
            " ON CONFLICT(type) DO UPDATE SET live = live + excluded.live, deleted = deleted + excluded.deleted, "
            "quarantined = quarantined + excluded.quarantined",
        )


def _category(flags: int) -> int:
    """The place of a document in ``counts``: live, deleted, quarantined."""
    return 2 if flags & QUARANTINED else flags & DELETED


def _run_each(connection: sqlite3.Connection, sql: str, rows: list[Any]) -> None:
    if rows:
        connection.executemany(sql, rows)
