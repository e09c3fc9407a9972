"""``mosaicfs_watch``: what watchdog hears, settled and turned into operations."""

from __future__ import annotations

import asyncio
import itertools
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

from mosaicfs_core.hooks import (
    Create,
    Delete,
    Directory,
    FileOperation,
    PluginContext,
    Problem,
    mounted_beneath,
)
from mosaicfs_plugins.localfs.backlog import Backlog
from mosaicfs_plugins.localfs.crawl import CHUNK, Tree
from mosaicfs_plugins.localfs.exclusions import doubt_of
from mosaicfs_plugins.localfs.followed import followed
from mosaicfs_plugins.localfs.judge import Verdict, judge
from mosaicfs_plugins.localfs.meaning import Meaning, meaning_of
from mosaicfs_plugins.localfs.observer import Observation
from mosaicfs_plugins.localfs.pending import Pending, Settled
from mosaicfs_plugins.localfs.roots import Inaccessible, recognized
from mosaicfs_plugins.localfs.scan import Scope, chunks, scan, topmost
from mosaicfs_plugins.localfs.unwatched import Unwatched

CHECK_S: Final = 5.0
"""How often the roots are looked at: did one come, go, or become another?"""
MISSED_CHECK_S: Final = 1.0
"""The same while one of them is missed: its user has put it back and looks whether that helped."""


