"""What watchers said while a crawl runs. Of that the crawl says nothing: its listings may be older, and whoever watches
speaks again when something changes again. What its listings lack for that reason is no deletion (``covers``)."""

from __future__ import annotations

from collections.abc import Sequence

from mosaicfs_core.documents import paths
from mosaicfs_core.hooks import (
    Complete,
    CompleteDirectory,
    Create,
    Delete,
    Directory,
    Entry,
    FileOperation,
    Rename,
)


class Spoken:
    """Paths that were spoken of. The loop notes them, worker threads that plan ask for them."""

    def __init__(self) -> None:
        self._paths: set[str] = set()  # with all beneath
        self._parents: set[str] = set()  # of these
        self._directories: set[str] = set()  # with what lies directly in them

    def note(self, operations: Sequence[FileOperation]) -> None:
        """Somebody who watches says this now."""
        for operation in operations:
            match operation:
                case Create() | Delete():
                    self._add(operation.export_path)
                case Rename():
                    self._add(operation.previous_export_path)
                    self._add(operation.export_path)
                case Complete():
                    self._add(operation.prefix)
                case Directory() | CompleteDirectory():
                    self._directories.add(operation.export_path)

    def _add(self, path: str) -> None:
        self._paths.add(path)
        self._parents.add(paths.parent_of(path))

    def covers(self, path: str) -> bool:
        """Whether a file at ``path`` was spoken of."""
        return paths.parent_of(path) in self._directories or self._beneath(path)

    def _beneath(self, path: str) -> bool:
        while self._paths and path != "/":
            if path in self._paths:
                return True
            path = paths.parent_of(path)
        return path in self._paths

    def left(self, group: Sequence[Directory | Create]) -> list[Directory | Create]:
        """What a crawl may still say."""
        left: list[Directory | Create] = []
        for operation in group:
            path = operation.export_path
            if isinstance(operation, Create):
                if not self.covers(path):
                    left.append(operation)
            elif path not in self._directories and not self._beneath(path):
                files = self.files_left(path, operation.files)
                left.append(Directory(export_path=path, files=files, directories=operation.directories))
        return left

    def files_left(self, directory: str, files: Sequence[Entry]) -> Sequence[Entry]:
        """What a crawl may still say of the files in a directory."""
        if directory in self._directories or self._beneath(directory):
            return ()
        if directory not in self._parents:
            return files
        return [entry for entry in files if paths.join(directory, entry[0]) not in self._paths]
