"""Rows of ``jobs`` inside a transaction: read, written and removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from mosaicfs_core.jobs.schema import IN_FLIGHT, JOB_COLUMNS
from mosaicfs_core.store import WriteTransaction

_INSERT = f"INSERT INTO jobs({JOB_COLUMNS}) VALUES "
_DELETE = "DELETE FROM jobs WHERE instance = ? AND doc = ? AND sequence = ?"
_OF_FILES = f"""SELECT {JOB_COLUMNS} FROM json_each(?2) AS wanted
    CROSS JOIN jobs ON jobs.instance = ?1 AND jobs.doc = wanted.value"""
_ONE = f"SELECT {JOB_COLUMNS} FROM jobs WHERE instance = ? AND doc = ? AND sequence = ?"
_LEDGER = """SELECT l.doc FROM json_each(?2) AS wanted
    CROSS JOIN job_ledger l ON l.instance = ?1 AND l.doc = wanted.value"""


class Row(NamedTuple):
    """A row of ``jobs``; see ``schema`` for the columns."""

    instance: int
    doc: int
    sequence: int
    event: int
    status: int
    attempts: int = 0
    due: int = 0
    delivered: int = 0
    created_at: int = 0
    previous: str | None = None
    record: bytes | None = None
    last_error: str | None = None
    postponed: int = 0


def numbers(docs: Iterable[int]) -> str:
    """Numbers as SQL's ``json_each`` takes them."""
    return msgspec.json.encode(list(docs)).decode()


def insert(tx: WriteTransaction, rows: Sequence[Row]) -> None:
    """Add rows."""
    tx.execute_many(_INSERT, rows)


def remove(tx: WriteTransaction, row: Row) -> None:
    """Remove one."""
    tx.execute(_DELETE, (row.instance, row.doc, row.sequence))


def one(tx: WriteTransaction, instance: int, doc: int, sequence: int) -> Row | None:
    """A row by its key."""
    row = tx.execute(_ONE, (instance, doc, sequence)).fetchone()
    return None if row is None else Row(*row)


def of_files(tx: WriteTransaction, instance: int, docs: str) -> tuple[dict[int, Row], dict[int, Row]]:
    """An instance's jobs of some files (``numbers``): those that wait, failed ones among them, and those in flight."""
    waiting: dict[int, Row] = {}
    flying: dict[int, Row] = {}
    for values in tx.execute(_OF_FILES, (instance, docs)):
        row = Row(*values)
        (flying if row.status == IN_FLIGHT else waiting)[row.doc] = row
    return waiting, flying


def in_ledger(tx: WriteTransaction, instance: int, docs: str) -> set[int]:
    """Those of some files that an instance's ledger has."""
    return {doc for (doc,) in tx.execute(_LEDGER, (instance, docs))}
