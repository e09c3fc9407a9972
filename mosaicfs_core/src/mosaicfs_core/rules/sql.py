"""Conditions over the indexed columns of files, for chains that the store can answer or narrow down itself.

The columns are named ``size``, ``mtime`` (microseconds), ``mime_type`` (text or NULL) and ``node_id``; who runs the SQL
provides them, by a view or by textual replacement. A condition is never NULL, so that ``NOT`` may be put before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec


class SqlFilter(msgspec.Struct, frozen=True):
    """A WHERE expression with its parameters. ``exact``: it is the verdict itself; otherwise only necessary for it."""

    where: str
    parameters: tuple[int | str, ...]
    exact: bool


Sql: TypeAlias = "tuple[str, tuple[int | str, ...]]"
Condition: TypeAlias = Callable[[int], "Sql | None"]


def range_condition(column: str, low: int | None, high: int | None) -> Sql:
    """``low <= column <= high``, either end open."""
    parts = ([f"{column} >= ?"] if low is not None else []) + ([f"{column} <= ?"] if high is not None else [])
    return " AND ".join(parts), tuple(bound for bound in (low, high) if bound is not None)


def node_condition(node_ids: Sequence[str]) -> Sql:
    """The node is one of them."""
    return f"node_id IN ({', '.join('?' * len(node_ids))})", tuple(node_ids)


def mime_condition(globs: Sequence[str]) -> Sql | None:
    """The MIME type matches one of the globs, or None when a glob says more than SQL's own."""
    if any(not set(glob).isdisjoint("[]{}\\") for glob in globs):
        return None
    tests = " OR ".join(["lower(mime_type) GLOB ?"] * len(globs))
    return f"mime_type IS NOT NULL AND ({tests})", tuple(glob.lower() for glob in globs)


def negated(condition: Sql) -> Sql:
    """The opposite."""
    return f"NOT ({condition[0]})", condition[1]
