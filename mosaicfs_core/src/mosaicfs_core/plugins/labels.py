"""The effective labels of a batch of files, from the replica."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mosaicfs_core.documents import ids
from mosaicfs_core.hooks import FileRecord
from mosaicfs_core.rules.labels import EffectiveLabels

if TYPE_CHECKING:
    from mosaicfs_core.store import Reader


def labels_of(reader: Reader, files: Sequence[FileRecord]) -> list[tuple[str, ...]]:
    """Each file's effective labels, sorted: its assignment and every enabled rule that covers its path."""
    wanted = [ids.label_assignment_id(file.node_id, file.export_path) for file in files]
    assignments = [document for document in reader.get_many(wanted) if document is not None]
    effective = EffectiveLabels(assignments, reader.documents_of("label_rule"))
    return [tuple(sorted(effective.of(file.node_id, file.export_path))) for file in files]
