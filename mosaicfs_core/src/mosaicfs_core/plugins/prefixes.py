"""The export paths beneath which instances that provide a filesystem name their files: each has its own, outside every
watched folder, so that no source can take the files of another for gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from mosaicfs_core.content.roots import watch_roots
from mosaicfs_core.documents.paths import is_under
from mosaicfs_core.hooks import PluginManifest

ManifestOf: TypeAlias = Callable[[str], PluginManifest | None]
"""The manifest of a package by its name, None when it is not known."""


def package_of(document: Mapping[str, Any]) -> str:
    """The package that an instance runs."""
    return str(document.get("package") or document["plugin_name"])


def own_prefix(document: Mapping[str, Any], manifest: PluginManifest | None) -> str:
    """The prefix of an instance that provides a filesystem, "" of others."""
    provides = document.get("provides_filesystem") or (manifest is not None and manifest.provides_filesystem)
    return str(document.get("file_path_prefix") or f"/{document['plugin_name']}") if provides else ""


def clashes(documents: Iterable[Mapping[str, Any]], node_id: str, manifest_of: ManifestOf) -> dict[str, str]:
    """Which of a node's instances cannot have their prefixes, and why, by name. Of two the one made first keeps it;
    those that are switched off count, since their files stay indexed."""
    made = sorted(documents, key=lambda document: (str(document.get("created_at")), str(document["plugin_name"])))
    taken = [(root, f"the watched folder {root}") for root in watch_roots(made, node_id)]
    found: dict[str, str] = {}
    for document in made:
        name, prefix = str(document["plugin_name"]), own_prefix(document, manifest_of(package_of(document)))
        if not prefix:
            continue
        whose = next((whose for path, whose in taken if is_under(path, prefix) or is_under(prefix, path)), None)
        if whose is None:
            taken.append((prefix, f"{prefix}, where the files of {name} are"))
        else:
            found[name] = (
                f"the files of {name} would be at {prefix}, which overlaps {whose}: use an instance of another name"
            )
    return found