class Watcher:
    """Follows the roots of one instance. ``run`` until cancelled; one at a time."""

    def __init__(self, context: PluginContext, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        self._context = context
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._heard: list[FileSystemEvent] = []  # appended by watchdog's threads, taken by the loop
        self._overflowed: set[str] = set()
        self._unmounted: set[str] = set()
        self._unwatched = Unwatched()
        self._polled: Iterator[Sequence[FileOperation]] | None = None  # what a poll under way has yet to look at
        self._pending = Pending()
        self._backlog = Backlog(context)
        self._scopes: dict[str, Scope] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._lost: dict[str, str] = {}  # roots reported as inaccessible, and why
        self._mounts: dict[str, dict[str, str]] = {}  # of each root: what is mounted where beneath it
        self._doubts: dict[str, Problem] = {}  # what is beneath these paths cannot be known at the moment
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
            self._unwatched.update((root, error.strerror or str(error)) for root in self._tree.configured)
        try:
            await self._follow()
        finally:
            if self._observation is not None:
                await asyncio.shield(asyncio.to_thread(self._observation.stop))
            await self._backlog.tell(0)

    async def _follow(self) -> None:
        poll_s = float(self._context.config.get("unwatched_poll_s", 60))
        check_at, poll_at = 0.0, time.monotonic() + poll_s
        first = True
        while True:
            now = time.monotonic()
            if now >= check_at:
                if self._observation is not None:
                    self._observation.check()  # whoever runs this watches anew then, and crawls
                for root in await asyncio.to_thread(self._changed_roots):
                    await self._begin(root, look_through=not first)
                await self._look_at_doubts()
                for scope, path in await asyncio.to_thread(self._changed_mounts):
                    await self._look_at(scope, path)
                if first:
                    await self._emit(())  # the first crawl waits for this
                missed = self._lost or self._doubts
                check_at, first = time.monotonic() + (MISSED_CHECK_S if missed else CHECK_S), False
            for root in self._take_overflowed():
                self._context.logger.warning("change queue overflowed, looking through %s", root)
                await self._begin(root, look_through=True)
            await self._report_unwatched()
            if (self._unwatched or self._polled is not None) and now >= poll_at and not await self._poll():
                poll_at = time.monotonic() + poll_s
            self._take_heard()
            await self._settle()
            await self._backlog.tell(len(self._pending))
            due = self._pending.next_due()
            polling = self._unwatched or self._polled is not None
            until = min(check_at, poll_at if polling else check_at, check_at if due is None else due)
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
        """Roots that are missing or cannot be read, or are another directory than the watched one."""
        changed = []
        for root in self._tree.configured:
            found = None if self._tree.is_excluded(root) else recognized(root)
            if found is None:
                self._seen.pop(root, None)
                changed.append(root)
            elif self._seen.get(root) != found:
                self._seen[root] = found
                changed.append(root)
        return changed

    def _changed_mounts(self) -> list[tuple[Scope, str]]:
        """Places beneath the roots where a filesystem came, went or became another: they are watched by nobody, or in
        vain."""
        changed: list[tuple[Scope, str]] = []
        unmounted, self._unmounted = self._unmounted, set()
        for root, scope in self._scopes.items():
            real = mounted_beneath(scope.real_root)
            length = len(scope.real_root.rstrip("/"))
            now = {root.rstrip("/") + path[length:]: device for path, device in real.items()}
            before = self._mounts.setdefault(root, now)
            self._mounts[root] = now
            places = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
            places.update(now.keys() & unmounted)
            places.update(path for path in tuple(scope.memory.mounts) if doubt_of(scope, path) is not None)
            places.difference_update(self._doubts)
            changed += [(scope, path) for path in places if not scope.hides(path, is_directory=True)]
        return topmost(changed)

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
        await self._watch(root)
        if look_through:
            await self._emit_scan(self._scopes[root], root)

    async def _watch(self, root: str, starts: Sequence[str] = ()) -> None:
        """Watch a root anew, or what there is now from ``starts`` down. What could not be watched there before is tried
        again."""
        if self._observation is None:
            return
        self._unwatched.forget(starts or [root])
        try:
            if starts:
                await asyncio.to_thread(self._observation.renew, root, starts)
            else:
                await asyncio.to_thread(self._observation.watch, root)
        except OSError as error:
            self._unwatched[root] = error.strerror or str(error)

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

    def unmounted(self, root: str, directory: str) -> None:
        """Note a directory whose filesystem went away."""
        self._unmounted.add(directory)

    def unwatched(self, directory: str, reason: str) -> None:
        """Note a directory to be polled."""
        self._unwatched[directory] = reason
        self._notify()

    def directories(self, root: str, start: str) -> Iterator[str]:
        """What is to be watched from ``start`` down."""
        scope = self._scopes.get(root)
        return iter(()) if scope is None else followed(scope, start)

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
        operations, doubts, ruled, scans = await asyncio.to_thread(self._meaning, settled)
        await self._note(doubts)
        for start in range(0, len(operations), CHUNK):
            await self._backlog.tell(len(operations) - start + len(self._pending) + len(self._heard))
            await self._emit(operations[start : start + CHUNK])
        for scope, path in ruled:
            await self._look_through(scope, path)
        for scope, path in scans:
            await self._emit_scan(scope, path)

    def _meaning(self, settled: Settled) -> Meaning:
        """What settled changes amount to now. Roots that are not there now say nothing."""
        usable = {root for root in self._scopes if not self._tree.is_excluded(root) and self._tree.roots.is_same(root)}
        return meaning_of(settled, lambda path: self._scope_of(path, usable))

    def _scope_of(self, path: str, usable: set[str]) -> Scope | None:
        root = self._tree.root_of(path)
        return self._scopes.get(root) if root in usable and root != path else None

    # What cannot be known: what was heard of it meanwhile is made good when it can.

    async def _note(self, doubts: Sequence[Problem]) -> None:
        problems: list[Problem] = []
        for problem in doubts:
            path = os.fsdecode(self._context.native(problem.export_path))
            if self._doubts.get(path) != problem:
                self._doubts[path] = problem
                problems.append(problem)
        if problems:
            await self._emit(problems)

    async def _look_at_doubts(self) -> None:
        for path, problem in list(self._doubts.items()):
            scope = self._polled_scope(path)
            if scope is None or await asyncio.to_thread(doubt_of, scope, path) == problem:
                continue
            del self._doubts[path]
            await self._emit([Problem(kind=problem.kind, export_path=problem.export_path, resolved=True)])
            await self._look_at(scope, path)

    async def _look_at(self, scope: Scope, path: str) -> None:
        """Look at a path and at all beneath it."""
        verdict = await asyncio.to_thread(judge, scope, path)
        if isinstance(verdict, Problem):
            await self._note([verdict])
        elif verdict is not None:
            await self._emit([verdict])
        else:
            await self._look_through(scope, path)

    async def _look_through(self, scope: Scope, path: str) -> None:
        """Look through a directory in which others may have to be watched than before."""
        await self._watch(scope.root, [path])
        await self._emit_scan(scope, path)

    async def _emit_scan(self, scope: Scope, path: str) -> None:
        listings = chunks(scan(scope, path), CHUNK)
        while await self._emit_chunk(listings):
            pass

    async def _emit_chunk(self, listings: Iterator[Sequence[FileOperation]]) -> bool:
        """Read and emit some listings; False when there were no more."""
        chunk = await asyncio.to_thread(next, listings, None)
        if chunk is not None:
            await asyncio.to_thread(self._tree.roots.save)  # before what rests on it: where filesystems are mounted
            await self._emit(chunk)
        return chunk is not None

    # Directories that cannot be watched.

    async def _report_unwatched(self) -> None:
        await self._doubt_unwatched()
        problems = self._unwatched.report(self._context)
        if problems:
            await self._emit(problems)

    async def _doubt_unwatched(self) -> None:
        """What cannot be watched because it may not be read is looked at until it may be, and watched then."""
        for directory in self._unwatched.untold:
            scope = self._polled_scope(directory)
            problem = None if scope is None else await asyncio.to_thread(doubt_of, scope, directory)
            if problem is not None:
                del self._unwatched[directory]
                await self._note([problem])

    async def _poll(self) -> bool:
        """Look through a part of what cannot be watched; whether there may be more of it.

        What is heard meanwhile is settled between two parts, never during one: a listing must not be emitted after what
        became of its files since."""
        if self._polled is None:
            self._polled = chunks(await self._begin_poll(), CHUNK)
        if not await self._emit_chunk(self._polled):
            self._polled = None
        return self._polled is not None

    async def _begin_poll(self) -> Iterator[Directory | Problem]:
        """Try to watch what could not be watched; the listings of what there is. Directories beneath others of them are
        covered by those."""
        self._context.logger.debug("polling %d unwatched directories", len(self._unwatched))
        starts = topmost([(scope, path) for path in self._unwatched if (scope := self._polled_scope(path))])
        verdicts = await asyncio.to_thread(self._judged, starts)
        await self._note([verdict for *_, verdict in verdicts if isinstance(verdict, Problem)])
        await self._emit([verdict for *_, verdict in verdicts if isinstance(verdict, Create | Delete)])
        found = [(scope, path) for scope, path, verdict in verdicts if verdict is None]
        for root in {scope.root for scope, _ in found}:
            await self._watch(root, [path for scope, path in found if scope.root == root])
        return itertools.chain.from_iterable(
            scan(scope, path) for scope, path in found if self._tree.roots.is_same(scope.root)
        )

    def _judged(self, starts: Sequence[tuple[Scope, str]]) -> list[tuple[Scope, str, Verdict]]:
        usable = {root for root in self._scopes if self._tree.roots.is_same(root)}
        return [(scope, path, judge(scope, path)) for scope, path in starts if scope.root in usable]

    def _polled_scope(self, path: str) -> Scope | None:
        root = self._tree.root_of(path)
        return None if root is None else self._scopes.get(root)
