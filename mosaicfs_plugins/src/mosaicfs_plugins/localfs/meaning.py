"""What changes that have settled amount to, by what is there now. Blocks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from mosaicfs_core.hooks import Create, Delete, FileOperation, Problem, Rename
from mosaicfs_plugins.localfs.ignore import IGNORE_FILE
from mosaicfs_plugins.localfs.judge import judge
from mosaicfs_plugins.localfs.pending import Settled
from mosaicfs_plugins.localfs.scan import Scope, topmost


class Meaning(NamedTuple):
    """What changes amount to: renames, then what exists, then what is gone; what cannot be known; directories whose
    ignore rules changed, so that others beneath are to be watched; and new directories to look through."""

    operations: list[FileOperation]
    doubts: list[Problem]
    ruled: list[tuple[Scope, str]]
    scans: list[tuple[Scope, str]]


def meaning_of(settled: Settled, scope_of: Callable[[str], Scope | None]) -> Meaning:
    """What settled changes amount to. ``scope_of`` gives the scope of the root that a path lies beneath; None where
    nothing is to be said of it."""
    renames: list[FileOperation] = []
    creates: list[FileOperation] = []
    deletes: list[FileOperation] = []
    doubts: list[Problem] = []
    ruled: list[tuple[Scope, str]] = []
    scans: list[tuple[Scope, str]] = []
    for source, target, directory in settled.moves:
        if (scope := scope_of(target)) is not None and _has_moved(scope, source, target, directory):
            before, now = scope.write(source), scope.write(target)
            renames.append(Rename(export_path=now, previous_export_path=before, directory=directory))
    for path, content in settled.touched.items():
        if (scope := scope_of(path)) is None:
            continue
        parent = os.path.dirname(path)
        if os.path.basename(path) == IGNORE_FILE and judge(scope, parent) is None:
            ruled.append((scope, parent))
        match judge(scope, path):
            case Create() as found:
                creates.append(found)
            case Delete() as gone:
                deletes.append(gone)
            case Problem() as problem:
                doubts.append(problem)
            case None if content:
                scans.append((scope, path))
    return Meaning(renames + creates + deletes, doubts, topmost(ruled), topmost(scans))


def _has_moved(scope: Scope, source: str, target: str, directory: bool) -> bool:
    """Whether a move is still as it was heard, and to a place that is not left out."""
    if scope.is_excluded(target) or os.path.lexists(source) or not os.path.lexists(target):
        return False
    return not scope.hides(target, is_directory=directory)
