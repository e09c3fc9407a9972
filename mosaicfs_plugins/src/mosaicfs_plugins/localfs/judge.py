"""What may be said of one path that somebody asks about: the one place that decides what is gone. Blocks.

A crawl of a part and the watcher both ask here. That a path cannot be looked at, or that the filesystem it was on is
not mounted, is never a deletion.
"""

from __future__ import annotations

import os
import stat
from typing import TypeAlias

from mosaicfs_core.hooks import Create, Delete, Problem, filesystem_id
from mosaicfs_plugins.localfs.exclusions import is_doubt, unreadable, why_left_out
from mosaicfs_plugins.localfs.scan import GONE, Scope, within

Verdict: TypeAlias = Create | Delete | Problem | None
"""A file that is to be indexed, with its facts; a deletion of what is gone or is not to be indexed; a problem where
neither can be known, so that what is known stays; None for a directory that is to be looked through."""


def judge(scope: Scope, path: str) -> Verdict:
    """What there is at a path of a root."""
    if path == scope.root:
        return None
    if scope.is_excluded(path):
        return Delete(export_path=scope.write(path))
    facts = failure = None
    try:
        facts = os.lstat(path)
        device = filesystem_id(os.path.dirname(path), facts.st_dev)
    except OSError as error:
        facts, failure = None, error
    if facts is not None and stat.S_ISREG(facts.st_mode) and not _walk_needed(scope, path):
        return _found(scope, path, facts, device)
    problem = why_left_out(scope, path)  # after the look: a filesystem that went away before it is missed now
    if problem is not None and is_doubt(problem):
        return problem
    if failure is not None and failure.errno not in GONE:
        return unreadable(scope, path, failure)
    if facts is None or problem is not None:
        return Delete(export_path=scope.write(path))
    return None if stat.S_ISDIR(facts.st_mode) else _found(scope, path, facts, device)


def _walk_needed(scope: Scope, path: str) -> bool:
    """Whether a file may have to be left out: something hides it, a link leads to it, or it lies where a filesystem was
    mounted once. For most files this spares the look at every directory on the way."""
    in_mount = any(within(path, mount) for mount in tuple(scope.memory.mounts))
    return in_mount or scope.hides(path, is_directory=False) or _behind_link(scope, os.path.dirname(path))


def _behind_link(scope: Scope, directory: str) -> bool:
    while len(directory) > len(scope.root):
        if os.path.islink(directory):
            return True
        directory = os.path.dirname(directory)
    return False


def _found(scope: Scope, path: str, facts: os.stat_result, device: int) -> Create:
    return Create(
        export_path=scope.write(path),
        size=facts.st_size,
        mtime=facts.st_mtime_ns // 1000,
        device=device,
        number=facts.st_ino,
    )
