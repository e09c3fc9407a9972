"""Who may write a document: pure, checked for every document that arrives from another node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosaicfs_core.documents.ids import CONTROL_PLANE, is_own_inode, type_of_id

_OF_CONTROL_PLANE = frozenset({"virtual_directory", "node", "credential", "label_assignment", "label_rule", "plugin"})


def owner_of(document: Mapping[str, Any]) -> str:
    """The node id of the document's owner, or ``control-plane``; tombstones too, by their fields or else by their id.

    Types with a second writer (a node's own ``agent`` fields, an acknowledgement, labels set offline) name the first
    one here; ``may_write`` knows the others.
    """
    document_id = str(document.get("_id", ""))
    type_name = document.get("type") or type_of_id(document_id)
    if type_name in _OF_CONTROL_PLANE:
        return CONTROL_PLANE
    parts = document_id.split("::")
    in_id = parts[1] if len(parts) > 2 or type_name == "agent_status" else CONTROL_PLANE
    if type_name == "annotation":
        annotator = document_id.rpartition("@")[2] if "@" in parts[-1] else in_id
        return str(document.get("annotated_by") or annotator)
    if type_name in ("file", "notification"):
        source = document.get("source")
        return str(source["node_id"]) if isinstance(source, Mapping) and "node_id" in source else in_id
    return str(document.get("node_id") or in_id)


def may_write(document: Mapping[str, Any], writer: str) -> bool:
    """Whether ``writer`` (a node id, or ``control-plane``) may write this document at all.

    A node may also write its own ``node`` document (the ``agent`` fields), and label assignments of its own files; the
    control plane acknowledges every notification. Everything that names an owner must name the writer: a body that
    claims another type or owner than the id would otherwise open anybody's document.
    """
    document_id = str(document.get("_id", ""))
    type_name = type_of_id(document_id)
    if type_name is None or (document.get("type") or type_name) != type_name:
        return False
    if writer == CONTROL_PLANE and type_name in (*_OF_CONTROL_PLANE, "notification"):
        return True
    if type_name == "node" and document.get("_deleted"):
        return False  # a node is disabled, by the control plane
    if type_name in _OF_CONTROL_PLANE - _SHARED:
        return False
    return all(named == writer for named in _named(document, document_id, type_name))


def takes_other_inode(document: Mapping[str, Any]) -> bool:
    """Whether the document of a file names an inode that its id does not give it. Mounts would take the file for the
    one whose inode that is; the inodes of files are their nodes' to write, but not to choose."""
    document_id = str(document.get("_id", ""))
    return (
        document_id.startswith("file::")
        and not document.get("_deleted")
        and "inode" in document
        and not is_own_inode(document_id, document["inode"])
    )


_SHARED = frozenset({"node", "label_assignment"})


def _named(document: Mapping[str, Any], document_id: str, type_name: str) -> tuple[Any, ...]:
    """Every owner that the id or the body names."""
    parts = document_id.split("::")
    in_id = parts[1] if len(parts) > 1 else ""
    if type_name == "annotation":
        annotator = parts[-1].rpartition("@")[2] if "@" in parts[-1] else in_id
        return annotator, document.get("annotated_by") or annotator
    if type_name in ("file", "notification"):
        source = document.get("source")
        return in_id, (source.get("node_id") if isinstance(source, Mapping) else None) or in_id
    return in_id, document.get("node_id") or in_id
