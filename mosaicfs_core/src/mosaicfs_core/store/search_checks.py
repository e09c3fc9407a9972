"""What a search checks file by file, when its source has not: the whole name, labels, annotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import re2

from ..errors import UserError
from ..rules.glob import name_matcher
from .indexes import KINDS
from .records import FileRow
from .search_text import fold, is_pattern

if TYPE_CHECKING:
    from .reader import Reader


def name_check(text: str) -> Callable[[str], bool]:
    """Whether a name contains the text, or matches it as a glob; any case."""
    wanted = fold(text)
    if is_pattern(text):
        matches = name_matcher(wanted, ignore_case=False)
        return lambda name: matches(fold(name))
    return lambda name: wanted in fold(name)


class LabelCheck:
    """Whether a label is among a file's effective ones: assigned to it, or by an enabled rule whose prefix covers
    it."""

    def __init__(self, reader: Reader, label: str) -> None:
        self._reader = reader
        self._label = label
        self.rules = [
            (rule["node_id"], rule["path_prefix"])
            for rule in reader.documents_of("label_rule.label", (label,))
            if rule["enabled"]
        ]

    def covered(self, file: FileRow, rules: Sequence[tuple[str, str]]) -> bool:
        """Whether one of the rules (node id or ``*``, prefix) covers the file."""
        path = file.export_path
        return any(path.startswith(prefix) and node_id in ("*", file.node_id) for node_id, prefix in rules)

    def __call__(self, file: FileRow) -> bool:
        if self.rules and self.covered(file, self.rules):
            return True
        sql = "SELECT 1 FROM lookup WHERE kind = ? AND a = ? AND b = ? AND c = ?"
        kind = KINDS["label_assignment.label"]
        return self._reader.has(sql, (kind, self._label, file.node_id, file.export_path))


def annotation_check(reader: Reader, key: str, wanted: str) -> Callable[[FileRow], bool]:
    plugin, field = split_annotation_key(key)
    test = _value_test(key, wanted)

    def check(file: FileRow) -> bool:
        found = reader.documents_of("annotation", (file.node_id, file.export_path, plugin))
        return any(test(_dotted(document["data"], field)) for document in found)

    return check


def split_annotation_key(key: str) -> tuple[str, str]:
    """``plugin/key`` in two."""
    plugin, slash, field = key.partition("/")
    if not (plugin and slash and field):
        raise UserError(f"annotation: expected plugin/key, got {key!r}", field=f"annotation[{key}]")
    return plugin, field


def _value_test(key: str, wanted: str) -> Callable[[Any], bool]:
    if not wanted.startswith("~"):
        return lambda value: _text(value) == wanted
    try:
        pattern = re2.compile(wanted[1:])
    except re2.error as error:
        raise UserError(f"annotation: not a regular expression: {error}", field=f"annotation[{key}]") from None
    return lambda value: value is not None and pattern.search(_text(value)) is not None


def _dotted(data: Any, field: str) -> Any:
    if isinstance(data, Mapping) and field in data:
        return data[field]
    for part in field.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data


def _text(value: Any) -> str | None:
    """A value as it is written in a query: texts as they are, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
