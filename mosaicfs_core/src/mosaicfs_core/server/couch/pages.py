"""Answers in parts of bounded size, each read and written as JSON in one go, in a worker thread.

A page is what one short read yields. Nothing here waits or holds a statement open, so an answer of any length takes as
much memory as one of its pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

import msgspec

from mosaicfs_core.replication.flows import Access
from mosaicfs_core.server.couch.view import Seen, View
from mosaicfs_core.store import Entry, Reader, exchange

PAGE: Final = 500
"""Documents looked at for one page."""
BODIES: Final = 100
"""Documents that are read whole for one part of an answer: they may be heavy."""
SEPARATOR: Final = b",\n"
Matches = Callable[[Mapping[str, Any]], bool]
_encode = msgspec.json.Encoder().encode


P = ParamSpec("P")
T = TypeVar("T")


def of_one_state(function: Callable[Concatenate[Reader, P], T]) -> Callable[Concatenate[Reader, P], T]:
    """All that the function reads is of one moment: a leaf that was there is there when its body is wanted."""

    @wraps(function)
    def within(reader: Reader, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with reader.snapshot():
            return function(reader, *args, **kwargs)

    return within


class Wanted(msgspec.Struct, frozen=True):
    """One document of ``_bulk_get``: at a leaf, or at all of them."""

    id: str
    rev: str | None = None


@dataclass(frozen=True)
class Changes:
    """Which changes to tell, and how much of each."""

    all_leaves: bool = False
    documents: bool = False
    conflicts: bool = False
    matches: Matches | None = None
    ids: tuple[str, ...] | None = None


class ChangesPage(NamedTuple):
    """Rows as JSON objects, the sequence of each, how far was looked, and whether there is more right now."""

    rows: list[bytes]
    seqs: list[int]
    seq: int
    more: bool


@of_one_state
def changes(reader: Reader, view: View, asked: Changes, since: int, limit: int | None) -> ChangesPage:
    """The next changes after ``since``, at most ``limit`` of them."""
    if asked.ids is None:
        entries, seq, more = reader.entries_since(since, PAGE, files=view.access.reads_files)
    else:
        seq, more = max(since, reader.seq()), False
        named = view.entries(reader, asked.ids).values()
        entries = sorted((entry for entry in named if since < entry.seq <= seq), key=lambda entry: entry.seq)
    rows: list[bytes] = []
    seqs: list[int] = []
    for entry in entries:
        row = _change(entry, view, asked)
        if row is not None:
            rows.append(_encode(row))
            seqs.append(entry.seq)
            if limit is not None and len(rows) >= limit:
                return ChangesPage(rows, seqs, entry.seq, more or entry is not entries[-1])
    return ChangesPage(rows, seqs, seq, more)


def _change(entry: Entry, view: View, asked: Changes) -> dict[str, Any] | None:
    """The row of a document, or None when it is not to be told."""
    leaves = view.leaves(entry)
    if not leaves:
        return None
    told: Sequence[Seen] = leaves if asked.all_leaves else leaves[:1]
    if asked.matches is not None:
        told = [leaf for leaf in told if asked.matches(leaf.document or view.document(entry, leaf.rev) or {})]
        if not told:
            return None
    row: dict[str, Any] = {"seq": entry.seq, "id": entry.id, "changes": [{"rev": leaf.rev} for leaf in told]}
    if leaves[0].deleted:
        row["deleted"] = True
    if asked.documents:
        row["doc"] = view.winner(entry, leaves, conflicts=asked.conflicts)
    return row


@of_one_state
def missing(reader: Reader, access: Access, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """The answer of ``_revs_diff``. What the caller may not know of is missing, like what does not exist."""
    told = [name for name in wanted if access.may_learn_revisions(name)]
    return exchange.revs_diff(reader.entries(told), wanted)


@of_one_state
def bulk_get(reader: Reader, view: View, wanted: Sequence[Wanted], *, revs: bool, latest: bool) -> bytes:
    """Rows of ``_bulk_get``."""
    entries = view.entries(reader, list({one.id for one in wanted}))
    rows = []
    for one in wanted:
        named = {"id": one.id} if one.rev is None else {"id": one.id, "rev": one.rev}
        rows.append(_encode(view.bulk_get(entries, named, revs=revs, latest=latest)))
    return SEPARATOR.join(rows)


class ListPage(NamedTuple):
    """Rows of ``_all_docs`` and the id to go on after, None at the end."""

    rows: list[bytes]
    last: str | None


@of_one_state
def listed(
    reader: Reader,
    view: View,
    start: str,
    end: str | None,
    limit: int,
    *,
    after: bool,
    documents: bool,
    conflicts: bool,
) -> ListPage:
    """The next live documents in order of ids, at most ``limit``; begins behind ``start`` when ``after``."""
    entries = reader.entries_in_order(start, end, PAGE, after=after, files=view.access.reads_files)
    rows: list[bytes] = []
    for entry in entries:
        leaves = view.leaves(entry)
        if leaves and not leaves[0].deleted:
            rows.append(_encode(_list_row(entry, view, leaves, documents, conflicts)))
            if len(rows) >= limit:
                return ListPage(rows, entry.id)
    return ListPage(rows, entries[-1].id if len(entries) == PAGE else None)


@of_one_state
def named(reader: Reader, view: View, keys: Sequence[Any], *, documents: bool, conflicts: bool) -> list[bytes]:
    """Rows of ``_all_docs`` for these ids, in order: deleted ones say so, unknown ones too."""
    entries = view.entries(reader, [key for key in keys if isinstance(key, str)])
    rows = []
    for key in keys:
        entry = entries.get(key) if isinstance(key, str) else None
        leaves = [] if entry is None else view.leaves(entry)
        if entry is None or not leaves:
            rows.append(_encode({"key": key, "error": "not_found"}))
        else:
            rows.append(_encode(_list_row(entry, view, leaves, documents, conflicts)))
    return rows


def _list_row(entry: Entry, view: View, leaves: Sequence[Seen], documents: bool, conflicts: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"rev": leaves[0].rev}
    row: dict[str, Any] = {"id": entry.id, "key": entry.id, "value": value}
    if leaves[0].deleted:
        value["deleted"] = True
    if documents:
        row["doc"] = None if leaves[0].deleted else view.winner(entry, leaves, conflicts=conflicts)
    return row
