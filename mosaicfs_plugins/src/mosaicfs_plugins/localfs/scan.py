"""Walking a directory tree: one ``Directory`` operation per directory, problems beside it. Blocks; made for a thread.

Directories are opened without following links and read through their descriptor, so nothing that is swapped in
meanwhile is entered, and a filesystem that is unmounted meanwhile is noticed. Inside, names are native text
(``os.fsdecode``).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from mosaicfs_core.hooks import Directory, Entry, Problem, filesystem_id
from mosaicfs_plugins.localfs.ignore import IGNORE_FILE, Rule, ignoring_rule, read_rules
from mosaicfs_plugins.localfs.roots import RootMemory, sample_of

OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NAMED_PROBLEMS: Final = 50
"""Ignored entries named one by one in each directory; the rest is counted."""
GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors that say that something is not there (any more)."""
SYSTEM: Final = ("/proc", "/sys", "/dev")
"""Trees of the kernel's, never entered."""
SYMLINK: Final = "a symbolic link; links are not followed"
LOST_MOUNT: Final = "the filesystem that was mounted here is not; ignore the folder to drop its files from the index"

OTHER_MOUNT: Final = (
    "another filesystem than before is mounted here; to have it indexed instead, ignore the folder until the files of "
    "the former one have left the index"
)


class Scope(msgspec.Struct, kw_only=True):
    """A root and what limits its crawl. ``root`` is native text; ``real_root`` is it resolved; ``excluded`` gives the
    resolved native paths that are never entered, as of the moment: mounts come and go while a crawl runs. ``entered``
    are those that the root lies in, on purpose. ``rules`` are the instance's own ignore patterns."""

    root: str
    real_root: str
    excluded: Callable[[], frozenset[str]]
    entered: frozenset[str]
    rules: tuple[Rule, ...]
    written: Callable[[bytes], str]
    memory: RootMemory

    def write(self, path: str) -> str:
        """The written form of a native path."""
        return path if path.isascii() else self.written(os.fsencode(path))

    def is_excluded(self, path: str) -> bool:
        """Whether ``path``, in this root, is one that is never entered, or lies in one. Asks the disk nothing."""
        real = self.real_root + path[len(self.root) :]
        return any(within(real, place) for place in self.excluded() if place not in self.entered)

    def exclusion(self, path: str) -> Problem:
        """The report of an excluded path."""
        real = self.real_root + path[len(self.root) :]
        kernels = any(within(real, place) for place in SYSTEM)
        reason = "belongs to the system" if kernels else "belongs to MosaicFS"
        return Problem(kind="ignored", export_path=self.write(path), message=reason)

    def why_ignored(self, rule: Rule) -> str:
        """The reason for an ignored path, for people."""
        return f"the pattern {rule.text} in {self.write(rule.origin)}"

    def rules_for(self, directory: str) -> tuple[Rule, ...]:
        """The rules that hold for the entries of ``directory``: those of the root and of every directory on the way."""
        rules = self.rules + read_rules(self.root)
        base = self.root
        for part in filter(None, directory[len(self.root) :].split("/")):
            base = join(base, part)
            rules += read_rules(base)
        return rules

    def hides(self, path: str, is_directory: bool) -> bool:
        """Whether an ignore rule or an exclusion, of ``path`` or of a directory on the way to it, hides it."""
        rules = self.rules + read_rules(self.root)
        base = self.root
        parts = list(filter(None, path[len(self.root) :].split("/")))
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            if ignoring_rule(rules, base, part, is_directory or not last):
                return True
            base = join(base, part)
            if self.is_excluded(base):
                return True
            if not last:
                rules += read_rules(base)
        return False


def join(directory: str, name: str) -> str:
    """``directory/name``, right for the file system's root too."""
    return f"{directory}{name}" if directory.endswith("/") else f"{directory}/{name}"


def within(path: str, root: str) -> bool:
    """Whether ``path`` is ``root`` or beneath it."""
    return path == root or path.startswith(root if root.endswith("/") else f"{root}/")


