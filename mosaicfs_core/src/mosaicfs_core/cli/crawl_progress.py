"""How the first crawl goes, as a bar on a terminal and as one line in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mosaicfs_core.store.crawl_queries import count_below

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext
    from mosaicfs_core.cli.runtime import AgentRuntime
    from mosaicfs_core.store import Reader

_STEP: Final = 0.2
_FIGURES: Final = ("files_seen", "files_written", "files_moved", "files_deleted")


class Indexed(NamedTuple):
    """What the first crawl came to, in words: the folders with their number of files, and what went wrong."""

    said: str
    problems: Sequence[str]


class Pace:
    """Tells when figures that should grow have stood still for ``patience`` seconds."""

    def __init__(self, patience: float, now: float) -> None:
        self._patience = patience
        self._figures: tuple[int, ...] = ()
        self._moved = now

    def stalled(self, figures: tuple[int, ...], now: float) -> bool:
        """Whether nothing has changed for too long."""
        if figures != self._figures:
            self._figures, self._moved = figures, now
        return now - self._moved >= self._patience


async def show(
    context: TerminalContext, runtime: AgentRuntime, stop: asyncio.Event, *, longest: float, stalled: float
) -> Indexed:
    """Follow the crawl until the watched folders are indexed, ``stop`` is set, nothing has moved for ``stalled``
    seconds, or ``longest`` seconds have passed; then say what is indexed and who is still busy, and return that.

    Other crawl sources are not waited for: one that is slow or hangs must not keep the folders from being mounted.
    """
    roots, begun = await runtime.roots(), time.monotonic()
    where = ", ".join(roots) or f"nothing ({_advice(runtime)})"
    with context.progress(f"Indexing {where}") as bar:
        await _follow(runtime, stop, bar.advance, longest, Pace(stalled, begun))
    if stop.is_set():
        return Indexed("", ())
    files = await runtime.core.store.read(partial(files_of, node_id=runtime.core.node_id, roots=roots))
    crawler = _crawler(runtime)
    problems = [*(f"the crawl was cut off: {reason}" for reason in crawler["failed"]), *crawler["inaccessible"]]
    said = f"{where}: {summary(files, runtime.agent.awaited(), time.monotonic() - begun, bool(problems))}"
    found = Indexed(said, problems)
    tell(context, found)
    return found


def tell(context: TerminalContext, found: Indexed) -> None:
    """Say what is indexed, and what is not."""
    context.say(f"Indexed   {found.said}")
    for problem in found.problems:
        context.say(f"          warning: {problem}")


def _advice(runtime: AgentRuntime) -> str:
    """What is missing where no folder is watched."""
    from mosaicfs_core.cli.registration import NO_WATCHER

    return NO_WATCHER if runtime.core.host.watcher() is None else "name a folder: mosaicfs up ~/Documents"


def files_of(reader: Reader, node_id: str, roots: Sequence[str]) -> int:
    """How many files of a node are indexed in these folders (export paths), of which none holds another; anywhere on
    the node when there are none."""
    return sum(count_below(reader, node_id, root) for root in roots or ("/",))


def summary(files: int, awaited: list[str], took: float, incomplete: bool = False) -> str:
    """What is indexed and which instances' first crawls go on; ``incomplete`` when something went wrong."""
    counted = f"{files:,} {'file' if files == 1 else 'files'}"
    if not awaited:
        return f"{counted} known, not all of them looked at" if incomplete else f"{counted} in {took:.1f} s"
    return f"{counted} so far; still crawling in the background: {', '.join(awaited)} (see `mosaicfs status`)"


async def _follow(runtime: AgentRuntime, stop: asyncio.Event, advance: Any, longest: float, pace: Pace) -> None:
    begun, shown = time.monotonic(), 0
    while not stop.is_set() and runtime.agent.awaited(watching=True):
        now, crawler = time.monotonic(), _crawler(runtime)
        if now - begun >= longest or pace.stalled(tuple(int(crawler.get(name) or 0) for name in _FIGURES), now):
            return
        seen = int(crawler.get("files_seen") or 0)
        advance(max(0, seen - shown))
        shown = max(shown, seen)
        await asyncio.sleep(_STEP)


def _crawler(runtime: AgentRuntime) -> dict[str, Any]:
    return dict(runtime.agent.status().get("subsystems", {}).get("crawler", {}))
