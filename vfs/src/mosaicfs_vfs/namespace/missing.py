"""Why a file is not in the index at all, from what agents say of themselves and from their sources of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from mosaicfs_core.content import ProvidedRoot, WatchedRoot, provided_roots, watched_roots
from mosaicfs_core.documents.paths import is_under, parent_of
from mosaicfs_core.rules.tree import ancestry
from mosaicfs_vfs.namespace.listing import build
from mosaicfs_vfs.namespace.state import State


class Missing(NamedTuple):
    """Why no file answers, as far as the replica tells. ``places`` are the (node id, export path) in watched folders
    where it would be."""

    reason: Literal["ignored", "never_indexed"]
    message: str
    places: tuple[tuple[str, str], ...]


def explain_missing(
    state: State,
    path: str,
    sources: Sequence[tuple[str, str]],
    live: Mapping[str, Mapping[str, Any]],
    *,
    in_tree: bool,
) -> Missing:
    """The reason for a path that no indexed file answers to. ``sources`` are where its file would be.

    ``in_tree`` paths may be virtual ones; others are a disk's alone. ``live`` holds statuses of nodes that are newer
    than their documents.
    """
    documents = list(state.reader.documents_of("plugin"))
    roots = list(watched_roots(documents))
    watched = [
        (root, export_path)
        for node_id, export_path in dict.fromkeys(sources)
        for root in roots
        if root.node_id == node_id and is_under(export_path, root.path)
    ]
    if not watched:
        provided = _provided(provided_roots(documents), sources)
        if provided is not None:
            return Missing("never_indexed", provided, ())
        on_disk = f"On disk no watched folder holds {path}."
        return Missing("never_indexed", f"{_not_in_tree(state, path)} {on_disk}" if in_tree else on_disk, ())
    reason, message = _explain_watched(state, *watched[0], live)
    places = dict.fromkeys((root.node_id, export_path) for root, export_path in watched)
    return Missing(reason, message, tuple(places))


def _not_in_tree(state: State, path: str) -> str:
    """Why the tree has nothing at a virtual path."""
    parent, now = parent_of(path), state.now()
    for directory in ancestry(parent):
        if build(state, directory, now) is None:
            return f"There is no directory {directory} in the tree."
    if next(iter(state.tree.mounts_over(parent)), None) is None:
        return f"In the tree no mount brings files to {parent}."
    return f"In the tree no mount of {parent} has a file for {path}."


def _provided(roots: Iterable[ProvidedRoot], sources: Sequence[tuple[str, str]]) -> str | None:
    """What is to be said of a file that a plugin would provide, None when none would."""
    for root in roots:
        for node_id, export_path in sources:
            if root.node_id == node_id and is_under(export_path, root.path):
                return f"{export_path} lies where {root.instance} of {node_id} has its files, but it never named it."
    return None


def _explain_watched(
    state: State, root: WatchedRoot, export_path: str, live: Mapping[str, Mapping[str, Any]]
) -> tuple[Literal["ignored", "never_indexed"], str]:
    where = f"{export_path} of {root.node_id}"
    problem = _problem_with(state, root.node_id, export_path, live)
    if problem is not None and problem.get("kind") == "ignored":
        return "ignored", f"{where} is left out of the index: {problem.get('message')}."
    if problem is not None:
        return "never_indexed", f"{where} was not indexed ({problem.get('kind')}): {problem.get('message')}."
    reasons = "it does not exist, cannot be read, is no regular file, is ignored by a pattern, or was not crawled yet"
    return "never_indexed", f"{where} lies in the watched folder {root.path} but was never indexed: {reasons}."


def _problem_with(
    state: State, node_id: str, export_path: str, live: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    """What the node reported of the path, or of a directory on the way to it."""
    statuses = [live[node_id]] if node_id in live else state.reader.documents_of("agent_status", (node_id,))
    for status in statuses:
        crawler = (status.get("subsystems") or {}).get("crawler") or {}
        for problem in crawler.get("problems") or ():
            # One report may stand for many names of a folder; then it does not tell which.
            if problem.get("count", 1) == 1 and is_under(export_path, str(problem.get("export_path"))):
                return dict(problem)
    return None
