"""An instance that could not be made to run: it says why, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn

from mosaicfs_core.errors import Unavailable
from mosaicfs_core.hooks import CrawlRequest, FileEvent, FileOperation, HealthReport, QueryRequest, ResultEnvelope


class NotRunning:
    """A ``RunningPlugin`` whose ``problem`` stays."""

    hooks: frozenset[str] = frozenset()
    window: int | None = None

    def __init__(self, problem: str) -> None:
        self.problem: str | None = problem

    async def start(self) -> None:
        """Nothing is there to be started."""

    async def stop(self) -> None:
        """Nothing was started."""

    def configure(self) -> None:
        """Nobody is there to be told."""

    async def file_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """Raises ``Unavailable``."""
        self._refuse()

    async def query(self, request: QueryRequest) -> ResultEnvelope:
        """Raises ``Unavailable``."""
        self._refuse()

    async def health(self) -> HealthReport:
        """Raises ``Unavailable``."""
        self._refuse()

    async def crawl(self, request: CrawlRequest) -> AsyncGenerator[Sequence[FileOperation], None]:
        """Raises ``Unavailable``."""
        self._refuse()
        yield ()

    async def watch(self, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        """Raises ``Unavailable``."""
        self._refuse()

    async def run(self) -> None:
        """Raises ``Unavailable``."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Unavailable(f"it does not run: {self.problem}")
