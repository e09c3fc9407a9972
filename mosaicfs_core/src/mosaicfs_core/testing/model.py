"""What a sequence of file operations amounts to: the reference that crawls are checked against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from importlib_metadata import EntryPoint

from mosaicfs_core.documents import paths
from mosaicfs_core.hooks import (
    Complete,
    CompleteDirectory,
    Create,
    Delete,
    Directory,
    FileOperation,
    Problem,
    Rename,
)

Facts = tuple[int, int, str | None]


def written(native_path: bytes) -> str:
    """The written form of native bytes, as export paths hold it."""
    return paths.escape(native_path)


def native(written_path: str) -> bytes:
    """The native bytes of a written path or name."""
    return paths.unescape(written_path)


class CrawlSource(Protocol):
    """What ``CrawlContract`` needs to know of a crawl under test, and how to change what it finds.

    ``plugin`` is an installed plugin's name or an entry point (``plugin_at``). ``settings`` are the instance's.
    ``odd_names`` False says that the source cannot hold names that are not UTF-8 or have newlines.
    """

    plugin: str | EntryPoint
    settings: Mapping[str, Any]
    odd_names: bool

    def add(self, name: bytes, content: bytes) -> str:
        """Put a file of that name into the source; returns the export path it must be indexed under."""

    def remove(self, export_path: str) -> None:
        """Take a file out again."""

    def break_part(self) -> Callable[[], None] | None:
        """Make a part of the source unreadable; returns what mends it, or None when this source has no way to break."""


class CrawlModel:
    """The files that are indexed after the operations applied so far.

    ``files`` maps an export path to ``(size, mtime, fingerprint)``; ``problems`` are the reports of the last crawl.
    """

    def __init__(self) -> None:
        self.files: dict[str, Facts] = {}
        self.problems: list[Problem] = []
        self.changes: list[str] = []
        self._named: set[str] = set()

    def begin(self) -> None:
        """A crawl begins: ``changes`` and ``problems`` start anew."""
        self._named.clear()
        self.changes.clear()
        self.problems.clear()

    def apply(self, item: FileOperation | Sequence[FileOperation]) -> None:
        """Apply what a crawl yielded."""
        for operation in item if isinstance(item, list | tuple) else (item,):
            self._apply(operation)

    def _apply(self, operation: Any) -> None:
        match operation:
            case Create():
                self._put(operation.export_path, (operation.size, operation.mtime, operation.fingerprint))
                self._drop(lambda path: _within(path, operation.export_path) and path != operation.export_path)
            case Directory():
                self._list(operation)
            case Delete():
                self._drop(lambda path: _within(path, operation.export_path))
            case Rename():
                self._rename(operation)
            case CompleteDirectory():
                self._drop(lambda path: _parent(path) == operation.export_path and path not in self._named)
            case Complete():
                self._drop(lambda path: _within(path, operation.prefix) and path not in self._named)
            case Problem():
                self.problems.append(operation)

    def _put(self, path: str, facts: Facts) -> None:
        self._named.add(path)
        if self.files.get(path) != facts:
            self.changes.append(f"{'changed' if path in self.files else 'new'}: {path}")
            self.files[path] = facts

    def _list(self, directory: Directory) -> None:
        base = directory.export_path.rstrip("/")
        for entry in directory.files:
            self._put(f"{base}/{entry[0]}", (entry[1], entry[2], None))
        listed = {f"{base}/{entry[0]}" for entry in directory.files}
        kept = {f"{base}/{name}" for name in directory.directories}

        def gone(path: str) -> bool:
            if not path.startswith(f"{base}/"):
                return path == base
            below = f"{base}/{path[len(base) + 1 :].partition('/')[0]}"
            return path not in listed if below == path else below not in kept

        self._drop(gone)

    def _rename(self, operation: Rename) -> None:
        source = operation.previous_export_path
        for path in [path for path in self.files if _within(path, source)]:
            if operation.directory is not None and operation.directory == (path == source):
                continue  # known as the other kind
            new = operation.export_path + path[len(source) :]
            self.files[new] = self.files.pop(path)
            self._named.add(new)
            self.changes.append(f"renamed: {path}")

    def _drop(self, gone: Callable[[str], bool]) -> None:
        for path in [path for path in self.files if gone(path)]:
            del self.files[path]
            self.changes.append(f"gone: {path}")


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
