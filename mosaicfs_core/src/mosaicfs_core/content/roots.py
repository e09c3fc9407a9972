"""Which directories of this machine hold files that may be opened: the watched roots and the bridges' file stores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mosaicfs_core.documents import paths
from mosaicfs_core.documents.instances import settings_of
from mosaicfs_core.mount_table import own_points, resolved


class WatchedRoot(NamedTuple):
    """A folder that a node watches, as an export path in written form."""

    node_id: str
    path: str


class ProvidedRoot(NamedTuple):
    """The export path beneath which a plugin instance of a node keeps files that are its own."""

    node_id: str
    path: str
    instance: str


def root_path(text: str) -> str:
    """A configured path as the export path that its files get: ``~`` expanded (as this process's user has it),
    absolute, ``..`` resolved, written form. Symbolic links stay: what the user named is what the user sees."""
    return paths.escape(os.path.abspath(os.fsencode(os.path.expanduser(text))))


def may_be_path(text: str) -> bool:
    """Whether a text names a path of any system: no NUL, and nothing that is no character."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def watched_roots(plugin_documents: Iterable[Mapping[str, Any]]) -> Iterator[WatchedRoot]:
    """The watched roots of all nodes, in order and without doubles.

    A root is an entry of the setting that a plugin document says its package watches the folders of, one that is
    switched off included: its files stay indexed and readable. The document says it, so that it is known where the
    package is not installed. What it does not say opens nothing, whatever a setting is called. What can be no path is
    passed over: nothing is found at it.
    """
    seen: set[WatchedRoot] = set()
    for document in plugin_documents:
        setting = document.get("watches")
        configured = settings_of(document).get(setting) if setting else None
        for path in configured if isinstance(configured, list) else []:
            if isinstance(path, str) and path and may_be_path(path):
                root = WatchedRoot(document["node_id"], root_path(path))
                if root not in seen:
                    seen.add(root)
                    yield root


def provided_roots(plugin_documents: Iterable[Mapping[str, Any]]) -> Iterator[ProvidedRoot]:
    """Where the instances that provide a filesystem have their files, those that are switched off included."""
    for document in plugin_documents:
        if document.get("provides_filesystem"):
            name = document["plugin_name"]
            yield ProvidedRoot(document["node_id"], document.get("file_path_prefix") or f"/{name}", name)


def watch_roots(plugin_documents: Iterable[Mapping[str, Any]], node_id: str) -> tuple[str, ...]:
    """The watched roots of a node, as export paths in written form."""
    return tuple(root.path for root in watched_roots(plugin_documents) if root.node_id == node_id)


def native_roots(roots: Sequence[str], bridge_files: Path | None = None) -> tuple[bytes, ...]:
    """The resolved native paths beneath which a file may be opened; missing roots resolve to themselves, and so do
    those inside a mount of ours, which is not to be asked."""
    own = own_points()
    found = [os.fsencode(resolved(os.fsdecode(paths.unescape(root)), own)) for root in roots]
    if bridge_files is not None:
        found.append(os.path.realpath(os.fsencode(bridge_files)))
    return tuple(found)
