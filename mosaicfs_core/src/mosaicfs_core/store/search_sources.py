"""Where the candidates of a search come from: one index each, in the order of that index.

The first condition in this list that a query has decides: export path, text, labels, annotations, MIME type, place,
time, size. A query without any goes through all files in order of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..hooks.context import FileQuery
from ..rules import LabelRules, has_wildcards, name_matcher
from ..rules.labels import ANY_NODE
from .indexes import KINDS
from .schema import LARGE
from .search_checks import LabelCheck
from .search_text import ascii_condition, fold, is_pattern, literals, match_expression

if TYPE_CHECKING:
    from .reader import Reader

SHOWN = "d.shown = 1"
INACTIVE = "d.shown IS NULL AND d.dir IS NOT NULL"
TOP = "\U0010ffff"


Row: TypeAlias = tuple[Any, ...]
"""The columns of a file (``Reader.FILE_COLUMNS``), then those of its position in the source."""

WIDTH = 10
"""How many of them are the file's."""


class Fetched(NamedTuple):
    """Some candidates, and the position to go on from; None at the end."""

    rows: list[Row]
    position: tuple[Any, ...] | None


class Source(NamedTuple):
    """``fetch(position, limit)`` looks at the next ``limit`` places after ``position``, beginning at ``start``."""

    start: tuple[Any, ...]
    fetch: Callable[[tuple[Any, ...], int], Fetched]


class _Condition(NamedTuple):
    """SQL over ``documents d``, and its parameters."""

    sql: str
    parameters: tuple[Any, ...]


def sources(reader: Reader, query: FileQuery) -> list[Source]:
    """The sources that together hold every match exactly once."""
    condition = _facts(reader, query)
    if condition is None:
        return []
    found: list[Source] = []
    if query.status in ("active", None):
        found += _active(reader, query, condition)
    if query.status in ("deleted", None):
        found.append(_by_sql(reader, _INACTIVE, (0, "", 0), condition, INACTIVE))
    return found


def _active(reader: Reader, query: FileQuery, condition: _Condition) -> list[Source]:
    if query.export_path is not None:
        nodes = [query.node_id] if query.node_id is not None else [node_id for _, node_id in reader.nodes()]
        return [_by_path(reader, node_id, query.export_path, condition) for node_id in nodes]
    if query.text:
        expression = _expression(query.text)
        if expression is not None:
            return [_by_sql(reader, _NAMES, (0,), condition, SHOWN, (expression,))]
    if query.labels:
        return _by_label(reader, query, condition)
    if query.annotations:
        return [_by_annotation(reader, next(iter(query.annotations)).partition("/")[0], condition)]
    if query.mime_type is not None:
        return [_by_sql(reader, _MIME, (0,), condition, SHOWN, (mime,)) for mime in _mimes(reader, query.mime_type)]
    if query.path_prefix is not None or query.node_id is not None:
        return _by_place(reader, query.node_id, query.path_prefix or "/", condition)
    if query.modified_after is not None or query.modified_before is not None:
        start = -(2**63) if query.modified_after is None else query.modified_after
        return [_by_sql(reader, _MTIME, (start, 0), condition, SHOWN)]
    if query.min_size is not None and query.min_size >= LARGE:
        return [_by_sql(reader, _SIZE, (query.min_size, 0), condition, f"{SHOWN} AND d.size >= {LARGE}")]
    if query.text:
        return [_by_short_text(reader, query.text, condition)]
    return [_by_sql(reader, _ALL, (0,), condition, SHOWN)]


def _by_short_text(reader: Reader, text: str, condition: _Condition) -> Source:
    """Text too short for trigrams: the names in the directory index are gone through. Its rows are small, and common
    texts are found early; SQLite drops the names of plain ASCII that cannot match without reading their rows."""
    parts = literals(fold(text)) if is_pattern(text) else [fold(text)]
    tests = [ascii_condition(part) for part in parts if part.isascii()]
    likes = "".join(f" AND {sql}" for sql, _ in tests)
    values = tuple(value for _, values in tests for value in values)
    narrowed = _Condition(likes + condition.sql, values + condition.parameters)
    return _by_sql(reader, _NAME_SCAN, (0, "", 0), narrowed, SHOWN)


