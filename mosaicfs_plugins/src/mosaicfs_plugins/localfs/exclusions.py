"""What a crawl leaves out, each thing with its reason: the crawl's own eyes, looking for the opposite. Blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final, Literal, TypeAlias

from mosaicfs_core.hooks import Problem
from mosaicfs_plugins.localfs.ignore import Rule, ignoring_rule, read_rules
from mosaicfs_plugins.localfs.scan import (
    GONE,
    LOST_MOUNT,
    OPEN_DIRECTORY,
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
        problem = _unreadable(scope, parent)
        if problem is not None:
            return problem
        rules += read_rules(parent)
        try:
            facts = os.lstat(base)
        except OSError as error:
            if error.errno not in GONE:
                return _problem(scope, "unreadable", parent, error.strerror or str(error))
            return _problem(scope, "inaccessible", base, LOST_MOUNT) if base in scope.memory.mounts else None
        problem = _passed_over(scope, parent, part, facts.st_mode, rules)
        if problem is not None:
            return problem
        if base in scope.memory.mounts and facts.st_dev == os.stat(parent).st_dev:
            return _problem(scope, "inaccessible", base, LOST_MOUNT)
    return None


def _passed_over(scope: Scope, directory: str, name: str, mode: int, rules: tuple[Rule, ...]) -> Problem | None:
    """Why an entry of a directory is passed over, asked in the order in which the crawl asks."""
    path = join(directory, name)
    rule = ignoring_rule(rules, directory, name, stat.S_ISDIR(mode))
    if rule is not None:
        return _problem(scope, "ignored", path, scope.why_ignored(rule))
    if stat.S_ISLNK(mode):
        return _problem(scope, "symlink", path, SYMLINK)
    return None if stat.S_ISDIR(mode) or stat.S_ISREG(mode) else _problem(scope, "special", path, why_special(mode))


def _unreadable(scope: Scope, directory: str) -> Problem | None:
    """Why a directory cannot be listed; its entries are not seen then, even where they could be opened by name."""
    flags = OPEN_DIRECTORY if directory != scope.root else OPEN_DIRECTORY & ~os.O_NOFOLLOW
    try:
        os.close(os.open(directory, flags))
    except OSError as error:
        return None if error.errno in GONE else _problem(scope, "unreadable", directory, error.strerror or str(error))
    return None


def _problem(scope: Scope, kind: _Kind, path: str, reason: str) -> Problem:
    return Problem(kind=kind, export_path=scope.write(path), message=reason)
