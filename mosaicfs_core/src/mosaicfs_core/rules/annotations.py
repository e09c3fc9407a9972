"""Annotations as steps and searches see them: which of a file's counts, and whether it holds what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

_ABSENT: Final = object()


def annotation_data(node_id: str, documents: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The data of a file's annotation by one plugin, of all such documents there are; None when none succeeded.

    Where several nodes annotated the file, the one of its own node (``node_id``) comes first.
    """
    good = [document for document in documents if document.get("status", "ok") == "ok"]
    best = min(good, key=lambda document: (document["annotated_by"] != node_id, document["annotated_by"]), default=None)
    return None if best is None else best.get("data", {})


def annotation_test(
    key: str, value: Any = None, found: Callable[[str], bool] | None = None
) -> Callable[[Mapping[str, Any]], bool]:
    """A predicate over an annotation's data: does what stands at a dotted key equal ``value``, or have a text in which
    the regular expression ``found`` is found? Without both, anything that stands there will do; of a list, each element
    will."""

    def fits(actual: Any) -> bool:
        if found is not None:
            return found(_text(actual))
        return value is None or same_value(actual, value)

    def test(data: Mapping[str, Any]) -> bool:
        actual = _value_at(data, key)
        if actual is _ABSENT:
            return False
        return fits(actual) or (isinstance(actual, list | tuple) and any(fits(element) for element in actual))

    return test


def same_value(actual: Any, wanted: Any) -> bool:
    """Equality as JSON means it: true is not 1, but 1 is 1.0. Text also equals what it is the writing of."""
    if isinstance(actual, bool) or isinstance(wanted, bool):
        return actual is wanted or (isinstance(wanted, str) and wanted == _text(actual))
    if isinstance(wanted, str) and isinstance(actual, int | float):
        return wanted == _text(actual)
    return bool(actual == wanted)


def _text(value: Any) -> str:
    """A value as a person writes it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8")


def _value_at(data: Any, key: str) -> Any:
    """What stands at a dotted key; a key that holds dots itself is found too."""
    if not isinstance(data, Mapping):
        return _ABSENT
    if key in data:
        return data[key]
    first, dot, rest = key.partition(".")
    return _value_at(data[first], rest) if dot and first in data else _ABSENT
