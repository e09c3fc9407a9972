"""The namespace: what is in a virtual directory, evaluated on demand from the replica."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mosaicfs_core.hooks import FileRecord, StepOp
    from mosaicfs_core.store import FileRow, Reader
    from mosaicfs_vfs.namespace.types import Changes, Entry, Listing


class Namespace:
    """The virtual tree over one replica.

    Synchronous: the server calls it in a worker thread, the mount in its own process. Every public method takes the
    instance's lock, so that threads may share one; the reader must belong to this namespace alone
    (``Reader.open(path)``).

    What a listing shows is as of the last ``refresh()`` or newer. A caller that must see its own writes refreshes first;
    it costs one indexed query when nothing changed.
    """

    def __init__(self, reader: Reader, ops: Mapping[str, StepOp], now: Callable[[], int] = ...) -> None:
        """``ops`` are the plugins' step ops by name (``host.step_ops()``); ``now`` gives microseconds since the epoch."""

    def list(self, path: str) -> Listing:
        """What is in the directory. Cached for 5 seconds and until ``refresh`` finds it changed.

        Raises ``NotFound`` when there is no such directory (a file's path included) and ``UserError`` for a path that is
        none.
        """

    def resolve(self, path: str) -> Entry:
        """The entry at the path, of either kind. Raises ``NotFound``, ``UserError``."""

    def record(self, entry: Entry | FileRow) -> FileRecord:
        """The full record of a file entry (with its node and export path), as content wants it to open it."""

    def refresh(self) -> Changes:
        """Follow the replica: read what changed since the last call, drop what depends on it, and say what that was.

        Files that crossed the border of an ``age`` step since the last call count as changed.
        """

    def next_expiry(self) -> int | None:
        """When, in microseconds, the next file crosses the border of an ``age`` step: refresh then. None: never."""

    def paths_of(self, file_id: str) -> list[str]:
        """Every virtual path that shows the file (``{node_id}.{uuid}``), sorted. Raises ``NotFound``."""

    def preview(self, path: str, mounts: Sequence[Mapping[str, Any]], limit: int = 100) -> Any:
        """What unsaved mounts would show in the directory: the first matches and how many there are."""

    def explain(self, path: str | None = None, file_id: str | None = None) -> Any:
        """Why a file is shown where it is, or why it is not."""
