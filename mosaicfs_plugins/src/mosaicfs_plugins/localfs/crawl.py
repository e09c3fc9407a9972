"""``mosaicfs_crawl``: the configured roots, scanned in a thread and handed over in chunks."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

from mosaicfs_core.hooks import (
    Checkpoint,
    CrawlRequest,
    Delete,
    Directory,
    FileOperation,
    PluginContext,
    Problem,
    resolved,
)
from mosaicfs_plugins.localfs.exclusions import exclusions
from mosaicfs_plugins.localfs.ignore import parse_rules
from mosaicfs_plugins.localfs.judge import judge
from mosaicfs_plugins.localfs.roots import Inaccessible, Roots
from mosaicfs_plugins.localfs.scan import SYSTEM, Scope, chunks, fresh_filesystems, scan, within

CHUNK: Final = 2_000
"""Files named by one chunk, about: enough for a batch of writes, little enough to hold two in memory."""


def configured_roots(context: PluginContext) -> list[str]:
    """The roots as native text, absolute, each once and none beneath another."""
    found = [os.path.abspath(os.path.expanduser(path)) for path in context.config.get("paths", ())]
    return [root for root in dict.fromkeys(found) if not any(root != other and within(root, other) for other in found)]


class Tree:
    """The roots of one instance as they are configured now, and the memory of them. For one thread at a time.

    ``remember`` False looks with a memory of its own, which nobody else sees and which must not be saved.
    """

    def __init__(self, context: PluginContext, *, remember: bool = True) -> None:
        self._context = context
        self.roots = Roots.shared(context.state_dir) if remember else Roots(context.state_dir)
        self.configured = configured_roots(context)
        self._ignore = "\n".join(context.config.get("ignore", ()))
        self._excluded: tuple[Sequence[Path], frozenset[str]] = ((), frozenset(SYSTEM))

    def excluded(self) -> frozenset[str]:
        """What is never entered, resolved, as of now: mounts come and go. From any thread."""
        places, known = self._context.excluded, self._excluded
        if known[0] is not places:
            known = self._excluded = (places, frozenset([*map(os.fspath, places), *SYSTEM]))
        return known[1]

    def is_excluded(self, root: str) -> bool:
        """Whether a root is MosaicFS's own home, lies in a mount of it, or is the kernel's. Asks no mount anything.

        A folder inside the home may be named on purpose; one inside a mount leads in circles.
        """
        excluded = self.excluded()
        real = resolved(root, excluded)
        return real in excluded or any(within(real, os.fspath(mount)) for mount in self._context.excluded[1:])

    def scope(self, root: str, *, counts: bool = True) -> Scope:
        """The scope of a root that can be crawled; raises ``Inaccessible``."""
        if self.is_excluded(root):
            raise Inaccessible("the folder belongs to MosaicFS itself")
        memory = self.roots.enter(root, counts=counts)
        real = os.path.realpath(root)
        scope = Scope(
            root=root,
            real_root=real,
            excluded=self.excluded,
            entered=frozenset(place for place in self.excluded() if within(real, place)),
            rules=parse_rules(self._ignore, root, "the settings"),
            written=self._context.written,
            memory=memory,
        )
        # One that was entered nevertheless, by an earlier version, is no disk whose files wait for its return.
        for mount in [mount for mount in tuple(memory.mounts) if scope.is_excluded(mount)]:
            memory.forget_mount(mount)
        return scope

    def inaccessible(self, root: str, reason: Inaccessible) -> Problem:
        """The report about a root that cannot be crawled."""
        path = self._context.written(os.fsencode(root))
        return Problem(kind="inaccessible", export_path=path, message=str(reason))

    def root_of(self, path: str) -> str | None:
        """The configured root that ``path`` lies in."""
        return next((root for root in self.configured if within(path, root)), None)

    def _dropped(self, removed: Sequence[str]) -> Iterator[FileOperation]:
        """Operations that take what lay under roots that are not configured any more out of the index, and nothing
        that lies under those that are."""
        for root in removed:
            if any(within(root, kept) for kept in self.configured):
                continue
            kept = [other for other in self.configured if within(other, root)]
            yield from self._without(root, kept) if kept else [Delete(export_path=self._written(root))]

    def _without(self, root: str, kept: list[str]) -> Iterator[FileOperation]:
        """A listing of ``root`` and of the directories on the way to ``kept`` that names only the way."""
        ways: dict[str, set[str]] = {}
        for path in kept:
            while path != root:
                parent, name = os.path.split(path)
                ways.setdefault(parent, set()).add(name)
                path = parent
        for parent, names in ways.items():
            listed = [self._context.written(os.fsencode(name)) for name in sorted(names)]
            yield Directory(export_path=self._written(parent), files=(), directories=listed)

    def _written(self, path: str) -> str:
        return self._context.written(os.fsencode(path))

    def operations(self, request: CrawlRequest) -> Iterator[Sequence[FileOperation]]:
        """The whole crawl, in chunks. Blocks."""
        fresh_filesystems()
        if request.prefixes:
            for prefix in request.prefixes:
                yield from self._prefix(os.fsdecode(self._context.native(prefix)))
        else:
            removed = self.roots.removed(self.configured)
            if removed:
                yield list(self._dropped(removed))
            for root in self.configured:
                yield from self._root(root)
            if removed:
                yield [Checkpoint()]  # at the end, so that files which moved to a new root are recognized there
                self.roots.forget(removed)
        self.roots.save()

    def report(self, request: CrawlRequest) -> Iterator[Sequence[Problem]]:
        """What the crawl leaves out, in chunks. Remembers nothing. Blocks."""
        if not request.prefixes:
            for root in self.configured:
                yield from self._reported(root, None)
        for prefix in request.prefixes:
            path = os.path.abspath(os.fsdecode(self._context.native(prefix)))
            holding = self.root_of(path)
            if holding is not None:
                yield from self._reported(holding, path)
            for inner in self.configured:
                if holding is None and within(inner, path):
                    yield from self._reported(inner, None)

    def _reported(self, root: str, path: str | None) -> Iterator[Sequence[Problem]]:
        try:
            scope = self.scope(root, counts=False)
        except Inaccessible as reason:
            yield [self.inaccessible(root, reason)]
            return
        yield from exclusions(scope, root if path is None else path)

    def _root(self, root: str) -> Iterator[Sequence[FileOperation]]:
        try:
            scope = self.scope(root)
        except Inaccessible as reason:
            yield [self.inaccessible(root, reason)]
            return
        finally:
            self.roots.save()
        yield from self._scanned(scope, root)

    def _prefix(self, path: str) -> Iterator[Sequence[FileOperation]]:
        path = os.path.abspath(path)
        root = self.root_of(path)
        if root is None:
            for inner in self.configured:
                if within(inner, path):
                    yield from self._root(inner)
        elif path == root:
            yield from self._root(root)
        else:
            try:
                scope = self.scope(root, counts=False)
            except Inaccessible as reason:
                yield [self.inaccessible(root, reason)]
                return
            yield from self._part(scope, path)

    def _part(self, scope: Scope, path: str) -> Iterator[Sequence[FileOperation]]:
        verdict = judge(scope, path)
        if verdict is not None:
            yield [verdict]
        else:
            yield from self._scanned(scope, path)

    def _scanned(self, scope: Scope, path: str) -> Iterator[Sequence[FileOperation]]:
        for chunk in chunks(scan(scope, path), CHUNK):
            self.roots.save()  # before what rests on it: where filesystems are mounted
            yield chunk


async def crawl(context: PluginContext, request: CrawlRequest) -> AsyncIterator[Sequence[FileOperation]]:
    """The chunks of a crawl. Each is scanned in a worker thread while the one before is being indexed."""
    tree = await asyncio.to_thread(functools.partial(Tree, context, remember=not request.report))
    operations: Iterator[Sequence[FileOperation]] = tree.report(request) if request.report else tree.operations(request)
    while True:
        chunk = await asyncio.to_thread(next, operations, None)
        if chunk is None:
            return
        yield chunk
