"""Label documents: how they are made and changed. Pure functions over plain JSON objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from mosaicfs_core.hooks import UserError, label_assignment_id

MAX_LABELS: Final = 100
MAX_LENGTH: Final = 200


def clean(labels: Iterable[str], field: str) -> list[str]:
    """Labels without surrounding blanks, each once, in their order. Raises ``UserError`` naming the place."""
    found: dict[str, None] = {}
    for number, label in enumerate(labels):
        text = label.strip()
        if not text or len(text) > MAX_LENGTH or not text.isprintable():
            place = f"{field}[{number}]"
            raise UserError(
                f"{place}: expected 1 to {MAX_LENGTH} printable characters, got {label[:40]!r}", field=place
            )
        found[text] = None
    if len(found) > MAX_LABELS:
        raise UserError(f"{field}: expected at most {MAX_LABELS} labels", field=field)
    return list(found)


def changed(present: Sequence[str], add: Iterable[str], remove: Iterable[str]) -> list[str]:
    """``present`` with some labels added and others taken away."""
    gone = set(remove)
    return [label for label in dict.fromkeys([*present, *add]) if label not in gone]


def assignment(
    present: Mapping[str, Any] | None, node_id: str, export_path: str, labels: Sequence[str], now: str, by: str | None
) -> dict[str, Any]:
    """The assignment document that gives a file exactly ``labels``.

    ``label_times`` remembers for each label when it was last added and last removed, so that two copies edited apart
    can be merged label by label; labels that stay keep their times.
    """
    before = set(present["labels"]) if present else set()
    times: dict[str, dict[str, str]] = {
        key: dict(value) for key, value in (present or {}).get("label_times", {}).items()
    }
    for label in labels:
        if label not in before:
            times.setdefault(label, {})["added"] = now
    for label in before.difference(labels):
        times.setdefault(label, {})["removed"] = now
    return {
        **(present or {}),
        "_id": label_assignment_id(node_id, export_path),
        "type": "label_assignment",
        "node_id": node_id,
        "export_path": export_path,
        "labels": list(labels),
        "label_times": times,
        "updated_at": now,
        "updated_by": by,
    }


def tombstone(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a deleted label document: who owned it and what it was about."""
    kept = ("_id", "_rev", "type", "node_id", "export_path", "path_prefix")
    return {**{key: document[key] for key in kept if key in document}, "_deleted": True}


def folder_prefix(path: str) -> str:
    """A folder's path with the slash at its end that rules write."""
    return path if path.endswith("/") else path + "/"


def rule_body(document: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as the API shows it."""
    shown = ("node_id", "path_prefix", "labels", "name", "enabled", "created_at")
    return {"id": document["_id"].partition("::")[2], **{key: document[key] for key in shown}}


def assignment_body(document: Mapping[str, Any]) -> dict[str, Any]:
    """An assignment as the API shows it."""
    return {key: document.get(key) for key in ("node_id", "export_path", "labels", "updated_at", "updated_by")}
