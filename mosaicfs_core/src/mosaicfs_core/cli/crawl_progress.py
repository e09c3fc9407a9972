"""How the first crawl goes, as a bar on a terminal and as one line in the end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mosaicfs_core.cli.frame_context import TerminalContext
    from mosaicfs_core.cli.runtime import Runtime

_STEP: Final = 0.2


async def show(context: TerminalContext, runtime: Runtime, stop: asyncio.Event, longest: float) -> None:
    """Follow the crawl until it ends, ``stop`` is set, or ``longest`` seconds have passed; then say what is indexed."""
    roots, begun = await runtime.roots(), time.monotonic()
    where = ", ".join(roots) or "nothing (name a folder: mosaicfs up ~/Documents)"
    done = asyncio.create_task(runtime.agent.first_crawl_done.wait())
    stopped = asyncio.create_task(stop.wait())
    shown = 0
    try:
        with context.progress(f"Indexing {where}") as bar:
            while not (done.done() or stopped.done()) and time.monotonic() - begun < longest:
                await asyncio.wait({done, stopped}, timeout=_STEP, return_when=asyncio.FIRST_COMPLETED)
                seen = int(_crawler(runtime).get("files_seen") or 0)
                bar.advance(max(0, seen - shown))
                shown = max(shown, seen)
    finally:
        for task in (done, stopped):
            task.cancel()
        await asyncio.gather(done, stopped, return_exceptions=True)
    if stop.is_set():
        return
    counts = (await runtime.core.store.info()).types.get("file", {})
    took = time.monotonic() - begun
    state = (
        f"in {took:.1f} s" if runtime.agent.first_crawl_done.is_set() else "so far; the rest follows in the background"
    )
    context.say(f"Indexed   {where}: {counts.get('live', 0):,} files {state}")
    for problem in _crawler(runtime).get("inaccessible", ()):
        context.say(f"          {problem}")


def _crawler(runtime: Runtime) -> dict[str, Any]:
    return dict(runtime.agent.status().get("subsystems", {}).get("crawler", {}))