def _expression(text: str) -> str | None:
    folded = fold(text)
    return match_expression(literals(folded) if is_pattern(text) else [folded])


def _facts(reader: Reader, query: FileQuery) -> _Condition | None:
    """The conditions on a file's columns; None when no file can meet them."""
    parts: list[str] = []
    parameters: list[Any] = []

    def add(sql: str, *values: Any) -> None:
        parts.append(sql)
        parameters.extend(values)

    if query.text is not None and "\0" in query.text:
        return None  # no name holds it, and the index of names would take it for the end of the text
    if query.node_id is not None:
        number = reader.node_number(query.node_id)
        if number is None:
            return None
        add("d.node = ?", number)
    if query.path_prefix is not None and query.path_prefix != "/":
        low, high = _range(query.path_prefix)
        add(
            "d.dir IN (SELECT dir FROM directories WHERE dir = d.dir AND (path = ? OR path >= ? AND path < ?))",
            low[:-1],
            low,
            high,
        )
    if query.mime_type is not None:
        numbers = _mimes(reader, query.mime_type)
        if not numbers:
            return None
        add(f"d.mime IN ({','.join('?' * len(numbers))})", *numbers)
    for sql, value in (
        ("d.size >= ?", query.min_size),
        ("d.size <= ?", query.max_size),
        ("d.mtime >= ?", query.modified_after),
        ("d.mtime <= ?", query.modified_before),
    ):
        if value is not None:
            add(sql, value)
    return _Condition("".join(f" AND {part}" for part in parts), tuple(parameters))


def _range(prefix: str) -> tuple[str, str]:
    """The paths beneath a directory: from its own with a slash, to before the character after the slash."""
    low = prefix.rstrip("/") + "/"
    return low, low[:-1] + "0"


def _mimes(reader: Reader, wanted: str) -> list[int]:
    """The numbers of the MIME types that equal, or match, what is wanted."""
    rows = reader.mimes()
    if not has_wildcards(wanted):
        return [number for number, name in rows if name == wanted]
    matches = name_matcher(wanted)
    return [number for number, name in rows if matches(name)]


# Each statement is ``FROM … WHERE … {condition}`` with the position's columns selected after the file's.
_NAMES = (
    "names.rowid",
    "names CROSS JOIN documents d ON d.doc = names.rowid",
    "names MATCH ? AND names.rowid > ?",
    "names.rowid",
)
_ALL = ("d.doc", "documents d NOT INDEXED", "d.doc > ?", "d.doc")
_MIME = ("d.doc", "documents d INDEXED BY files_by_mime", "d.mime = ? AND d.doc > ?", "d.doc")
_MTIME = (
    "d.mtime, d.doc",
    "documents d INDEXED BY files_by_mtime",
    "(d.mtime, d.doc) > (?, ?)",
    "d.mtime, d.doc",
)
_SIZE = ("d.size, d.doc", "documents d INDEXED BY files_by_size", "(d.size, d.doc) > (?, ?)", "d.size, d.doc")
_NAME_SCAN = (
    "d.dir, d.name, d.doc",
    "documents d INDEXED BY files_by_directory",
    "(d.dir, d.name, d.doc) > (?, ?, ?)",
    "d.dir, d.name, d.doc",
)
_INACTIVE = (
    "d.dir, d.name, d.doc",
    "documents d INDEXED BY files_inactive",
    "(d.dir, d.name, d.doc) > (?, ?, ?)",
    "d.dir, d.name, d.doc",
)
_PLACE = (
    "p.path, d.name, d.doc",
    "directories p CROSS JOIN documents d INDEXED BY files_by_directory ON d.dir = p.dir",
    "p.node = ? AND p.path >= ? AND p.path < ? AND (p.path, d.name, d.doc) > (?, ?, ?)",
    "p.path, d.name, d.doc",
)


