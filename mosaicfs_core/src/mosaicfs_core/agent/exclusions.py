"""What is left out of the index, and why: the crawl hooks asked for a report. Writes nothing, disturbs no crawl."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from mosaicfs_core.agent.board import Board
from mosaicfs_core.content.roots import watch_roots
from mosaicfs_core.documents.paths import is_under, unescape
from mosaicfs_core.errors import MosaicError, NotFound, Unavailable
from mosaicfs_core.hooks import CrawlRequest, Problem, RunningPlugin
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.instances import Instance

STALL_S: Final = 600.0
LOOK_S: Final = 10.0
"""How long the question about one path may take."""
_LEFT_OUT: Final = frozenset({"unreadable", "inaccessible", "ignored", "symlink", "special"})


class Exclusions(NamedTuple):
    """A slice of what is left out; ``more`` when there is something after it."""

    items: tuple[Problem, ...]
    more: bool


class Finding(NamedTuple):
    """What is at a path that no indexed file answers to.

    ``kind`` is that of the ``Problem`` which keeps it out (``ignored``, ``symlink``, ``special``, ``unreadable``,
    ``inaccessible``), or ``missing`` (not on disk), ``directory``, ``file`` (nothing keeps it out, a crawl will find
    it), ``inactive`` (what watches its folder does not run) or ``outside`` (no watched folder holds it).
    ``export_path`` is what is left out: the path, or a directory on the way to it. ``message`` is the reason.
    """

    kind: str
    export_path: str
    message: str


class Reporter:
    """Answers from the instances of the moment. ``instances`` gives them by name, ``running`` what runs one."""

    def __init__(
        self,
        core: CoreServices,
        board: Board,
        instances: Callable[[], Mapping[str, Instance]],
        running: Callable[[str], RunningPlugin | None],
    ) -> None:
        self._core = core
        self._board = board
        self._instances = instances
        self._running = running
        self._turn = asyncio.Lock()  # one walk over a disk at a time is enough

    async def exclusions(self, path: str | None, limit: int, offset: int) -> Exclusions:
        """The slice of what is left out under an export path, or everywhere. Raises ``NotFound`` for a path that has
        nothing to do with a watched folder, ``PluginError`` when a plugin fails."""
        if path is not None and not any(_touches(root, path) for one in self._all() for root in self._roots(one)):
            raise NotFound(f"no watched folder of this node holds {path}", path=path)
        found: list[Problem] = []
        async with self._turn, aclosing(self._everything(path)) as problems:
            async for problem in problems:
                if offset > 0:
                    offset -= 1
                elif len(found) == limit:
                    return Exclusions(tuple(found), more=True)
                else:
                    found.append(problem)
        return Exclusions(tuple(found), more=False)

    async def look(self, path: str) -> Finding | None:
        """What is at an export path; None when the plugin whose path it is does not tell."""
        covering = [one for one in self._all() if any(is_under(path, root) for root in self._roots(one))]
        if not covering:
            return Finding("outside", path, "no watched folder holds it")
        running = [one for one in covering if one.runs("mosaicfs_crawl")]
        for instance in running:
            problem = await self._reason(instance, path)
            if problem is not None:
                return Finding(problem.kind, problem.export_path, problem.message)
        if any(instance.prefix or not _reports(instance) for instance in running):
            return None
        found = await asyncio.to_thread(_on_disk, path)
        if found.kind != "missing" and not running:
            why = covering[0].problem or "it is switched off"
            return Finding("inactive", path, f"{covering[0].name}, which watches it, does not run: {why}")
        return found

    async def refused(self, path: str) -> str | None:
        """Why the system does not let this process read a file on disk; None when it does, or the file is not there."""
        covering = [one for one in self._all() if any(is_under(path, root) for root in self._roots(one))]
        if all(instance.prefix for instance in covering):
            return None
        return await asyncio.to_thread(_refusal, path)

    def _all(self) -> Iterable[Instance]:
        return list(self._instances().values())

    def _roots(self, instance: Instance) -> tuple[str, ...]:
        return (instance.prefix,) if instance.prefix else watch_roots([instance.document], self._core.node_id)

    async def _everything(self, path: str | None) -> AsyncGenerator[Problem]:
        for instance in self._all():
            if not instance.runs("mosaicfs_crawl") or not any(
                path is None or _touches(root, path) for root in self._roots(instance)
            ):
                continue
            if not _reports(instance):
                for problem in self._board.problems_of(instance.name):
                    if problem.kind in _LEFT_OUT and (path is None or is_under(problem.export_path, path)):
                        yield problem
                continue
            async with aclosing(self._chunks(instance, path, STALL_S)) as chunks:
                async for chunk in chunks:
                    for problem in chunk:
                        yield problem

    async def _reason(self, instance: Instance, path: str) -> Problem | None:
        """Why the instance leaves a path out, if it does. A report answers that first, so one chunk is enough."""
        problems: list[Problem] = []
        if _reports(instance):
            try:
                async with aclosing(self._chunks(instance, path, LOOK_S)) as chunks:
                    problems = await anext(chunks, [])
            except MosaicError:  # the host has logged it
                return None
        else:
            problems = [one for one in self._board.problems_of(instance.name) if one.count == 1]
        return next((one for one in problems if one.kind in _LEFT_OUT and is_under(path, one.export_path)), None)

    async def _chunks(self, instance: Instance, path: str | None, limit_s: float) -> AsyncGenerator[list[Problem]]:
        """What an instance leaves out; each chunk must come within ``limit_s`` seconds. Raises ``MosaicError``."""
        running = self._running(instance.name)
        if running is None:
            raise Unavailable(f"{instance.name} is being started")
        request = CrawlRequest(trigger="manual", prefixes=() if path is None else (path,), report=True)
        async with aclosing(running.crawl(request)) as items:
            while True:
                try:
                    async with asyncio.timeout(limit_s):
                        part = await anext(items, None)
                except TimeoutError:
                    raise Unavailable(f"{instance.name} said nothing for {limit_s:g} s") from None
                if part is None:
                    return
                yield [one for one in part if isinstance(one, Problem) and one.kind in _LEFT_OUT]


def _reports(instance: Instance) -> bool:
    manifest: Any = instance.plugin.manifest if instance.plugin is not None else None
    return manifest is not None and bool(manifest.reports_exclusions)


def _touches(root: str, path: str) -> bool:
    """Whether a path lies in a root, or holds it."""
    return is_under(path, root) or is_under(root, path)


def _refusal(path: str) -> str | None:
    """The system's word for not letting the file at a path be opened. Blocks."""
    try:
        os.close(os.open(unescape(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError as error:
        return error.strerror or str(error)
    except (OSError, ValueError):  # gone, or another thing by now: that is for the next crawl to find
        return None
    return None


def _on_disk(path: str) -> Finding:
    """What is at a path that nothing keeps out. Blocks."""
    try:
        mode = os.lstat(unescape(path)).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Finding("missing", path, "it does not exist on disk")
    except (OSError, ValueError) as error:
        return Finding("unreadable", path, (error.strerror if isinstance(error, OSError) else None) or str(error))
    if stat.S_ISDIR(mode):
        return Finding("directory", path, "it is a directory; only files are indexed")
    return Finding("file", path, "it was not crawled yet")