def scan(scope: Scope, start: str | None = None, recursive: bool = True) -> Iterator[Directory | Problem]:
    """Everything from ``start`` (default: the root) down, each directory before those in it."""
    start = scope.root if start is None else start
    if scope.is_excluded(start):
        yield scope.exclusion(start)
        return
    stack: list[tuple[str, tuple[Rule, ...], int | None]] = [(start, scope.rules, None)]
    if start != scope.root:
        parent = os.path.dirname(start)
        stack = [(start, scope.rules_for(parent), _device_of(parent))]
    while stack:
        path, rules, parent_device = stack.pop()
        listing = Listing(scope, path)
        if listing.read(rules, parent_device):
            yield Directory(export_path=scope.write(path), files=listing.files, directories=listing.directories)
            if recursive:
                stack.extend((join(path, name), listing.rules, listing.device) for name in listing.enter)
        yield from listing.problems
    _forget_hidden_mounts(scope, start)


def _device_of(directory: str) -> int | None:
    try:
        return os.stat(directory).st_dev
    except OSError:  # gone meanwhile, and what is in it as well
        return None


def _forget_hidden_mounts(scope: Scope, start: str) -> None:
    """Of a folder that is ignored nothing is known any more that could be missed."""
    for mount in tuple(scope.memory.mounts):
        if within(mount, start) and scope.hides(mount, is_directory=True):
            scope.memory.forget_mount(mount)


