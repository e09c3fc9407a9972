"""Ways to run a plugin: what ``mosaicfs_plugin_kinds`` adds to ``package``, and what the host asks of any of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from mosaicfs_core.hooks.context import PluginContext
from mosaicfs_core.hooks.events import FileEvent
from mosaicfs_core.hooks.health import HealthReport, Notice
from mosaicfs_core.hooks.operations import CrawlRequest, FileOperation
from mosaicfs_core.hooks.queries import QueryRequest, ResultEnvelope


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program of this node that can be run as a plugin, or cannot: ``problem`` says why, in a sentence.

    ``hooks`` are the work hooks that it may be asked for.
    """

    name: str
    plugin_type: str
    problem: str | None = None
    hooks: frozenset[str] = frozenset()


def hooks_asked(document: Mapping[str, Any]) -> frozenset[str]:
    """What a foreign program is asked for, which it cannot say of itself: the document of its instance does."""
    asked = {
        "mosaicfs_file_event": document.get("subscribed_events"),
        "mosaicfs_query": document.get("query_endpoints"),
        "mosaicfs_crawl": document.get("provides_filesystem"),
    }
    return frozenset(hook for hook, wanted in asked.items() if wanted)


class KindContext(Protocol):
    """What a kind gets for one instance: the instance's own context, and where things are on this node."""

    @property
    def plugin(self) -> PluginContext:
        """The context of the instance: settings, files, documents."""

    @property
    def package(self) -> str:
        """The program's name."""

    @property
    def document(self) -> Mapping[str, Any]:
        """The instance's document, as of now."""

    @property
    def timeout_s(self) -> float:
        """How long one event or request may take, as of now."""

    @property
    def plugin_dirs(self) -> Sequence[Path]:
        """The directories of foreign programs, first the one that wins."""

    @property
    def socket_dir(self) -> Path:
        """Where sockets of plugins are."""

    async def notify(self, notice: Notice) -> None:
        """Record a notification that the plugin sent of its own accord."""

    def changed(self) -> None:
        """``problem`` or ``hooks`` are others than before. Plain function."""


@runtime_checkable
class RunningPlugin(Protocol):
    """One instance that runs, whatever runs it. Made by ``PluginKind.run``; nothing happens before ``start``.

    What is asked raises ``PluginError`` when the plugin answered with an error, crashed on it or took too long: that
    counts as an attempt, unless it says that what the plugin needs is not there (``PluginError.unavailable``). It
    raises ``Unavailable`` when the plugin is not there at present: that counts as none.
    """

    @property
    def hooks(self) -> frozenset[str]:
        """The work hooks it can be asked for, by name."""

    @property
    def problem(self) -> str | None:
        """Why it does not work at present, in a sentence; None when it does."""

    @property
    def window(self) -> int | None:
        """How many events it may be given at once, as of now; None for as many as the instance has workers."""

    async def start(self) -> None:
        """Begin: connect, or start the child. Returns soon; what does not work yet stands in ``problem``."""

    async def stop(self) -> None:
        """End everything it began."""

    def configure(self) -> None:
        """The instance's settings or limits are others than before. Plain function."""

    async def file_event(self, event: FileEvent) -> Mapping[str, Any] | None:
        """Give it an event and wait for its answer: an object to be stored as annotation, or None."""

    async def query(self, request: QueryRequest) -> ResultEnvelope:
        """Ask it."""

    async def health(self) -> HealthReport:
        """Ask how it is."""

    def crawl(self, request: CrawlRequest) -> AsyncGenerator[Sequence[FileOperation], None]:
        """Crawl, in chunks."""

    async def watch(self, emit: Callable[[Sequence[FileOperation]], Awaitable[None]]) -> None:
        """Watch until cancelled."""

    async def run(self) -> None:
        """Work in the background until cancelled."""


@runtime_checkable
class PluginKind(Protocol):
    """A ``plugin_type``."""

    @property
    def name(self) -> str:
        """What ``plugin_type`` says."""

    def programs(self, plugin_dirs: Sequence[Path], socket_dir: Path) -> Sequence[Program]:
        """What there is on this node, good and bad. Plain function; reads directories only."""

    def run(self, context: KindContext) -> RunningPlugin:
        """An instance. Plain function; must not fail for the program's sake: ``problem`` tells."""
