"""Statements over many rows.

The interpreter's lock is given up at every step of a statement, and while another thread computes, getting it back
takes up to the switch interval (5 ms). A writer that steps once per row then writes 200 rows a second. So rows are
handed over by the hundreds: one statement, one step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

VALUES = 8_500
"""Values in one statement: 500 rows of documents. SQLite takes 32,766."""
MOST_ROWS = 1_000


@cache
def _text(head: str, columns: int, rows: int, tail: str) -> str:
    one = "(" + ",".join("?" * columns) + ")"
    return head + ",".join([one] * rows) + tail


def run_rows(connection: sqlite3.Connection, head: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
    """Execute ``head`` + ``(?, …), (?, …)`` + ``tail`` for all the rows, which are of one length."""
    if not rows:
        return
    columns = len(rows[0])
    step, start = min(MOST_ROWS, VALUES // columns), 0
    while start < len(rows):
        while step > len(rows) - start:
            step //= 2
        values = tuple(chain.from_iterable(rows[start : start + step]))
        connection.execute(_text(head, columns, step, tail), values)
        start += step
