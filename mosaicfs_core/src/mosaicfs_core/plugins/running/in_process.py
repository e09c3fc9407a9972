"""A package's work hooks called in the host's own process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from mosaicfs_core.hooks import (
    CrawlRequest,
    FileEvent,
    FileOperation,
    HealthReport,
    KindContext,
    QueryRequest,
    ResultEnvelope,
)
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.loading import LoadedPlugin

STALL_S: Final = 600.0
"""A crawl that yields nothing for this long is given up."""


class InProcess:
    """A ``RunningPlugin``. The dispatcher adds time limits, captures errors, and checks what is handed over."""

    def __init__(self, host: PluginHost, plugin: LoadedPlugin, context: KindContext) -> None:
        self._host, self._plugin, self._context = host, plugin, context

    @property
    def hooks(self) -> frozenset[str]:
        """What the package implements."""
        return self._plugin.hooks

    @property
    def problem(self) -> str | None:
        """None: a package that did not load is not run at all."""
        return None

    @property
    def window(self) -> int | None:
        """None: as many as there are workers."""
        return None

    async def start(self) -> None:
        """Nothing is to be started."""

    async def stop(self) -> None:
        """Nothing was started."""

    def configure(self) -> None:
        """The context answers with the settings of the moment."""

    async def file_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """Call the hook within the instance's time limit."""
        answer: Mapping[str, Any] | None = await self._call("mosaicfs_file_event", self._context.timeout_s, event=event)
        return answer

    async def query(self, request: QueryRequest) -> ResultEnvelope:
        """Call the hook within the request's time limit."""
        answer: ResultEnvelope = await self._call("mosaicfs_query", request.timeout_s, request=request)
        return answer

    async def health(self) -> HealthReport:
        """Call the hook."""
        answer: HealthReport = await self._call("mosaicfs_health", self._context.timeout_s)
        return answer

    async def crawl(self, request: CrawlRequest) -> AsyncGenerator[Sequence[FileOperation], None]:
        """Iterate the hook."""
        items = self._host.iterate(
            self._plugin, "mosaicfs_crawl", stall_timeout=STALL_S, context=self._context.plugin, request=request
        )
        async with aclosing(items):
            async for item in items:
                yield item if isinstance(item, list | tuple) else (item,)

    async def watch(self, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        """Call the hook until it ends."""
        await self._call("mosaicfs_watch", None, emit=emit)

    async def run(self) -> None:
        """Call the hook until it ends."""
        await self._call("mosaicfs_run", None)

    async def _call(self, hook: str, timeout: float | None, **arguments: Any) -> Any:
        return await self._host.call(self._plugin, hook, timeout=timeout, context=self._context.plugin, **arguments)
