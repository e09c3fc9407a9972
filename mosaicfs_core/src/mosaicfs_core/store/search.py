"""Search over files: by name, place, facts, labels and annotations, page by page.

A query picks the source that narrows most (``search_sources``); each source yields candidates in an order of its own
that an index provides, so that the position of the last one given out is a cursor. What the source did not check is
checked here.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from ..errors import UserError
from ..hooks.context import FileQuery, FileRecord, Page
from .records import FileRow
from .search_checks import LabelCheck, annotation_check, name_check
from .search_sources import WIDTH, Row, Source, sources

if TYPE_CHECKING:
    from .reader import Reader

EXACT = 1_000
"""A total is exact up to here."""
MAX_LIMIT = 10_000
_CHUNKS = (100, 400, 520, 250, 1_000, 2_000)
"""Candidates fetched at a time: few at first, since the first page is often enough; then so many that a search of which
nearly every candidate passes reads little more than the ``EXACT`` it counts. Reading them is most of its time."""


_Integer: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""What SQLite takes."""
_Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Cursor(NamedTuple):
    """Where a page ended: which source, at which position in it, and how many files were counted until there."""

    source: int
    position: tuple[Any, ...]
    seen: int


def search(reader: Reader, query: FileQuery) -> Page[FileRecord]:
    """The files that match, in an order that stays the same from page to page.

    Raises UserError for a limit, offset, cursor, status or pattern that makes no sense.
    """
    _check(query)
    cursor = _Cursor(0, (), 0) if query.cursor is None else _parse(query.cursor)
    skip = 0 if query.cursor is not None else query.offset
    items: list[FileRecord] = []
    last: _Cursor | None = None
    counted = cursor.seen
    more = left_over = False
    for number, row in _matches(reader, query, cursor):
        counted += 1
        if skip > 0:
            skip -= 1
        elif len(items) < query.limit:
            items.append(reader.file_row(row[:WIDTH]).record())
            last = _Cursor(number, row[WIDTH:], counted)
            continue
        else:
            left_over = True
        if counted > EXACT and len(items) >= query.limit:
            more = True
            break
    return Page(
        items=tuple(items),
        total=max(EXACT, cursor.seen + len(items)) if more else counted,
        offset=query.offset if query.cursor is None else cursor.seen,
        limit=query.limit,
        more=more,
        cursor=_format(last) if last is not None and left_over else None,
    )


def _check(query: FileQuery) -> None:
    if not 0 <= query.limit <= MAX_LIMIT:
        raise UserError(f"limit: expected 0 to {MAX_LIMIT}", field="limit")
    if query.offset < 0:
        raise UserError("offset: expected 0 or more", field="offset")
    if query.status not in ("active", "deleted", None):
        raise UserError("status: expected active or deleted", field="status")


def _format(cursor: _Cursor) -> str:
    return urlsafe_b64encode(msgspec.json.encode(cursor)).rstrip(b"=").decode()


def _parse(text: str) -> _Cursor:
    try:
        number, position, seen = msgspec.json.decode(
            urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=tuple[_Count, list[_Integer | str], _Count]
        )
    except (ValueError, msgspec.MsgspecError):
        raise UserError("cursor: not one that a search has given out", field="cursor") from None
    return _Cursor(number, tuple(position), seen)


def _matches(reader: Reader, query: FileQuery, cursor: _Cursor) -> Iterator[tuple[int, Row]]:
    """The candidates that pass every check, with the number of their source."""
    accept = _acceptance(reader, query)
    found = sources(reader, query)
    for number in range(cursor.source, len(found)):
        position = cursor.position if number == cursor.source and cursor.position else found[number].start
        for chunk in _chunks(found[number], position):
            for row in chunk:
                if accept(row):
                    yield number, row


def _chunks(source: Source, position: tuple[Any, ...]) -> Iterator[list[Row]]:
    if [type(part) for part in position] != [type(part) for part in source.start]:
        raise UserError("cursor: belongs to another search", field="cursor")
    size = 0
    while True:
        limit = _CHUNKS[min(size, len(_CHUNKS) - 1)]
        size += 1
        fetched = source.fetch(position, limit)
        yield fetched.rows
        if fetched.position is None:
            return
        position = fetched.position


def _acceptance(reader: Reader, query: FileQuery) -> Callable[[Row], bool]:
    """The checks that no source makes: the whole name, labels and annotations."""
    named = name_check(query.text) if query.text else None
    checks: list[Callable[[FileRow], bool]] = [LabelCheck(reader, label) for label in dict.fromkeys(query.labels)]
    checks += [annotation_check(reader, key, value) for key, value in query.annotations.items()]
    if not checks:
        return (lambda row: named(row[2])) if named is not None else (lambda row: True)

    def accept(row: Row) -> bool:
        if named is not None and not named(row[2]):
            return False
        file = reader.file_row(row[:WIDTH])
        return all(check(file) for check in checks)

    return accept
