"""watchdog, held to what it does well: the one module that knows it.

On Linux the recursive watch is our own subclass of watchdog's: it does not descend into what is ignored or excluded, it
tells which directories could not be watched (the system allows a number of watches), and it leaves a queue overflow to
us: rebuilding watches from the reading thread, as watchdog does, loses to the events of the rebuilding itself in trees
of some thousands of directories. Elsewhere watchdog's own observer is used as it is.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
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
        return _linux_observer(listener)
    from watchdog.observers import Observer

    return Observer()


def _not_of_stopping(record: logging.LogRecord) -> bool:
    """Leaves out what watchdog logs as an error when it is stopped while an event is on its way, as any stop may be."""
    return "called when the thread is inactive" not in record.getMessage()


def _linux_observer(listener: Listener) -> Any:
    from watchdog.observers.api import BaseObserver
    from watchdog.observers.inotify import InotifyEmitter, InotifyObserver, InotifyWatchGroup
    from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent

    class Group(InotifyWatchGroup):
        """The watches of one root."""

        def on_queue_overflow(self) -> None:
            self._move_event_grouper.discard_pending_events()
            listener.overflowed(os.fsdecode(self.path))

        def on_event(self, event: InotifyEvent) -> None:
            if event.mask & InotifyConstants.IN_UNMOUNT:
                with self._lock:
                    directory = self._active_callbacks_by_watch.get(event.wd)
                if directory is not None:
                    listener.unmounted(os.fsdecode(self.path), os.fsdecode(directory))
            else:
                super().on_event(event)

        def _add_all_callbacks(self, path: bytes) -> None:
            for directory in listener.directories(os.fsdecode(self.path), os.fsdecode(path)):
                self._add_callback(os.fsencode(directory))

        def renew(self, start: bytes) -> None:
            """See ``Observation.renew``."""
            with self._lock:
                if not self.is_active:
                    return
                wanted = [
                    os.fsencode(found) for found in listener.directories(os.fsdecode(self.path), os.fsdecode(start))
                ]
                kept, beneath = set(wanted), start.rstrip(b"/") + b"/"
                watched = list(self._active_callbacks_by_watch.items())
                self._remove_callbacks(
                    [number for number, path in watched if (path + b"/").startswith(beneath) and path not in kept]
                )
                for path in wanted:
                    self._add_callback(path)

        def _add_callback(self, path: bytes) -> None:
            try:
                descriptor = self._watched(path)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EBADF):
                    listener.unwatched(os.fsdecode(path), error.strerror or str(error))
                elif path == self.path:
                    raise
                return
            before = self._active_callbacks_by_path.get(path)
            if before not in (None, descriptor) and self._active_callbacks_by_watch.get(before) == path:
                self._remove_callbacks([before])  # another directory than was there: a filesystem was mounted over it
            self._active_callbacks_by_path[path] = descriptor
            self._active_callbacks_by_watch[descriptor] = path

        def _watched(self, path: bytes) -> Any:
            """``InotifyFD.add_callback`` without its warning: a directory that appears while its parent is being looked
            into is found twice, by the look and by its own event, and there is nothing wrong with that. It also keeps
            silent about one that may not be read, as if it were watched: that is raised here."""
            if not os.access(path, os.R_OK, effective_ids=True):
                os.stat(path)  # one that is gone is something else
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            with self._inotify_fd._lock:
                watch = self._inotify_fd._get_or_create_watch(path, self.event_mask)
                watch.callbacks[self._id] = self._callback
                return watch.wd

    class Emitter(InotifyEmitter):
        """Makes our kind of group."""

        def renew(self, start: str) -> None:
            """See ``Observation.renew``."""
            group = self._inotify
            if isinstance(group, Group):
                with suppress(OSError):  # the root is gone: whoever watches it will find out
                    group.renew(os.fsencode(start))

        def on_thread_start(self) -> None:
            self._inotify = Group(
                self._inotify_fd,
                os.fsencode(self.watch.path),
                is_recursive=True,
                event_mask=self.get_event_mask_from_filter(),
                follow_symlink=True,  # the root alone may be a link; ``directories`` names no other
            )

    logging.getLogger("watchdog.observers.inotify").addFilter(_not_of_stopping)
    observer: BaseObserver = InotifyObserver()
    observer._emitter_class = Emitter
    return observer
