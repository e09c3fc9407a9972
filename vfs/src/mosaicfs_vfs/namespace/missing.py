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
    state: State, path: str, sources: Sequence[tuple[str, str]]
) -> tuple[Literal["ignored", "never_indexed"], str]:
    """The reason for a path that no indexed file answers to. ``sources`` are where its file would be."""
    roots = list(watched_roots(state.reader.documents_of("plugin")))
    for node_id, export_path in sources:
        for root in roots:
            if root.node_id == node_id and is_under(export_path, root.path):
                pattern = _ignored_by(state, root, export_path)
                if pattern is not None:
                    return "ignored", f"{export_path} of {node_id} is left out of the index by the pattern {pattern!r}."
                return (
                    "never_indexed",
                    f"{export_path} lies in the watched folder {root.path} of {node_id} but was never indexed: it does "
                    "not exist, cannot be read, is no regular file, is left out by an ignore file, or is yet to come.",
                )
    return "never_indexed", f"Nothing at {path} was ever indexed: no watched folder holds it."


def _ignored_by(state: State, root: WatchedRoot, export_path: str) -> str | None:
    """The pattern, or what the node said of it, that keeps a path out of the index; None when none is known to."""
    for document in state.reader.documents_of("agent_status", (root.node_id,)):
        for problem in (document.get("subsystems") or {}).get("crawler", {}).get("problems") or ():
            if problem.get("kind") == "ignored" and is_under(export_path, str(problem.get("export_path"))):
                return str(problem.get("message") or problem["export_path"])
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
