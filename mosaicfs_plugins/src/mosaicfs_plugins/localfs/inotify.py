"""watchdog's observer for Linux, with a recursive watch of our own.

It does not descend into what is ignored or excluded, it tells which directories could not be watched (the system allows
a number of watches), and it leaves a queue overflow to us: rebuilding watches from the reading thread, as watchdog
does, loses to the events of the rebuilding itself in trees of some thousands of directories.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from watchdog.observers.inotify import InotifyEmitter, InotifyObserver, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent

if TYPE_CHECKING:
    from mosaicfs_plugins.localfs.observer import Listener


def linux_observer(listener: Listener) -> InotifyObserver:
    """An observer whose watches tell ``listener``. Raises OSError when the system has no more inotify instances."""

    class ToldEmitter(Emitter):
        """watchdog makes its emitters itself, from a class."""

        told = listener

    logging.getLogger("watchdog.observers.inotify").addFilter(_not_of_stopping)
    observer = InotifyObserver()
    observer._emitter_class = ToldEmitter
    return observer


def _not_of_stopping(record: logging.LogRecord) -> bool:
    """Leaves out what watchdog logs as an error when it is stopped while an event is on its way, as any stop may be."""
    return "called when the thread is inactive" not in record.getMessage()


class Emitter(InotifyEmitter):
    """Watches one root by our kind of group, for ``told``."""

    told: Listener

    def renew(self, start: str) -> None:
        """See ``Observation.renew``."""
        group = self._inotify
        if isinstance(group, Group):
            with suppress(OSError):  # the root is gone: whoever watches it will find out
                group.renew(os.fsencode(start))

    def on_thread_start(self) -> None:
        self._inotify = Group(
            self.told,
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=True,
            event_mask=self.get_event_mask_from_filter(),
            follow_symlink=True,  # the root alone may be a link; ``directories`` names no other
        )


class Group(InotifyWatchGroup):
    """The watches of one root."""

    def __init__(self, listener: Listener, *arguments: Any, **options: Any) -> None:
        self._listener = listener  # the base class adds the first watches
        super().__init__(*arguments, **options)

    def on_queue_overflow(self) -> None:
        self._move_event_grouper.discard_pending_events()
        self._listener.overflowed(os.fsdecode(self.path))

    def on_event(self, event: InotifyEvent) -> None:
        if event.mask & InotifyConstants.IN_UNMOUNT:
            with self._lock:
                directory = self._active_callbacks_by_watch.get(event.wd)
            if directory is not None:
                self._listener.unmounted(os.fsdecode(self.path), os.fsdecode(directory))
        else:
            super().on_event(event)

    def _add_all_callbacks(self, path: bytes) -> None:
        for directory in self._wanted(path):
            self._add_callback(directory)

    def _wanted(self, start: bytes) -> Iterator[bytes]:
        """One at a time: a directory is watched before it is looked into, so that nothing made meanwhile is missed."""
        found = self._listener.directories(os.fsdecode(self.path), os.fsdecode(start))
        return (os.fsencode(directory) for directory in found)

    def renew(self, start: bytes) -> None:
        """See ``Observation.renew``."""
        with self._lock:
            if not self.is_active:
                return
            wanted = list(self._wanted(start))
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
                self._listener.unwatched(os.fsdecode(path), error.strerror or str(error))
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
