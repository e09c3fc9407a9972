"""watchdog, held to what it does well: this module and ``inotify``, which has what is different on Linux, know it.

Elsewhere watchdog's own observer is used as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final, Protocol

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

EVENTS: Final[list[type[FileSystemEvent]]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]


class Listener(Protocol):
    """Who is told; called from watchdog's threads."""

    def directories(self, root: str, start: str) -> Iterator[str]:
        """``start`` and every directory beneath it that is to be watched."""

    def heard(self, event: FileSystemEvent) -> None:
        """Something happened."""

    def overflowed(self, root: str) -> None:
        """Events were lost: the root must be scheduled anew and looked through."""

    def unmounted(self, root: str, directory: str) -> None:
        """The filesystem of a watched directory is gone, and its watch with it; it may be back already."""

    def unwatched(self, directory: str, reason: str) -> None:
        """A directory cannot be watched."""


class _Handler(FileSystemEventHandler):
    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def dispatch(self, event: FileSystemEvent) -> None:
        self._listener.heard(event)


class Observation:
    """The watches of some roots. Its methods block: call them from a worker thread."""

    def __init__(self, listener: Listener) -> None:
        """Raises OSError when the system has no more inotify instances."""
        self._listener = listener
        self._handler = _Handler(listener)
        self._watches: dict[str, Any] = {}
        self._observer = _make_observer(listener)
        self._observer.start()

    def watch(self, root: str) -> None:
        """Begin to watch a root; one that is watched already is watched anew. Raises OSError when it cannot be."""
        self.unwatch(root)
        self._watches[root] = self._observer.schedule(self._handler, root, recursive=True, event_filter=EVENTS)

    def renew(self, root: str, start: str) -> None:
        """Watch, from a directory of a root down, what is to be watched now and nothing else. No event of the rest of
        the root is lost meanwhile, as it is when the root is watched anew. Raises OSError as ``watch`` does, for a root
        that could not be watched so far."""
        if root not in self._watches:
            self.watch(root)
            return
        emitter = self._observer._emitter_for_watch.get(self._watches[root])
        if sys.platform == "linux" and emitter is not None:  # elsewhere the system itself watches all beneath a root
            emitter.renew(start)

    def unwatch(self, root: str) -> None:
        """Stop watching a root."""
        watch = self._watches.pop(root, None)
        if watch is not None:
            try:
                self._observer.unschedule(watch)
            except KeyError:  # it ended by itself, with its folder
                pass

    def stop(self) -> None:
        """End all watches and watchdog's threads."""
        self._observer.stop()
        self._observer.join()


def _make_observer(listener: Listener) -> Any:
    if sys.platform == "linux":
        from mosaicfs_plugins.localfs.inotify import linux_observer

        return linux_observer(listener)
    from watchdog.observers import Observer

    return Observer()
