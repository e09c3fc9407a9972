"""What a search checks file by file, when its source has not: the whole name, labels, annotations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..rules import LabelRules, annotation_data, annotation_test, compile_regex, name_matcher
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
    """Whether a label is among a file's effective ones. ``rules`` are the enabled rules that give it."""

    def __init__(self, reader: Reader, label: str) -> None:
        self._reader = reader
        self._label = label
        self.rules = [rule for rule in reader.documents_of("label_rule.label", (label,)) if rule["enabled"]]
        self._by_rule = LabelRules(self.rules)

    def __call__(self, file: FileRow) -> bool:
        if self._by_rule.for_file(file.node_id, file.export_path):
            return True
        sql = "SELECT 1 FROM lookup WHERE kind = ? AND a = ? AND b = ? AND c = ?"
        kind = KINDS["label_assignment.label"]
        return self._reader.has(sql, (kind, self._label, file.node_id, file.export_path))


def annotation_check(reader: Reader, key: str, wanted: str) -> Callable[[FileRow], bool]:
    """Whether a file's annotation ``plugin/key`` is what is wanted, as the step op ``annotation`` means it."""
    plugin, field = split_annotation_key(key)
    test = _data_test(key, field, wanted)

    def check(file: FileRow) -> bool:
        found = reader.documents_of("annotation", (file.node_id, file.export_path, plugin))
        data = annotation_data(file.node_id, found)
        return data is not None and test(data)

    return check


def split_annotation_key(key: str) -> tuple[str, str]:
    """``plugin/key`` in two."""
    plugin, slash, field = key.partition("/")
    if not (plugin and slash and field):
        raise UserError(f"annotation: expected plugin/key, got {key!r}", field=f"annotation[{key}]")
    return plugin, field


def _data_test(key: str, field: str, wanted: str) -> Callable[[Mapping[str, Any]], bool]:
    if not wanted.startswith("~"):
        return annotation_test(field, wanted)
    try:
        return annotation_test(field, found=compile_regex(wanted[1:]))
    except UserError as error:
        raise UserError(f"annotation: {error.message}", field=f"annotation[{key}]") from None
