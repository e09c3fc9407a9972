"""Which files of the plugin directory may be run, and which sockets may be spoken to. The directory is the security
boundary: who may write to it may run programs as MosaicFS, so nothing is taken from where others may write."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from mosaicfs_core.hooks import open_to_others

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
SOCKET_SUFFIX: Final = ".sock"


class Found(NamedTuple):
    """A program: its resolved ``path``, or the ``problem`` that it cannot be run for, in a sentence."""

    path: Path | None
    problem: str | None


def find_program(name: str, directories: Sequence[Path]) -> Found:
    """The program of that name, from the first directory that has something of the name."""
    if NAME.fullmatch(name) is None:
        return Found(None, f"{name!r} is no name of a program: it must match {NAME.pattern}")
    for directory in directories:
        path = directory / name
        try:
            entry = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return Found(None, f"{path} cannot be looked at: {error.strerror}")
        return _checked(path, entry, directory)
    return Found(None, f"there is no program {name} in {' or '.join(map(str, directories))}")


def _checked(path: Path, entry: os.stat_result, directory: Path) -> Found:
    try:
        real, home = path.resolve(strict=True), directory.resolve(strict=True)
        if stat.S_ISLNK(entry.st_mode):
            entry = real.stat()
        above = home.stat()
    except OSError as error:
        return Found(None, f"{path} cannot be looked at: {error.strerror}")
    if real.parent != home:
        return Found(None, f"{path} is a link out of its directory; put the program itself there")
    problem = open_to_others(directory, above) or open_to_others(path, entry)
    if problem is None and not stat.S_ISREG(entry.st_mode):
        problem = f"{path} is no regular file"
    if problem is None and not os.access(real, os.X_OK):
        problem = f"{path} is not executable: chmod u+x {path}"
    return Found(None, problem) if problem is not None else Found(real, None)


class Finder:
    """``find_program`` again and again, for a name that is run often: looked at whole only when the program or its
    directory is not as it was. Callable from any thread."""

    def __init__(self, name: str, directories: Sequence[Path]) -> None:
        self._name, self._directories = name, tuple(directories)
        self._known: tuple[tuple[int, ...], Found] | None = None

    def find(self) -> Found:
        """The program as it is now."""
        state, known = self._state(), self._known
        if known is not None and state == known[0]:
            return known[1]
        found = find_program(self._name, self._directories)
        self._known = None if state is None or found.path is None else (state, found)
        return found

    def _state(self) -> tuple[int, ...] | None:
        """What tells whether something is otherwise; None where only a whole look does."""
        if not self._directories or NAME.fullmatch(self._name) is None:
            return None
        directory = self._directories[0]
        try:
            entry, above = os.lstat(directory / self._name), os.stat(directory)
        except OSError:
            return None
        if not stat.S_ISREG(entry.st_mode):
            return None
        facts = (entry.st_dev, entry.st_ino, entry.st_mode, entry.st_uid, entry.st_gid, entry.st_ctime_ns)
        return (*facts, above.st_dev, above.st_ino, above.st_mode, above.st_uid)


def find_socket(name: str, directory: Path) -> Found:
    """The socket that a program of that name listens on."""
    if NAME.fullmatch(name) is None:
        return Found(None, f"{name!r} is no name of a program: it must match {NAME.pattern}")
    path = directory / f"{name}{SOCKET_SUFFIX}"
    try:
        entry, above = os.lstat(path), directory.stat()
    except FileNotFoundError:
        return Found(None, f"nothing listens on {path}")
    except OSError as error:
        return Found(None, f"{path} cannot be looked at: {error.strerror}")
    problem = open_to_others(directory, above)
    if problem is None and not stat.S_ISSOCK(entry.st_mode):
        problem = f"{path} is no socket"
    if problem is None and entry.st_uid not in (0, os.geteuid()):
        problem = f"{path} belongs to somebody else"
    return Found(None, problem) if problem is not None else Found(path, None)


def names_in(directory: Path, suffix: str = "") -> list[str]:
    """The names, without ``suffix``, of what there is in a directory that may not exist; hidden files do not count."""
    try:
        entries = sorted(os.listdir(directory))
    except OSError:
        return []
    return [name.removesuffix(suffix) for name in entries if name.endswith(suffix) and not name.startswith(".")]
