"""The watched roots: are they really there? An unmounted disk must never be taken for a deletion.

What is remembered of each root between crawls lies in ``state_dir/roots.json``: the filesystem it is on, a few of its
entries with their inode numbers (filesystems without a stable id are recognized by them), whether it was found empty,
and the filesystems mounted beneath it. One that was taken out of the settings is kept, marked, until the index has lost
its files: a crawl that is cut off before that would leave them there for ever.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from mosaicfs_core.hooks import filesystem_id

SAMPLE: Final = 16
_EMPTY_LOOKS: Final = 2


class RootMemory(msgspec.Struct, kw_only=True):
    """What is known of a root. ``sample`` maps names to inode numbers; ``mounts`` maps native paths beneath the root,
    where another filesystem was mounted, to its id, and ``samples`` to a sample of it. ``removed``: not configured any
    more when a crawl last looked."""

    filesystem: int
    sample: dict[str, int] = {}
    empty_looks: int = 0
    mounts: dict[str, int] = {}
    samples: dict[str, dict[str, int]] = {}
    removed: bool = False

    def is_other(self, mount: str, found: int) -> bool:
        """Whether the filesystem mounted at a path, whose id is ``found``, is another than the one that was there. In
        the place of an empty one any is welcome."""
        known, sample = self.mounts.get(mount), self.samples.get(mount)
        return known is not None and known != found and sample != {} and not _recognized(mount, sample or {})

    def note_mount(self, mount: str, found: int, sample: dict[str, int]) -> None:
        """A filesystem is mounted here."""
        self.mounts[mount], self.samples[mount] = found, sample

    def forget_mount(self, mount: str) -> None:
        """Whatever is mounted here next is as good as any."""
        self.mounts.pop(mount, None)
        self.samples.pop(mount, None)


class Inaccessible(Exception):
    """The root cannot be crawled now; the message says why, for people."""


class Roots:
    """The memory of all roots of an instance. Crawls and the watcher have one in common (``shared``), each in its own
    thread: what one of them has seen must count for the other, and neither may write over it."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "roots.json"
        self._lock = threading.RLock()
        try:
            self._saved = self._file.read_bytes()
            self.known = msgspec.convert(json.loads(self._saved), dict[str, RootMemory])
        except (OSError, ValueError):  # nothing remembered, or not by us: begin anew
            self._saved = b""
            self.known = {}

    @classmethod
    def shared(cls, state_dir: Path) -> Roots:
        """The one memory of an instance, read from its file by the first who asks while nobody has it."""
        with _opening:
            roots = _open.get(state_dir)
            if roots is None:
                roots = _open[state_dir] = cls(state_dir)
            return roots

    def save(self) -> None:
        """Write the memory, if it is another than was written last, replacing the file in one step."""
        with self._lock:
            data = json.dumps(msgspec.to_builtins(self.known)).encode()  # not by msgspec: names may hold surrogates
            if data == self._saved:
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._file.with_suffix(".new")
            temporary.write_bytes(data)
            os.replace(temporary, self._file)
            self._saved = data

    def enter(self, root: str, *, counts: bool = True) -> RootMemory:
        """Look at a root; raises ``Inaccessible`` when nothing may be concluded from what is there.

        ``counts`` False looks without counting an empty root towards being believed.
        """
        try:
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Inaccessible("the folder does not exist") from None
        except NotADirectoryError:
            raise Inaccessible("the path is not a folder") from None
        except OSError as error:
            raise Inaccessible(f"the folder cannot be read: {error.strerror}") from error
        try:
            with self._lock:
                return self._enter(root, descriptor, counts)
        finally:
            os.close(descriptor)

    def _enter(self, root: str, descriptor: int, counts: bool) -> RootMemory:
        try:
            found = filesystem_id(descriptor, os.fstat(descriptor).st_dev)
            sample = sample_of(descriptor)
        except OSError as error:
            raise Inaccessible(f"the folder cannot be read: {error.strerror}") from error
        memory = self.known.get(root)
        if memory is None or memory.removed:
            memory = self.known[root] = RootMemory(filesystem=found)
        elif memory.filesystem != found and not _recognized(root, memory.sample):
            raise Inaccessible(
                "the folder lies on another filesystem than before: is its disk mounted? "
                "If the change is meant, remove the path from the settings and add it again"
            )
        memory.filesystem = found
        if not sample and memory.sample:
            memory.empty_looks += 1 if counts else 0
            if memory.empty_looks < _EMPTY_LOOKS:
                raise Inaccessible("the folder was found empty; it is believed if the next crawl finds it empty too")
        memory.sample, memory.empty_looks = sample, 0
        return memory

    def is_same(self, root: str) -> bool:
        """Whether the root is still there, on the filesystem where it was last seen; for watchers, before they believe
        in deletions."""
        memory = self.known.get(root)
        try:
            facts = os.stat(root)
            found = filesystem_id(root, facts.st_dev)
        except OSError:
            return False
        return memory is not None and stat.S_ISDIR(facts.st_mode) and memory.filesystem == found

    def removed(self, configured: Collection[str]) -> list[str]:
        """Mark the roots that are not configured any more and save that; returns them. One that comes back is a new
        one."""
        with self._lock:
            gone = [root for root in self.known if root not in configured]
            for root in gone:
                self.known[root].removed = True
            if gone:
                self.save()
        return gone

    def forget(self, roots: Iterable[str]) -> None:
        """Drop what is known of roots whose files have left the index."""
        with self._lock:
            for root in roots:
                self.known.pop(root, None)


_open: WeakValueDictionary[Path, Roots] = WeakValueDictionary()
_opening = threading.Lock()


def sample_of(descriptor: int) -> dict[str, int]:
    """A few entries of an open directory with their inode numbers. Raises OSError."""
    with os.scandir(descriptor) as entries:
        return {entry.name: entry.inode() for entry in islice(entries, SAMPLE)}


def _recognized(directory: str, sample: dict[str, int]) -> bool:
    """Whether entries that were in a directory are there with the same inode numbers, and none with another."""
    seen = 0
    for name, number in sample.items():
        try:
            found = os.lstat(os.path.join(directory, name)).st_ino
        except OSError:
            continue
        if found != number:
            return False
        seen += 1
    return seen > 0


def recognized(path: str) -> tuple[int, int] | None:
    """What recognizes a directory that can be listed, else None."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return facts.st_dev, facts.st_ino
