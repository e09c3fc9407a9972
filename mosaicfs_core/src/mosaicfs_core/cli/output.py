"""How values are shown to people: tables, sizes, times, and names that cannot harm a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from mosaicfs_core.printing import printable

_SIZES: Final = ("B", "KB", "MB", "GB", "TB", "PB")
_BYTE_KEYS: Final = ("size", "_bytes")
# Numbers that name something: people compare and copy them.
_NAME_KEYS: Final = ("inode", "pid", "update_seq")
_TIME_KEYS: Final = ("mtime", "_at", "_seen", "timestamp")
# JSON escapes the other control characters by itself; a terminal obeys these as well.
_CONTROLS: Final = re.compile("[\x7f-\x9f]")


def as_json(value: Any) -> str:
    """The value as indented JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def render(value: Any, columns: Sequence[str] | Mapping[str, str] | None, empty: str, *, terminal: bool) -> str:
    """A table for a list or a page, ``key: value`` lines for one object, the text itself for anything else."""
    if isinstance(value, Mapping) and "items" in value:
        value = value["items"]
    if isinstance(value, Mapping):
        return _object_lines(value, columns)
    if isinstance(value, str) or not isinstance(value, Iterable):
        return printable(str(value), keep_lines=True)
    rows = list(value)
    if not rows:
        return empty
    if not isinstance(rows[0], Mapping):
        return "\n".join(printable(str(row)) for row in rows)
    headings = _headings(columns, rows)
    cells = [[cell(key, _pick(row, key)) for key in headings] for row in rows]
    if terminal:
        return _rich_table(list(headings.values()), cells, [_is_number_column(key, rows) for key in headings])
    return _plain_table(list(headings.values()), cells)


def page_note(value: Any) -> str:
    """A line that says how much of a page's list is shown, or an empty text when it is all."""
    if not (isinstance(value, Mapping) and "items" in value and "total" in value):
        return ""
    shown, total = len(value["items"]), value["total"]
    if value.get("more"):
        return f"{shown} of more than {total:,} shown"
    return f"{shown} of {total:,} shown" if shown < total else ""


def cell(key: str, value: Any) -> str:
    """One value as text; the key tells sizes and times from other numbers and texts."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key.endswith(_BYTE_KEYS):
        return human_size(value)
    if isinstance(value, int) and key.endswith(_NAME_KEYS):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, str):
        return _local_time(value) if key.endswith(_TIME_KEYS) else printable(value)
    if isinstance(value, Mapping):
        return printable(json.dumps(value, ensure_ascii=False, default=str))
    if isinstance(value, Sequence):
        return ", ".join(cell("", part) for part in value)
    return printable(str(value))


def human_size(size: int) -> str:
    """A number of bytes with a decimal unit: ``1.5 MB``."""
    amount = float(size)
    for unit in _SIZES:
        if abs(amount) < 1000 or unit == _SIZES[-1]:
            return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit ends the loop")


class SilentProgress:
    """Stands for a progress bar where nobody looks."""

    def __enter__(self) -> SilentProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, amount: int = 1) -> None:
        """Count; nothing is shown."""


def _local_time(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return printable(text)


def _headings(columns: Sequence[str] | Mapping[str, str] | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    if isinstance(columns, Mapping):
        return {key: printable(title) for key, title in columns.items()}
    keys = columns if columns is not None else list(rows[0])
    return {key: printable(key.rpartition(".")[2].replace("_", " ")) for key in keys}


def _pick(row: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, None where there is none."""
    if key in row:
        return row[key]
    value: Any = row
    for part in key.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _is_number_column(key: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    values = [_pick(row, key) for row in rows]
    return any(values) and all(value is None or isinstance(value, int | float) for value in values)


def _object_lines(value: Mapping[str, Any], columns: Sequence[str] | Mapping[str, str] | None) -> str:
    headings = _headings(columns, [value])
    width = max((len(heading) for heading in headings.values()), default=0)
    return "\n".join(f"{heading:<{width}}  {cell(key, _pick(value, key))}" for key, heading in headings.items())


def _plain_table(headings: list[str], cells: list[list[str]]) -> str:
    """Aligned columns and no frame: what a pipe or a log gets."""
    widths = [max(len(heading), *(len(row[at]) for row in cells)) for at, heading in enumerate(headings)]
    lines = [headings, *cells]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _rich_table(headings: list[str], cells: list[list[str]], numbers: list[bool]) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading, number in zip(headings, numbers, strict=True):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in cells:
        # Text, not str: a name may hold square brackets, which rich would take for markup.
        table.add_row(*(Text(text) for text in row))
    console = Console()
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
