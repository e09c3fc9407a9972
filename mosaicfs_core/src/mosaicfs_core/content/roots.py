"""Which directories of this machine hold files that may be opened: the watched roots and the bridges' file stores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mosaicfs_core.documents import paths

WATCHER: Final = "localfs"
"""The package whose setting ``paths`` holds the watched folders: the name is part of the documents, not of the code."""


def root_path(text: str) -> str:
    """A configured path as the export path that its files get: ``~`` expanded, absolute, ``..`` resolved, written
    form. Symbolic links stay: what the user named is what the user sees."""
    return paths.escape(os.path.abspath(os.fsencode(os.path.expanduser(text))))


def settings_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The flat settings of a plugin document: ``config`` with ``settings`` laid over it."""
    return {**(document.get("config") or {}), **(document.get("settings") or {})}


def watch_roots(plugin_documents: Iterable[Mapping[str, Any]], node_id: str) -> tuple[str, ...]:
    """The watched roots of a node, as export paths in written form, in order and without doubles.

    A root is an entry of the setting ``paths`` of the node's instances of ``WATCHER``, switched off ones included:
    their files stay indexed and readable. What other packages call ``paths`` opens nothing.
    """
    roots: dict[str, None] = {}
    for document in plugin_documents:
        package = document.get("package") or document.get("plugin_name")
        if document.get("node_id") != node_id or package != WATCHER:
            continue
        configured = settings_of(document).get("paths")
        for path in configured if isinstance(configured, list) else []:
            if isinstance(path, str) and path:
                roots[root_path(path)] = None
    return tuple(roots)


def native_roots(roots: Sequence[str], bridge_files: Path | None = None) -> tuple[bytes, ...]:
    """The resolved native paths beneath which a file may be opened; missing roots resolve to themselves."""
    found = [os.path.realpath(paths.unescape(root)) for root in roots]
    if bridge_files is not None:
        found.append(os.path.realpath(os.fsencode(bridge_files)))
    return tuple(found)
