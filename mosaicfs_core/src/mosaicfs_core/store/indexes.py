"""The indexes of documents that are not files: which keys of ``lookup`` a body has. Pure.

Each index is named; ``documents_of`` takes a type, which is the name of that type's own index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

Key: TypeAlias = tuple[int, Any, Any, Any]

OTHER: Final = 0
KINDS: Final[Mapping[str, int]] = {
    "virtual_directory": 2,  # virtual_path
    "node": 3,  # node_id
    "credential": 4,  # access_key_id
    "agent_status": 5,  # node_id
    "utilization_snapshot": 6,  # node_id, captured_at
    "label_assignment": 7,  # node_id, export_path
    "label_rule": 8,  # node_id or "*", path_prefix
    "plugin": 9,  # node_id, plugin_name
    "annotation": 10,  # node_id, export_path, plugin_name
    "notification": 11,  # status, severity, last_seen
    "virtual_directory.parent": 20,  # parent_path, name
    "label_assignment.label": 21,  # label, node_id, export_path
    "label_rule.label": 22,  # label, node_id or "*", path_prefix
    "annotation.plugin": 23,  # plugin_name, node_id, export_path
    "notification.seen": 24,  # last_seen
}
"""Names of the indexes. Documents of a type this version does not know are under ``OTHER``, by type and id."""

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "virtual_directory": ("virtual_path",),
    "node": ("node_id",),
    "credential": ("access_key_id",),
    "agent_status": ("node_id",),
    "utilization_snapshot": ("node_id", "captured_at"),
    "label_assignment": ("node_id", "export_path"),
    "label_rule": ("node_id", "path_prefix"),
    "plugin": ("node_id", "plugin_name"),
    "annotation": ("node_id", "export_path", "plugin_name"),
    "notification": ("status", "severity", "last_seen"),
    "virtual_directory.parent": ("parent_path", "name"),
    "annotation.plugin": ("plugin_name", "node_id", "export_path"),
    "notification.seen": ("last_seen",),
}

EVERY: Final[Mapping[str, str]] = {"notification": "notification.seen"}
"""The index that has every document of a type, where the type's own does not: it leaves out those without ``status``,
which is optional."""

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    **FIELDS,
    "label_assignment.label": ("label", "node_id", "export_path"),
    "label_rule.label": ("label", "node_id", "path_prefix"),
}
"""The fields by which each index is asked. Those by label have an entry for each label of a document."""


def _labels(name: str, body: Mapping[str, Any], *fields: str) -> Iterator[Key]:
    for label in body["labels"]:
        yield KINDS[name], label, body[fields[0]], body[fields[1]]


_EXTRA: Final[Mapping[str, Callable[[Mapping[str, Any]], Iterator[Key]]]] = {
    "label_assignment": lambda body: _labels("label_assignment.label", body, "node_id", "export_path"),
    "label_rule": lambda body: _labels("label_rule.label", body, "node_id", "path_prefix"),
}
_NAMES: Final = {name: [index for index in FIELDS if index.partition(".")[0] == name] for name in FIELDS}


def keys(type_name: str, identifier: str, body: Mapping[str, Any]) -> set[Key]:
    """Every key under which a live, valid document is found; empty for files, which have columns."""
    if type_name == "file":
        return set()
    if type_name not in KINDS:
        return {(OTHER, type_name, identifier, "")}
    found: set[Key] = set()
    for index in _NAMES[type_name]:
        values = [body.get(field) for field in FIELDS[index]]
        if values[0] is not None:
            padded = ["" if value is None else value for value in values] + ["", ""]
            found.add((KINDS[index], padded[0], padded[1], padded[2]))
    if type_name in _EXTRA:
        found.update(_EXTRA[type_name](body))
    return found
