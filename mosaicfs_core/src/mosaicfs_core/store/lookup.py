"""The facts of files that stand in documents of their own: effective labels and annotations."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from mosaicfs_core.rules import EffectiveLabels, FactsLookup, FileFacts, LabelRules, annotation_data

from .reader import Reader
from .records import FileRow

_LOADED_AT_ONCE: Final = 20_000
"""Up to so many annotations of a plugin are read in one go for a scan; beyond that they are asked for file by file."""


def facts_of(row: FileRow) -> FileFacts:
    """The facts of a file as steps want them."""
    return FileFacts(row.node_id, row.export_path, row.name, row.size, row.mtime, row.mime_type)


class ReplicaLookup:
    """Asks the replica for each file; for a few files at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._rules: LabelRules | None = None

    @property
    def rules(self) -> LabelRules:
        """The label rules, read once and kept until ``forget_rules``."""
        if self._rules is None:
            self._rules = LabelRules(self._reader.documents_of("label_rule"))
        return self._rules

    def forget_rules(self) -> None:
        """Read the rules again when they are asked for next: one of them changed."""
        self._rules = None

    def labels(self, facts: FileFacts) -> frozenset[str]:
        """The file's effective labels."""
        assignments = self._reader.documents_of("label_assignment", (facts.node_id, facts.export_path))
        return EffectiveLabels(assignments, self.rules).of(facts.node_id, facts.export_path)

    def annotation(self, facts: FileFacts, plugin_name: str) -> Mapping[str, Any] | None:
        """The data of the file's annotation by a plugin; its own node's where several nodes made one."""
        key = (facts.node_id, facts.export_path, plugin_name)
        return annotation_data(facts.node_id, self._reader.documents_of("annotation", key))


class ScanLookup(ReplicaLookup):
    """Holds what a scan over all files will ask for: assignments of the labels in question, annotations of the
    plugins.
    """

    def __init__(self, reader: Reader, rules: LabelRules, labels: Collection[str], plugins: Collection[str]) -> None:
        super().__init__(reader)
        assigned = [
            document for label in labels for document in reader.documents_of("label_assignment.label", (label,))
        ]
        self._labels = EffectiveLabels(assigned, rules)
        self._annotations: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
        self._loaded: set[str] = set()
        for plugin in plugins:
            if reader.count_of("annotation.plugin", (plugin,)) <= _LOADED_AT_ONCE:
                self._loaded.add(plugin)
                for document in reader.documents_of("annotation.plugin", (plugin,)):
                    key = (document["node_id"], document["export_path"], plugin)
                    self._annotations.setdefault(key, []).append(document)

    def labels(self, facts: FileFacts) -> frozenset[str]:
        """Of the file's effective labels at least those that the scan is about."""
        return self._labels.of(facts.node_id, facts.export_path)

    def annotation(self, facts: FileFacts, plugin_name: str) -> Mapping[str, Any] | None:
        """As ``ReplicaLookup``'s."""
        if plugin_name not in self._loaded:
            return super().annotation(facts, plugin_name)
        found = self._annotations.get((facts.node_id, facts.export_path, plugin_name), ())
        return annotation_data(facts.node_id, found)


def lookup_for_scan(
    reader: Reader, lookup: ReplicaLookup, needs: Collection[str], labels: Collection[str], plugins: Collection[str]
) -> FactsLookup:
    """The lookup for one scan over all files by chains that read ``needs``, and name these labels and plugins."""
    if "labels" not in needs and not plugins:
        return lookup
    return ScanLookup(reader, lookup.rules, labels, plugins)
