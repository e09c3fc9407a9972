"""Documents in raw order of their ids.

Files are keyed by uuid, the others by their whole id, so the order is a merge of one stream per node and one of the
rest. The index is made when ``all_docs`` is first asked for: nothing in MosaicFS itself needs it, and every write
would pay.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
from collections.abc import Iterator
from typing import Any

from .rows import COLUMNS, Names, id_of

INDEX = "CREATE INDEX IF NOT EXISTS documents_by_id ON documents(node, key)"
BATCH = 500

_NEXT = f"SELECT {COLUMNS} FROM documents WHERE node = ? AND key >= ? ORDER BY key LIMIT {BATCH}"
_AFTER = f"SELECT {COLUMNS} FROM documents WHERE node = ? AND key > ? ORDER BY key LIMIT {BATCH}"
_hex_prefix = re.compile(r"[0-9a-f-]*")


def ordered_rows(
    connection: sqlite3.Connection, names: Names, start: str, end: str | None, *, files: bool = True
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Id and row (``COLUMNS``) of every document with ``start <= id <= end``, deleted ones too; without ``files``,
    those keyed by uuid are left out."""
    streams = [_stream(connection, names, 0, start)]
    for node, node_id in connection.execute("SELECT node, node_id FROM nodes").fetchall() if files else ():
        prefix = f"file::{node_id}::"
        if start <= prefix:
            streams.append(_stream(connection, names, node, b""))
        elif start.startswith(prefix):
            streams.append(_stream(connection, names, node, _uuid_floor(start[len(prefix) :])))
    for identifier, row in heapq.merge(*streams, key=lambda pair: pair[0]):
        if end is not None and identifier > end:
            return
        if identifier >= start:
            yield identifier, row


def _uuid_floor(text: str) -> bytes:
    """The bytes that begin every uuid whose text is not below ``text``, or some below it."""
    match = _hex_prefix.match(text)
    digits = match.group().replace("-", "") if match else ""
    return bytes.fromhex(digits[: len(digits) // 2 * 2])[:16]


def _stream(
    connection: sqlite3.Connection, names: Names, node: int, first: str | bytes
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    rows = connection.execute(_NEXT, (node, first)).fetchall()
    while rows:
        for row in rows:
            yield id_of(row, names), row
        rows = connection.execute(_AFTER, (node, rows[-1][4])).fetchall()
