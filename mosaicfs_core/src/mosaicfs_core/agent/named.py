"""What one session has named so far. The loop notes it, and worker threads that plan ask for it."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from threading import Lock

from mosaicfs_core.documents import paths


class Named:
    """The files named one by one, and the directories named whole, of which nothing else is there."""

    def __init__(self) -> None:
        self._files: dict[str, set[str]] = {}
        # Hashes of directories. They wait packed (8 bytes each, not 70) until somebody asks.
        self._whole = array("q")
        self._whole_asked: set[int] = set()
        self._lock = Lock()

    def files(self, directory: str, names: Collection[str]) -> None:
        """Note files of a directory by name."""
        self._files.setdefault(directory, set()).update(names)

    def whole(self, directory: str) -> set[str]:
        """Note that all of a directory was named. Its names are not kept longer; returns them."""
        with self._lock:
            self._whole.append(hash(directory))
        return self._files.pop(directory, set())

    def is_whole(self, directory: str) -> bool:
        """Whether all of a directory was named."""
        with self._lock:
            self._whole_asked.update(self._whole)
            del self._whole[:]
        return hash(directory) in self._whole_asked

    def names(self, directory: str) -> Collection[str]:
        """The names noted of a directory that was not named whole."""
        return self._files.get(directory, ())

    def covers(self, path: str) -> bool:
        """Whether a file at ``path`` was named, or would have been were it still there."""
        parent = paths.parent_of(path)
        return paths.name_of(path) in self.names(parent) or self.is_whole(parent)
