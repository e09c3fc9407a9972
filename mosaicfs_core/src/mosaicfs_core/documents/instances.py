"""Plugin documents, one for each instance of a plugin on a node: how they are made, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mosaicfs_core.documents.ids import plugin_document_id


def instance_document(
    node_id: str, name: str, *, created_at: str, package: str | None = None, title: str | None = None, **fields: Any
) -> dict[str, Any]:
    """The document of a new instance of ``package``, called as the instance where it is not given; it is switched on
    and nothing is set. ``title`` is its name for people, ``fields`` are laid over the rest."""
    return {
        "_id": plugin_document_id(node_id, name),
        "type": "plugin",
        "node_id": node_id,
        "plugin_name": name,
        "package": package or name,
        "plugin_type": "package",
        "enabled": True,
        "name": title or name,
        "config": {},
        "created_at": created_at,
        **fields,
    }


def package_of(document: Mapping[str, Any]) -> str:
    """The package that an instance runs."""
    return str(document.get("package") or document["plugin_name"])


def settings_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The flat settings of an instance: ``config`` with ``settings`` laid over it."""
    return {**(document.get("config") or {}), **(document.get("settings") or {})}
