"""Why a file is not in the index at all, from what agents say of themselves and from their watched folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from mosaicfs_core.documents.paths import is_under
from mosaicfs_core.rules import compile_glob, name_matcher
from mosaicfs_vfs.namespace.state import State

CRAWLER: Final = "localfs"


class WatchedRoot(NamedTuple):
    """A folder that a node watches. ``config`` is the crawler's, its settings laid over."""

    node_id: str
    path: str
    config: Mapping[str, Any]


class Missing(NamedTuple):
    """Why no file answers, as far as the replica tells. ``places`` are the (node id, export path) in watched folders
    where it would be."""

    reason: Literal["ignored", "never_indexed"]
    message: str
    places: tuple[tuple[str, str], ...]


def watched_roots(documents: Sequence[Mapping[str, Any]]) -> Iterator[WatchedRoot]:
    """The watched folders that ``plugin`` documents name, also of instances that are switched off: their files stay."""
    for document in documents:
        if (document.get("package") or document["plugin_name"]) != CRAWLER:
            continue
        config = {**(document.get("config") or {}), **(document.get("settings") or {})}
        for path in config.get("paths") or ():
            if isinstance(path, str) and path.startswith("/"):
                yield WatchedRoot(document["node_id"], path.rstrip("/") or "/", config)


def explain_missing(
    state: State, path: str, sources: Sequence[tuple[str, str]], live: Mapping[str, Mapping[str, Any]]
) -> Missing:
    """The reason for a path that no indexed file answers to. ``sources`` are where its file would be.

    ``live`` holds statuses of nodes that are newer than their documents.
    """
    roots = list(watched_roots(state.reader.documents_of("plugin")))
    watched = [
        (root, export_path)
        for node_id, export_path in dict.fromkeys(sources)
        for root in roots
        if root.node_id == node_id and is_under(export_path, root.path)
    ]
    if not watched:
        return Missing("never_indexed", f"Nothing at {path} was ever indexed: no watched folder holds it.", ())
    reason, message = _explain_watched(state, *watched[0], live)
    places = dict.fromkeys((root.node_id, export_path) for root, export_path in watched)
    return Missing(reason, message, tuple(places))


def _explain_watched(
    state: State, root: WatchedRoot, export_path: str, live: Mapping[str, Mapping[str, Any]]
) -> tuple[Literal["ignored", "never_indexed"], str]:
    where = f"{export_path} of {root.node_id}"
    problem = _problem_with(state, root.node_id, export_path, live)
    if problem is not None and problem.get("kind") == "ignored":
        return "ignored", f"{where} is left out of the index: {problem.get('message')}."
    pattern = _ignored_by(root, export_path)
    if pattern is not None:
        return "ignored", f"{where} is left out of the index: the pattern {pattern} in the settings."
    if problem is not None:
        return "never_indexed", f"{where} was not indexed ({problem.get('kind')}): {problem.get('message')}."
    reasons = "it does not exist, cannot be read, is no regular file, or was not crawled yet"
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


def _ignored_by(root: WatchedRoot, export_path: str) -> str | None:
    """The pattern of the crawler's settings that keeps a path out of the index, or None."""
    for pattern in root.config.get("ignore") or ():
        if isinstance(pattern, str) and _leaves_out(pattern, export_path, root.path):
            return pattern
    return None


def _leaves_out(pattern: str, export_path: str, root: str) -> bool:
    """Whether an ignore pattern (as in ``.gitignore``) fits the path or a directory on the way to it."""
    bare = pattern.strip().rstrip("/")
    if not bare or bare.startswith(("#", "!")):
        return False
    below = export_path[len(root.rstrip("/")) + 1 :].split("/")
    directories = below[:-1] if pattern.rstrip().endswith("/") else below
    if "/" not in bare:
        matches = name_matcher(bare, ignore_case=False)
        return any(matches(name) for name in directories)
    matches_path = compile_glob(f"/{bare.lstrip('/')}").matches
    return any(matches_path("/" + "/".join(below[: depth + 1])) for depth in range(len(directories)))
