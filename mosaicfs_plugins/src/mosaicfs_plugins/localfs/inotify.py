"""watchdog's recursive watch on Linux, with our own idea of which directory is where.

An event says that a directory appears at a path or is gone from it, and a rename says both, one after the other. What
appears is watched with all beneath it that is to be watched; what goes takes along every watch at its path and beneath.
So there is one watch for a path at most, and none for a directory that was moved out of the root. What happens in a
moved directory before it is watched at its new place is found by whoever looks through what appeared, as must be done
in any case.

watchdog carries the watches of a renamed directory over instead, and keeps those of one that leaves the root: two
watches for a path are the end of its reading thread when one of them ends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

from watchdog.observers.inotify import InotifyEmitter, InotifyObserver, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent
from watchdog.observers.inotify_move_event_grouper import PathedInotifyEvent


class Surroundings(Protocol):
    """What the watches of a root ask and tell, from watchdog's threads."""

    def directories(self, root: str, start: str) -> Iterator[str]:
        """``start`` and every directory beneath it that is to be watched, each before what is in it is looked at."""

    def overflowed(self, root: str) -> None:
        """Events were lost."""

    def unmounted(self, root: str, directory: str) -> None:
        """The filesystem of a watched directory is gone, and its watch with it."""

    def unwatched(self, directory: str, reason: str) -> None:
        """A directory cannot be watched."""


class Observer(InotifyObserver):
    """watchdog's observer of inotify with ``Group`` for the watches of a root."""

    def __init__(self, surroundings: Surroundings) -> None:
        """Raises OSError when the system has no more inotify instances."""
        super().__init__()
        self._emitter_class = Emitter
        self._emitter_kwargs["surroundings"] = surroundings

    def reads(self) -> bool:
        """Whether the thread that reads events is at work."""
        return self._inotify_fd.is_alive()


class Emitter(InotifyEmitter):
    """Makes our kind of group."""

    def __init__(self, *args: Any, surroundings: Surroundings, **more: Any) -> None:
        super().__init__(*args, **more)
        self._surroundings = surroundings

    def renew(self, starts: Sequence[str]) -> None:
        """See ``Group.renew``."""
        group = self._inotify
        if isinstance(group, Group):
            with suppress(OSError):  # the root is gone: whoever watches it will find out
                group.renew([os.fsencode(start) for start in starts])

    def on_thread_start(self) -> None:
        self._inotify = Group(
            self._surroundings,
            self._inotify_fd,
            os.fsencode(self.watch.path),
            self.get_event_mask_from_filter(),
        )


class Group(InotifyWatchGroup):
    """The watches of one root."""

    def __init__(self, surroundings: Surroundings, descriptor: Any, path: bytes, event_mask: Any) -> None:
        self._surroundings = surroundings
        # The root alone may be a link; ``directories`` names no other.
        super().__init__(descriptor, path, event_mask, is_recursive=True, follow_symlink=True)

    def on_queue_overflow(self) -> None:
        """Leave it to others: rebuilding from the reading thread, as watchdog does, loses to the events of the
        rebuilding itself in trees of some thousands of directories."""
        self._move_event_grouper.discard_pending_events()
        self._surroundings.overflowed(os.fsdecode(self.path))

    def on_event(self, event: InotifyEvent) -> None:
        """Follow the directories, and hand the event on."""
        with self._lock:
            path = self._build_event_source_path(event) if self.is_active else None
            if path is None:
                return
            if not event.mask & InotifyConstants.IN_UNMOUNT:
                if event.is_directory:
                    self._follow(event, path)
                self._move_event_grouper.put_event(PathedInotifyEvent(event, path))
                return
        self._surroundings.unmounted(os.fsdecode(self.path), os.fsdecode(path))

    def renew(self, starts: Sequence[bytes]) -> None:
        """Watch, from some directories of the root down, what is to be watched now and nothing else, without losing an
        event of the rest of the root. What is not wanted any more goes first: there may be too few watches."""
        with self._lock:
            if not self.is_active:
                return
            before = list(self._beneath(starts))
            if before:
                wanted = {path for start in starts for path in self._directories(start)}
                self._remove_callbacks([descriptor for descriptor, path in before if path not in wanted])
            for start in starts:
                self._add_all_callbacks(start)

    # The rest is called with the lock held.

    def _follow(self, event: InotifyEvent, path: bytes) -> None:
        if event.is_moved_from or event.is_moved_to:
            self._remove_callbacks([descriptor for descriptor, _ in self._beneath([path])])
        if event.is_moved_to or event.is_create:
            self._add_all_callbacks(path)

    def _directories(self, start: bytes) -> Iterator[bytes]:
        return map(os.fsencode, self._surroundings.directories(os.fsdecode(self.path), os.fsdecode(start)))

    def _beneath(self, starts: Sequence[bytes]) -> Iterator[tuple[Any, bytes]]:
        """The watches at some paths and beneath them, with their own paths."""
        wanted = frozenset(start.rstrip(b"/") for start in starts)
        for descriptor, path in self._active_callbacks_by_watch.items():
            above = path.rstrip(b"/")
            while above not in wanted and above:
                above = above.rpartition(b"/")[0]
            if above in wanted:
                yield descriptor, path

    def _add_all_callbacks(self, path: bytes) -> None:
        # One at a time: what appears in a directory after a look into it is told, if it is watched before the look.
        for directory in self._directories(path):
            self._add_callback(directory)

    def _add_callback(self, path: bytes) -> None:
        try:
            descriptor = self._watched(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EBADF):
                self._surroundings.unwatched(os.fsdecode(path), error.strerror or str(error))
            elif path == self.path:
                raise
            return
        before = self._active_callbacks_by_path.get(path)
        if before not in (None, descriptor) and self._active_callbacks_by_watch.get(before) == path:
            self._remove_callbacks([before])  # another directory than was there: a filesystem was mounted over it
        self._remove_watch_internally(descriptor)  # it was elsewhere when it was found before: that is still to be told
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

    def _remove_watch_internally(self, descriptor: Any) -> None:
        path = self._active_callbacks_by_watch.pop(descriptor, None)
        if path is not None and self._active_callbacks_by_path.get(path) == descriptor:
            del self._active_callbacks_by_path[path]