def why_special(mode: int) -> str:
    """The reason for something that is neither a file, a directory nor a link, for people."""
    names = {stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket", stat.S_IFBLK: "block device"}
    return f"a {names.get(stat.S_IFMT(mode), 'character device')}; only regular files are indexed"


class Listing:
    """One directory being read. ``report`` names everything that is passed over one by one, in the order of names;
    without it much of that is only counted."""

    def __init__(self, scope: Scope, path: str, *, report: bool = False) -> None:
        self._scope = scope
        self._path = path
        self._report = report
        self.files: list[Entry] = []
        self.directories: list[str] = []
        self.enter: list[str] = []
        self.problems: list[Problem] = []
        self.rules: tuple[Rule, ...] = ()
        self.device = 0
        self._ignored: list[tuple[str, Rule]] = []
        self._counts: dict[Literal["symlink", "special"], int] = {"symlink": 0, "special": 0}

    def read(self, rules: tuple[Rule, ...], parent_device: int | None) -> bool:
        """Fill the lists; False when nothing may be concluded about the directory (``problems`` may say why)."""
        if self._scope.is_excluded(self._path):  # since its parent was listed
            self.problems.append(self._scope.exclusion(self._path))
            return False
        flags = OPEN_DIRECTORY if self._path != self._scope.root else OPEN_DIRECTORY & ~os.O_NOFOLLOW
        try:
            descriptor = os.open(self._path, flags)
        except OSError as error:
            self._failed(error)
            return False
        try:
            self.device = os.fstat(descriptor).st_dev
            filesystem = self._filesystem(descriptor, parent_device)
            if filesystem is None:
                return False
            with os.scandir(descriptor) as entries:
                self._read(entries, rules, filesystem)
        except OSError as error:
            self._failed(error)
            return False
        finally:
            os.close(descriptor)
        self._keep_lost_mounts()
        self._summarize()
        return True

    def _read(self, entries: Iterable[os.DirEntry[str]], rules: tuple[Rule, ...], filesystem: int) -> None:
        found = sorted(entries, key=lambda entry: entry.name) if self._report else list(entries)
        if any(entry.name == IGNORE_FILE for entry in found):
            rules = rules + read_rules(self._path)
        self.rules = rules
        write = self._scope.write
        files = self.files
        new = tuple.__new__  # what ``Entry`` does, without a call in between: there is one for each file
        for entry in found:
            name = entry.name
            is_directory = entry.is_dir(follow_symlinks=False)
            if rules and (rule := ignoring_rule(rules, self._path, name, is_directory)) is not None:
                self._ignored.append((name, rule))
            elif is_directory:
                self._directory(name)
            elif entry.is_symlink():
                self._pass_over("symlink", name, SYMLINK)
            else:
                try:
                    facts = entry.stat(follow_symlinks=False)
                except OSError as error:
                    if error.errno not in GONE:
                        raise
                    continue
                if not stat.S_ISREG(facts.st_mode):
                    self._pass_over("special", name, why_special(facts.st_mode))
                    continue
                written = name if name.isascii() else write(name)
                files.append(new(Entry, (written, facts.st_size, facts.st_mtime_ns // 1000, filesystem, facts.st_ino)))

    def _pass_over(self, kind: Literal["symlink", "special"], name: str, reason: str) -> None:
        if self._report:
            path = self._scope.write(join(self._path, name))
            self.problems.append(Problem(kind=kind, export_path=path, message=reason))
        else:
            self._counts[kind] += 1

    def _directory(self, name: str) -> None:
        path = join(self._path, name)
        if self._scope.is_excluded(path):
            self.problems.append(self._scope.exclusion(path))
        else:
            self.directories.append(self._scope.write(name))
            self.enter.append(name)

    def _filesystem(self, descriptor: int, parent_device: int | None) -> int | None:
        """The id of the directory's filesystem; None, with a problem, when another one was mounted here before."""
        memory = self._scope.memory
        crossed = parent_device is not None and parent_device != self.device
        if not crossed and self._path not in memory.mounts:
            # Only a border needs to ask: one statvfs for each device, not one for each directory.
            return _cached_filesystem(descriptor, self.device)
        found = filesystem_id(descriptor, self.device)
        if memory.mounts.get(self._path, found) != found and not crossed:
            self._missing(self._path, LOST_MOUNT)
            return None
        if memory.is_other(self._path, found):
            self._missing(self._path, OTHER_MOUNT)
            return None
        if crossed:
            memory.note_mount(self._path, found, sample_of(descriptor))
        return found

    def _keep_lost_mounts(self) -> None:
        """A mount point that vanished with its filesystem stays listed: nothing beneath it is deleted."""
        for mount in tuple(self._scope.memory.mounts):  # another thread may be adding to them
            parent, _, name = mount.rpartition("/")
            if (parent or "/") == self._path and self._scope.write(name) not in self.directories:
                if any(name == ignored for ignored, _ in self._ignored):
                    continue
                self.directories.append(self._scope.write(name))
                self._missing(mount, LOST_MOUNT)

    def _missing(self, mount: str, reason: str) -> None:
        path = self._scope.write(mount)
        self.problems.append(Problem(kind="inaccessible", export_path=path, message=reason))

    def _failed(self, error: OSError) -> None:
        # What vanished between the listing of its parent and now is left to the next crawl.
        if error.errno not in GONE:
            path = self._scope.write(self._path)
            self.problems.append(Problem(kind="unreadable", export_path=path, message=error.strerror or str(error)))

    def _summarize(self) -> None:
        path = self._scope.write(self._path)
        for kind, count in self._counts.items():
            if count:
                self.problems.append(Problem(kind=kind, export_path=path, count=count))
        named = len(self._ignored) if self._report else NAMED_PROBLEMS
        for name, rule in self._ignored[:named]:
            written = self._scope.write(join(self._path, name))
            self.problems.append(Problem(kind="ignored", export_path=written, message=self._scope.why_ignored(rule)))
        if len(self._ignored) > named:
            rest = len(self._ignored) - named
            self.problems.append(Problem(kind="ignored", export_path=path, count=rest, message="more in this folder"))


_filesystems: dict[int, int] = {}


def _cached_filesystem(descriptor: int, device: int) -> int:
    """The filesystem id of a device, asked for once; device numbers of unmounted filesystems may be given out again,
    which ``fresh_filesystems`` allows for at every crawl."""
    found = _filesystems.get(device)
    if found is None:
        found = _filesystems[device] = filesystem_id(descriptor, device)
    return found


def fresh_filesystems() -> None:
    """Forget the ids of devices, at the beginning of a crawl."""
    _filesystems.clear()


def chunks(operations: Iterable[Directory | Problem], entries: int) -> Iterator[Sequence[Directory | Problem]]:
    """The operations in lists that name about ``entries`` files each."""
    chunk: list[Directory | Problem] = []
    weight = 0
    for operation in operations:
        chunk.append(operation)
        weight += 1 + (len(operation.files) if isinstance(operation, Directory) else 0)
        if weight >= entries:
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk


def topmost(scans: Sequence[tuple[Scope, str]]) -> list[tuple[Scope, str]]:
    """The scans that no other one covers, each once."""
    kept: list[tuple[Scope, str]] = []
    for scope, path in sorted(scans, key=lambda item: item[1].split("/")):  # what is in a directory follows it
        if not kept or not within(path, kept[-1][1]):
            kept.append((scope, path))
    return kept
