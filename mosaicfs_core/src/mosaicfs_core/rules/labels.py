"""Effective labels: a file's own assignment together with every enabled rule whose prefix covers its path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_NONE: Final[frozenset[str]] = frozenset()
ANY_NODE: Final = "*"


class LabelRules:
    """The enabled rules, by node and prefix; a look-up costs one step for each directory above the file."""

    __slots__ = ("_by_directory", "_by_node")

    def __init__(self, rules: Iterable[Mapping[str, Any]] = ()) -> None:
        """``rules`` are ``label_rule`` documents; disabled and deleted ones are passed over."""
        collected: dict[str, dict[str, set[str]]] = {}
        for rule in rules:
            if rule.get("enabled", True) and not rule.get("_deleted"):
                prefixes = collected.setdefault(rule["node_id"], {})
                prefixes.setdefault(rule["path_prefix"], set()).update(rule["labels"])
        self._by_node: Mapping[str, Mapping[str, set[str]]] = collected
        self._by_directory: dict[tuple[str, str], frozenset[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_node)

    def for_directory(self, node_id: str, directory: str) -> frozenset[str]:
        """What the rules give every file directly in ``directory`` (a path without a slash at its end, but ``/``)."""
        if not self._by_node:
            return _NONE
        key = (node_id, directory)
        found = self._by_directory.get(key)
        if found is None:
            found = self._collect(node_id, directory if directory.endswith("/") else directory + "/")
            if len(self._by_directory) >= 100_000:
                self._by_directory.clear()
            self._by_directory[key] = found
        return found

    def _collect(self, node_id: str, directory: str) -> frozenset[str]:
        labels: set[str] = set()
        for prefixes in (self._by_node.get(node_id), self._by_node.get(ANY_NODE)):
            if prefixes:
                end = directory.find("/")
                while end >= 0:
                    labels |= prefixes.get(directory[: end + 1], _NONE)
                    end = directory.find("/", end + 1)
        return frozenset(labels) if labels else _NONE

    def for_file(self, node_id: str, export_path: str) -> frozenset[str]:
        """What the rules give one file."""
        return self.for_directory(node_id, export_path.rpartition("/")[0] or "/")


def rule_keys(node_id: str, export_path: str) -> Iterator[tuple[str, str]]:
    """The (node id, prefix) that a rule must have to cover the file: one of the directories above it, or ``/``."""
    end = export_path.find("/")
    while end >= 0:
        yield node_id, export_path[: end + 1]
        yield ANY_NODE, export_path[: end + 1]
        end = export_path.find("/", end + 1)


def rule_covers(rule: Mapping[str, Any], node_id: str, export_path: str) -> bool:
    """Whether a ``label_rule`` document is enabled and gives its labels to the file."""
    return bool(LabelRules([rule]).for_file(node_id, export_path))


class EffectiveLabels:
    """Assignments and rules together, for many look-ups over one state of the documents."""

    __slots__ = ("_assigned", "rules")

    def __init__(
        self, assignments: Iterable[Mapping[str, Any]] = (), rules: Iterable[Mapping[str, Any]] | LabelRules = ()
    ) -> None:
        """``assignments`` are ``label_assignment`` documents, ``rules`` are ``label_rule`` documents."""
        self._assigned: dict[tuple[str, str], frozenset[str]] = {
            (document["node_id"], document["export_path"]): frozenset(document["labels"])
            for document in assignments
            if document.get("labels") and not document.get("_deleted")
        }
        self.rules = rules if isinstance(rules, LabelRules) else LabelRules(rules)

    def of(self, node_id: str, export_path: str) -> frozenset[str]:
        """The effective labels of a file."""
        own = self._assigned.get((node_id, export_path), _NONE)
        by_rule = self.rules.for_file(node_id, export_path)
        return own | by_rule if own and by_rule else own or by_rule