def _by_sql(
    reader: Reader,
    statement: tuple[str, str, str, str],
    start: tuple[Any, ...],
    condition: _Condition,
    visible: str,
    before: tuple[Any, ...] = (),
) -> Source:
    columns, tables, where, order = statement
    sql = f"""SELECT {reader.FILE_COLUMNS}, {columns} FROM {tables}
        WHERE {where} AND {visible}{condition.sql} ORDER BY {order} LIMIT ?"""

    def fetch(position: tuple[Any, ...], limit: int) -> Fetched:
        rows = reader.rows(sql, (*before, *position, *condition.parameters, limit))
        return Fetched(rows, rows[-1][WIDTH:] if len(rows) == limit else None)

    return Source(start, fetch)


def _by_place(reader: Reader, node_id: str | None, prefix: str, condition: _Condition) -> list[Source]:
    found = []
    low, high = _range(prefix)
    for number, name in reader.nodes():
        if node_id is not None and node_id != name:
            continue
        if low != "/":
            found.append(_by_sql(reader, _PLACE, ("", "", 0), condition, SHOWN, (number, low[:-1], low)))
        found.append(_by_sql(reader, _PLACE, ("", "", 0), condition, SHOWN, (number, low, high)))
    return found


def _by_path(reader: Reader, node_id: str, path: str, condition: _Condition) -> Source:
    def fetch(position: tuple[Any, ...], limit: int) -> Fetched:
        row = _row_at(reader, node_id, path, condition)
        found = row is not None and position[0] < row[0]
        return Fetched([(*row, row[0])] if row is not None and found else [], None)

    return Source((0,), fetch)


def _row_at(reader: Reader, node_id: str, path: str, condition: _Condition) -> Row | None:
    """The shown file at a path, when it meets the condition."""
    file = reader.file_by_path(node_id, path)
    if file is None:
        return None
    sql = f"SELECT {reader.FILE_COLUMNS} FROM documents d WHERE d.doc = ?{condition.sql}"
    rows = reader.rows(sql, (file.doc, *condition.parameters))
    return rows[0] if rows else None


def _by_label(reader: Reader, query: FileQuery, condition: _Condition) -> list[Source]:
    """Files under each rule's prefix, then files with an assignment; each file from the first that has it."""
    check = LabelCheck(reader, query.labels[0])
    found = []
    for number, rule in enumerate(check.rules):
        before = LabelRules(check.rules[:number])
        node_id = query.node_id if rule["node_id"] == ANY_NODE else rule["node_id"]
        places = _by_place(reader, node_id, rule["path_prefix"], condition)
        found += [_without(reader, source, before) for source in places]
    assigned = _by_lookup(reader, KINDS["label_assignment.label"], query.labels[0], condition)
    found.append(_without(reader, assigned, LabelRules(check.rules)))
    return found


def _without(reader: Reader, source: Source, rules: LabelRules) -> Source:
    """A source without the files that one of the rules covers: an earlier source has them."""

    def uncovered(row: Row) -> bool:
        file = reader.file_row(row[:WIDTH])
        return not rules.for_file(file.node_id, file.export_path)

    def fetch(position: tuple[Any, ...], limit: int) -> Fetched:
        fetched = source.fetch(position, limit)
        return Fetched([row for row in fetched.rows if uncovered(row)], fetched.position)

    return Source(source.start, fetch)


def _by_annotation(reader: Reader, plugin: str, condition: _Condition) -> Source:
    return _by_lookup(reader, KINDS["annotation.plugin"], plugin, condition)


def _by_lookup(reader: Reader, kind: int, first: str, condition: _Condition) -> Source:
    """Files whose node and path stand in an index after ``first``, each once."""
    sql = """SELECT DISTINCT b, c FROM lookup WHERE kind = ? AND a = ? AND (b, c) > (?, ?) ORDER BY b, c LIMIT ?"""

    def fetch(position: tuple[Any, ...], limit: int) -> Fetched:
        places = reader.rows(sql, (kind, first, *position, limit))
        rows = []
        for node_id, path in places:
            row = _row_at(reader, node_id, path, condition)
            if row is not None:
                rows.append((*row, node_id, path))
        return Fetched(rows, places[-1] if len(places) == limit else None)

    return Source(("", ""), fetch)
