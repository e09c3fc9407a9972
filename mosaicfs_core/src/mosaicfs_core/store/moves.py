"""Which files have moved and what stands under their old paths, found by the indexes that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .indexes import KINDS
from .reader import Reader
from .schema import FILE
from .transaction import WriteTransaction

STEP = 5_000
"""Changes that one statement looks at."""
_DOCUMENTS = 500

_MOVED = """SELECT doc FROM documents
    WHERE seq > ? AND seq <= ? AND type = ? AND extra IS NOT NULL AND instr(extra, CAST('"moved_from"' AS BLOB))"""
_ANNOTATORS = "SELECT DISTINCT c FROM lookup WHERE kind = ? AND a = ? AND b = ?"


def moved_files(reader: Reader, since: int) -> tuple[list[dict[str, Any]], int]:
    """File documents with ``moved_from`` that changed after the sequence ``since``, in the order of their changes, and
    the sequence up to which these are all."""
    with reader.snapshot():
        until = reader.seq()
        docs: list[int] = []
        for start in range(since, until, STEP):
            rows = reader.rows(_MOVED, (start, min(start + STEP, until), FILE))
            docs += [int(row[0]) for row in rows]
        found = [
            document
            for start in range(0, len(docs), _DOCUMENTS)
            for document in reader.documents(docs[start : start + _DOCUMENTS])
            if document.get("moved_from") is not None
        ]
    return found, until


def annotators(tx: WriteTransaction, node_id: str, export_path: str) -> list[str]:
    """The plugin instances that said something of the file at a path."""
    return [row[0] for row in tx.execute(_ANNOTATORS, (KINDS["annotation"], node_id, export_path))]


def settled(document: Mapping[str, Any]) -> dict[str, Any]:
    """A file's document once its labels are where they belong."""
    return {key: value for key, value in document.items() if key not in ("moved_from", "renamed_onto")}


def clear_followed(tx: WriteTransaction, node_id: str, moves: Mapping[str, Sequence[str]]) -> int:
    """Take ``moved_from`` off the node's files whose labels have followed (file id → ``moved_from`` and where the
    labels are now); returns of how many. A file that moved on meanwhile keeps it."""
    cleared = 0
    for document in tx.get_many(list(moves)):
        if document is None or document.get("type") != "file" or document["source"]["node_id"] != node_id:
            continue
        if [document.get("moved_from"), document["source"]["export_path"]] == list(moves[document["_id"]]):
            tx.put(settled(document))
            cleared += 1
    return cleared
