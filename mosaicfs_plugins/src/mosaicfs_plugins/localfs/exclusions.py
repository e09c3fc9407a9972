"""What a crawl leaves out, each thing with its reason: the crawl's own eyes, looking for the opposite. Blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias

from mosaicfs_core.hooks import Problem, filesystem_id
from mosaicfs_plugins.localfs.ignore import IGNORE_FILE, Rule, ignoring_rule, read_rules
from mosaicfs_plugins.localfs.scan import (
    GONE,
    LOST_MOUNT,
    OPEN_DIRECTORY,
    OTHER_MOUNT,
    SYMLINK,
    Listing,
    Scope,
    join,
    why_special,
)

_Kind: TypeAlias = Literal["unreadable", "inaccessible", "ignored", "symlink", "special"]

CHUNK: Final = 1_000
"""Problems of one chunk, about."""
DIRECTORIES: Final = 200
"""A chunk comes after so many directories at the latest, empty or not: between chunks the reader may leave."""


def exclusions(scope: Scope, path: str) -> Iterator[Sequence[Problem]]:
    """What is left out from ``path``, the root or something in it, down. A path that is itself left out is answered by
    one problem; a regular file that is not, by none."""
    problem = why_left_out(scope, path)
    if problem is not None:
        yield [problem]
    elif os.path.isdir(path):
        rules = scope.rules if path == scope.root else scope.rules_for(os.path.dirname(path))
        yield from _beneath(scope, path, rules)


def _beneath(scope: Scope, start: str, rules: tuple[Rule, ...]) -> Iterator[Sequence[Problem]]:
    stack: list[tuple[str, tuple[Rule, ...], int | None]] = [(start, rules, None)]
    chunk: list[Problem] = []
    looked = 0
    while stack:
        path, rules, parent_device = stack.pop()
        listing = Listing(scope, path, report=True)
        if listing.read(rules, parent_device):
            stack.extend((join(path, name), listing.rules, listing.device) for name in reversed(listing.enter))
        chunk += listing.problems
        looked += 1
        if len(chunk) >= CHUNK or looked >= DIRECTORIES:
            yield chunk
            chunk, looked = [], 0
    yield chunk


def why_left_out(scope: Scope, path: str) -> Problem | None:
    """Why a path in the root, or a directory on the way to it, is left out; None when nothing keeps it out, or it does
    not exist."""
    rules = scope.rules
    base = scope.root
    for part in filter(None, path[len(scope.root) :].split("/")):
        parent, base = base, join(base, part)
        if scope.is_excluded(base):
            return scope.exclusion(base)
        device = _device(scope, parent)
        if device is None or isinstance(device, Problem):
            return device
        rules += read_rules(parent)
        try:
            facts = os.lstat(base)
        except OSError as error:
            if error.errno not in GONE:
                return unreadable(scope, parent, error)
            return _problem(scope, "inaccessible", base, LOST_MOUNT) if base in scope.memory.mounts else None
        problem = _passed_over(scope, parent, part, facts.st_mode, rules)
        if problem is not None:
            return problem
        if base in scope.memory.mounts and (problem := _missing(scope, base, facts.st_dev, device)) is not None:
            return problem
    return None


def doubt_of(scope: Scope, path: str) -> Problem | None:
    """Why what is beneath ``path`` cannot be known, or what ``path`` itself is; None when it can."""
    problem = why_left_out(scope, join(path, IGNORE_FILE))  # any name will do: whether it exists does not matter
    return problem if problem is not None and is_doubt(problem) else None


def is_doubt(problem: Problem) -> bool:
    """Whether a problem says that nothing can be known, rather than that something is left out."""
    return problem.kind in ("unreadable", "inaccessible")


def _passed_over(scope: Scope, directory: str, name: str, mode: int, rules: tuple[Rule, ...]) -> Problem | None:
    """Why an entry of a directory is passed over, asked in the order in which the crawl asks."""
    path = join(directory, name)
    rule = ignoring_rule(rules, directory, name, stat.S_ISDIR(mode))
    if rule is not None:
        return _problem(scope, "ignored", path, scope.why_ignored(rule))
    if stat.S_ISLNK(mode):
        return _problem(scope, "symlink", path, SYMLINK)
    return None if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else _problem(scope, "special", path, why_special(mode))


def unreadable(scope: Scope, path: str, error: OSError) -> Problem:
    """The report about something that cannot be looked at."""
    return _problem(scope, "unreadable", path, error.strerror or str(error))


def _missing(scope: Scope, mount: str, device: int, parent_device: int) -> Problem | None:
    """Whether the filesystem that was mounted on a directory is missing."""
    if device == parent_device:
        return _problem(scope, "inaccessible", mount, LOST_MOUNT)
    try:
        other = scope.memory.is_other(mount, filesystem_id(mount, device))
    except OSError as error:
        return unreadable(scope, mount, error)
    return _problem(scope, "inaccessible", mount, OTHER_MOUNT) if other else None


def _device(scope: Scope, directory: str) -> int | Problem | None:
    """The device number of a directory that can be listed, else why not; None when it is gone. Where it cannot be
    listed its entries are not seen, even those that could be opened by name."""
    flags = OPEN_DIRECTORY if directory != scope.root else OPEN_DIRECTORY & ~os.O_NOFOLLOW
    try:
        descriptor = os.open(directory, flags)
        try:
            return os.fstat(descriptor).st_dev
        finally:
            os.close(descriptor)
    except OSError as error:
        return None if error.errno in GONE else unreadable(scope, directory, error)


def _problem(scope: Scope, kind: _Kind, path: str, reason: str) -> Problem:
    return Problem(kind=kind, export_path=scope.write(path), message=reason)
