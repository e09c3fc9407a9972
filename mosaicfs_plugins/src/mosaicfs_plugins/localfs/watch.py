"""``mosaicfs_watch``: what watchdog hears, settled and turned into operations."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileMovedEvent,
    FileSystemEvent,
)

from mosaicfs_core.hooks import Delete, FileOperation, PluginContext, Problem, Rename
from mosaicfs_plugins.localfs.crawl import CHUNK, Tree
from mosaicfs_plugins.localfs.ignore import IGNORE_FILE, ignoring_rule, read_rules
from mosaicfs_plugins.localfs.observer import Observation
from mosaicfs_plugins.localfs.pending import Pending, Settled
from mosaicfs_plugins.localfs.roots import Inaccessible
from mosaicfs_plugins.localfs.scan import Scope, chunks, join, look, scan, within

CHECK_S: Final = 5.0
"""How often the roots are looked at: did one come, go, or become another?"""
MISSED_CHECK_S: Final = 1.0
"""The same while one of them is missed: its user has put it back and looks whether that helped."""
REPORTED: Final = 100
"""Unwatched directories reported by name."""


class Watcher:
    """Follows the roots of one instance. ``run`` until cancelled; one at a time."""

    def __init__(self, context: PluginContext, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        self._context = context
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._heard: list[FileSystemEvent] = []  # appended by watchdog's threads, taken by the loop
        self._overflowed: set[str] = set()
        self._unwatched: dict[str, str] = {}
        self._reported: set[str] = set()
        self._pending = Pending()
        self._scopes: dict[str, Scope] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._lost: dict[str, str] = {}  # roots reported as inaccessible, and why
        self._tree: Tree
        self._observation: Observation | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        self._tree = await asyncio.to_thread(Tree, self._context)
        if not self._context.config.get("watch", True) or not self._tree.configured:
            await self._emit(())
            await asyncio.Event().wait()
        try:
            self._observation = await asyncio.to_thread(Observation, self)
        except OSError as error:
            self._unwatched = {root: error.strerror or str(error) for root in self._tree.configured}
        try:
            await self._follow()
        finally:
            if self._observation is not None:
                await asyncio.shield(asyncio.to_thread(self._observation.stop))

    async def _follow(self) -> None:
        poll_s = float(self._context.config.get("unwatched_poll_s", 60))
        check_at, poll_at = 0.0, time.monotonic() + poll_s
        first = True
        while True:
            now = time.monotonic()
            if now >= check_at:
                for root in await asyncio.to_thread(self._changed_roots):
                    await self._begin(root, look_through=not first)
                if first:
                    await self._emit(())  # the first crawl waits for this
                check_at, first = time.monotonic() + (MISSED_CHECK_S if self._lost else CHECK_S), False
            for root in self._take_overflowed():
                self._context.logger.warning("change queue overflowed, looking through %s", root)
                await self._begin(root, look_through=True)
            await self._report_unwatched()
            if self._unwatched and now >= poll_at:
                await self._poll()
                poll_at = time.monotonic() + poll_s
            self._take_heard()
            await self._settle()
            due = self._pending.next_due()
            until = min(check_at, poll_at if self._unwatched else check_at, check_at if due is None else due)
            await self._sleep(until - time.monotonic())

    async def _sleep(self, seconds: float) -> None:
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
            async with asyncio.timeout(max(0.01, seconds)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    # Roots.

    def _changed_roots(self) -> list[str]:
        """Roots that are missing, or another directory than the watched one."""
        changed = []
        for root in self._tree.configured:
            try:
                facts = None if self._tree.is_excluded(root) else os.stat(root)
            except OSError:
                facts = None
            if facts is None:
                self._seen.pop(root, None)
                changed.append(root)
            elif self._seen.get(root) != (facts.st_dev, facts.st_ino):
                self._seen[root] = (facts.st_dev, facts.st_ino)
                changed.append(root)
        return changed

    async def _begin(self, root: str, look_through: bool) -> None:
        try:
            self._scopes[root] = await asyncio.to_thread(self._tree.scope, root, counts=False)
        except Inaccessible as reason:
            self._scopes.pop(root, None)
            self._seen.pop(root, None)
            if self._lost.get(root) != str(reason):
                self._lost[root] = str(reason)
                await self._emit([self._tree.inaccessible(root, reason)])
            return
        if self._lost.pop(root, None) is not None:
            look_through = True
            path = self._context.written(os.fsencode(root))
            await self._emit([Problem(kind="inaccessible", export_path=path, resolved=True)])
        for directory in [path for path in self._unwatched if within(path, root)]:
            if self._observation is not None:
                del self._unwatched[directory]
        try:
            if self._observation is not None:
                await asyncio.to_thread(self._observation.watch, root)
        except OSError as error:
            self._unwatched[root] = error.strerror or str(error)
        if look_through:
            await self._emit_scan(self._scopes[root], root)

    def _take_overflowed(self) -> list[str]:
        taken = [root for root in self._tree.configured if root in self._overflowed]
        self._overflowed.clear()
        return taken

    # Called from watchdog's threads.

    def heard(self, event: FileSystemEvent) -> None:
        """Note an event and wake the loop."""
        self._heard.append(event)
        if len(self._heard) == 1:
            self._notify()

    def overflowed(self, root: str) -> None:
        """Note that events of a root were lost."""
        self._overflowed.add(root)
        self._notify()

    def unwatched(self, directory: str, reason: str) -> None:
        """Note a directory to be polled."""
        self._unwatched[directory] = reason
        self._notify()

    def directories(self, root: str, start: str) -> Iterator[str]:
        """What is to be watched from ``start`` down."""
        scope = self._scopes.get(root)
        if scope is None or scope.is_excluded(start) or not os.path.isdir(start):
            return
        if start != root and (os.path.islink(start) or scope.hides(start, is_directory=True)):
            return
        rules = scope.rules_for(os.path.dirname(start)) if start != root else scope.rules
        stack = [(start, rules)]
        while stack:
            path, rules = stack.pop()
            yield path
            rules = rules + read_rules(path)
            try:
                with os.scandir(path) as entries:
                    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            for name in names:
                below = join(path, name)
                if ignoring_rule(rules, path, name, True) is None and not scope.is_excluded(below):
                    stack.append((below, rules))

    def _notify(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop ended while watchdog's threads were still stopping
            return

    # Changes.

    def _take_heard(self) -> None:
        events, self._heard = self._heard, []
        now = time.monotonic()
        for event in events:
            source = os.fsdecode(event.src_path)
            if isinstance(event, FileMovedEvent | DirMovedEvent):
                self._pending.move(source, os.fsdecode(event.dest_path), now, isinstance(event, DirMovedEvent))
            else:
                self._pending.touch(source, now, content=isinstance(event, DirCreatedEvent))

    async def _settle(self) -> None:
        due = self._pending.next_due()
        if due is None or due > time.monotonic():
            return
        settled = self._pending.settle(time.monotonic())
        operations, scans = await asyncio.to_thread(self._operations, settled)
        for start in range(0, len(operations), CHUNK):
            await self._emit(operations[start : start + CHUNK])
        for scope, path in scans:
            await self._emit_scan(scope, path)

    def _operations(self, settled: Settled) -> tuple[list[FileOperation], list[tuple[Scope, str]]]:
        """What settled changes amount to now: renames, then what exists, then what is gone; and directories to look
        through."""
        usable = {root for root in self._scopes if not self._tree.is_excluded(root) and self._tree.roots.is_same(root)}
        operations: list[FileOperation] = []
        deletes: list[FileOperation] = []
        scans: list[tuple[Scope, str]] = []
        for source, target, directory in settled.moves:
            scope = self._scope_of(target, usable)
            if scope is None or scope.is_excluded(target) or os.path.lexists(source) or not os.path.lexists(target):
                continue
            if not scope.hides(target, is_directory=directory):
                operations.append(Rename(export_path=scope.write(target), previous_export_path=scope.write(source)))
        for path, content in settled.touched.items():
            scope = self._scope_of(path, usable)
            if scope is None:
                continue
            if scope.is_excluded(path):
                deletes.append(Delete(export_path=scope.write(path)))
                continue
            if os.path.basename(path) == IGNORE_FILE:
                scans.append((scope, os.path.dirname(path)))
            found = look(scope, path)
            if found is not None:
                operations.append(found)
            elif not os.path.isdir(path) or os.path.islink(path):
                deletes.append(Delete(export_path=scope.write(path)))
            elif content and not scope.hides(path, is_directory=True):
                scans.append((scope, path))
        return operations + deletes, _topmost(scans)

    def _scope_of(self, path: str, usable: set[str]) -> Scope | None:
        root = self._tree.root_of(path)
        return self._scopes.get(root) if root in usable and root != path else None

    async def _emit_scan(self, scope: Scope, path: str, recursive: bool = True) -> None:
        operations = chunks(scan(scope, path, recursive), CHUNK)
        while (chunk := await asyncio.to_thread(next, operations, None)) is not None:
            await self._emit(chunk)

    # Directories that cannot be watched.

    async def _report_unwatched(self) -> None:
        current = set(self._unwatched)
        if current == self._reported:
            return
        problems: list[Problem] = []
        for directory in sorted(current - self._reported)[:REPORTED]:
            path = self._context.written(os.fsencode(directory))
            message = f"cannot be watched, polled instead: {self._unwatched[directory]}"
            problems.append(Problem(kind="watch", export_path=path, message=message))
        for directory in sorted(self._reported - current):
            path = self._context.written(os.fsencode(directory))
            problems.append(Problem(kind="watch", export_path=path, resolved=True))
        self._reported = current
        await self._emit(problems)

    async def _poll(self) -> None:
        """Look through what cannot be watched; directories beneath others of them are covered by those."""
        self._context.logger.debug("polling %d unwatched directories", len(self._unwatched))
        starts = _topmost([(scope, path) for path in self._unwatched if (scope := self._polled_scope(path))])
        for scope, path in starts:
            if self._tree.roots.is_same(scope.root):
                await self._emit_scan(scope, path)

    def _polled_scope(self, path: str) -> Scope | None:
        root = self._tree.root_of(path)
        return None if root is None else self._scopes.get(root)


def _topmost(scans: Sequence[tuple[Scope, str]]) -> list[tuple[Scope, str]]:
    """The scans that no other one covers, each once."""
    kept: list[tuple[Scope, str]] = []
    for scope, path in sorted(scans, key=lambda item: item[1]):
        if not kept or not within(path, kept[-1][1]):
            kept.append((scope, path))
    return kept
