"""Any running plugin that is not our own code, seen through one edge: what it hands over is checked, what it raises is
named and recorded, and only ``PluginError`` and ``Unavailable`` come out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NoReturn, TypeVar

from mosaicfs_core.errors import PluginError, Unavailable
from mosaicfs_core.hooks import (
    CrawlRequest,
    FileEvent,
    FileOperation,
    HealthReport,
    KindContext,
    QueryRequest,
    ResultEnvelope,
    RunningPlugin,
)
from mosaicfs_core.plugins.containment import as_plugin_error
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.operations import check_yielded
from mosaicfs_core.plugins.places import Places
from mosaicfs_core.plugins.results import check_answer

T = TypeVar("T")
PATIENCE_S: Final = 30.0
"""How long it may take to begin or to end."""


class Guarded:
    """A ``RunningPlugin`` around another. ``places`` answers where the instance's files lie, as of the moment."""

    def __init__(
        self, inner: RunningPlugin, host: PluginHost, context: KindContext, places: Callable[[], Places]
    ) -> None:
        self._inner, self._host, self._places = inner, host, places
        self._name = context.plugin.instance
        self._failed: str | None = None

    @property
    def hooks(self) -> frozenset[str]:
        """As the inner one."""
        return self._told(lambda: self._inner.hooks, frozenset())

    @property
    def problem(self) -> str | None:
        """As the inner one, or what that failed at which nobody waits for."""
        return self._failed or self._told(lambda: self._inner.problem, None) or self._failed

    @property
    def window(self) -> int | None:
        """As the inner one."""
        return self._told(lambda: self._inner.window, None)

    async def start(self) -> None:
        """Start it. What goes wrong stands in ``problem``."""
        self._failed = await self._ended("start", self._inner.start)

    async def stop(self) -> None:
        """Stop it. What goes wrong is recorded."""
        await self._ended("stop", self._inner.stop)

    def configure(self) -> None:
        """Tell it."""
        self._told(self._inner.configure, None)

    async def file_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """Give it an event."""
        answer: Mapping[str, Any] | None = await self._contained("mosaicfs_file_event", self._inner.file_event(event))
        return answer

    async def query(self, request: QueryRequest) -> ResultEnvelope:
        """Ask it."""
        answer: ResultEnvelope = await self._contained("mosaicfs_query", self._inner.query(request))
        return answer

    async def health(self) -> HealthReport:
        """Ask how it is."""
        answer: HealthReport = await self._contained("mosaicfs_health", self._inner.health())
        return answer

    async def crawl(self, request: CrawlRequest) -> AsyncGenerator[Sequence[FileOperation], None]:
        """Crawl; each part is checked."""
        hook = "mosaicfs_crawl"
        try:
            async with aclosing(self._inner.crawl(request)) as parts:
                async for part in parts:
                    problem = check_yielded(part, self._places())
                    if problem is not None:
                        self._wrong(hook, f"yielded {problem}")
                    yield part
        except Exception as error:  # noqa: BLE001 - the edge to foreign code
            self._fail(hook, error)

    async def watch(self, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        """Watch; what is emitted is checked."""

        async def checked(operations: Sequence[FileOperation]) -> None:
            problem = check_yielded(operations, self._places())
            if problem is not None:
                self._wrong("mosaicfs_watch", f"emitted {problem}")
            await emit(operations)

        await self._contained("mosaicfs_watch", self._inner.watch(checked))

    async def run(self) -> None:
        """Work."""
        await self._contained("mosaicfs_run", self._inner.run())

    def _told(self, ask: Callable[[], T], otherwise: T) -> T:
        """What it says at once. What goes wrong there is recorded once, and a ``problem`` from then on."""
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 - the edge to foreign code
            if self._failed is None:
                self._failed = self._noted("running", error)
            return otherwise

    async def _ended(self, what: str, work: Callable[[], Awaitable[None]]) -> str | None:
        """Have it begin or end; what went wrong, None when nothing did."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await work()
        except Exception as error:  # noqa: BLE001 - the edge to foreign code
            return self._noted(what, error)
        return None

    def _noted(self, what: str, error: Exception) -> str:
        failed = as_plugin_error(self._name, what, error)
        self._host.record(failed)
        return failed.message

    async def _contained(self, hook: str, work: Awaitable[Any]) -> Any:
        try:
            answer = await work
        except Exception as error:  # noqa: BLE001 - the edge to foreign code
            self._fail(hook, error)
        problem = check_answer(hook, answer)
        if problem is not None:
            self._wrong(hook, f"returned {problem}")
        return answer

    def _wrong(self, hook: str, what: str) -> NoReturn:
        self._fail(hook, PluginError(f"plugin {self._name}: {hook} {what}", self._name, hook))

    def _fail(self, hook: str, error: Exception) -> NoReturn:
        """Raise what went wrong as what callers expect. That a plugin is not there is no failure of it."""
        if isinstance(error, Unavailable):
            raise error
        failed = as_plugin_error(self._name, hook, error)
        self._host.record(failed)
        raise failed from error
