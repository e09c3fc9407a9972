"""Whether what a crawl or watch hands over is what it should be. Pure; runs for every operation, so it is quick."""

from __future__ import annotations

from typing import Any, Final

from mosaicfs_core.hooks.operations import (
    Checkpoint,
    Complete,
    CompleteDirectory,
    Create,
    Delete,
    Directory,
    Problem,
    Rename,
)

_PATHS: Final[dict[type, tuple[str, ...]]] = {
    Create: ("export_path",),
    Rename: ("export_path", "previous_export_path"),
    Delete: ("export_path",),
    Directory: ("export_path",),
    CompleteDirectory: ("export_path",),
    Complete: ("prefix",),
    Checkpoint: (),
    Problem: ("export_path",),
}

_NO_NAMES: Final = frozenset({"", ".", ".."})


def check_yielded(item: Any, prefix: str = "") -> str | None:
    """What is wrong with an item of a crawl (an operation or a list or tuple of them), or None.

    ``prefix`` is the export path that all must lie beneath, "" for anywhere: a plugin that provides a filesystem must
    not name, nor delete, the files of another.
    """
    if type(item) in _PATHS:
        return check_operation(item, prefix)
    if not isinstance(item, list | tuple):
        return f"{type(item).__name__}, not a FileOperation or a sequence of them"
    for operation in item:
        problem = check_operation(operation, prefix)
        if problem is not None:
            return problem
    return None


def check_operation(operation: Any, prefix: str = "") -> str | None:
    """What is wrong with one operation, or None."""
    kind = type(operation)
    fields = _PATHS.get(kind)
    if fields is None:
        return f"{kind.__name__}, not a FileOperation"
    for field in fields:
        path = getattr(operation, field)
        if not _is_path(path):
            return f"{kind.__name__} with {field} {path!r}, not an absolute, normalized path"
        if prefix and path != prefix and not path.startswith(f"{prefix}/"):
            return f"{kind.__name__} with {field} {path!r}, which does not lie beneath its own {prefix}"
    if kind is Create and not (_is_count(operation.size) and type(operation.mtime) is int):
        return f"Create of {operation.export_path!r} with a size or mtime that is no integer"
    return _check_listing(operation) if kind is Directory else None


def _check_listing(directory: Directory) -> str | None:
    # One plain loop with everything inline: measured the quickest (0.2 µs a file), and a crawl hands over every file of
    # a machine here.
    where = f"Directory {directory.export_path!r}"
    try:
        for name, size, mtime, device, number in directory.files:
            if not (type(size) is int is type(mtime) is type(device) is type(number) and size >= 0):
                return f"{where} with wrong figures for {name!r}"
            if type(name) is not str or name in _NO_NAMES or "/" in name or "\0" in name:
                return f"{where} with the impossible name {name!r}"
        for name in directory.directories:
            if type(name) is not str or name in _NO_NAMES or "/" in name or "\0" in name:
                return f"{where} with the impossible name {name!r}"
    except (TypeError, ValueError):
        return f"{where} whose files are not entries"
    return None


def _is_path(path: Any) -> bool:
    if type(path) is not str or not path.startswith("/") or "\0" in path:
        return False
    if path == "/":
        return True
    return not (path.endswith(("/", "/.", "/..")) or "//" in path or "/./" in path or "/../" in path)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
