"""The child of the tests of what may not be read: localfs over a tree, as a user to whom permissions mean something.

Prints ``ready``, then for each operation its name and its path. It looks often at what it misses.
"""

import asyncio
import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from mosaicfs_core.hooks import CrawlRequest, FileOperation, Problem
from mosaicfs_core.testing.harness import Harness
from mosaicfs_plugins.localfs import watch
from mosaicfs_plugins.localfs.crawl import crawl

NOBODY = 65534
watch.CHECK_S = watch.MISSED_CHECK_S = 0.1


async def tell(operations: Sequence[FileOperation]) -> None:
    for one in operations:
        if isinstance(one, Problem):
            print(one.kind, "resolved" if one.resolved else "found", one.export_path, flush=True)
        else:
            print(type(one).__name__, getattr(one, "export_path", ""), flush=True)


def drop(home: Path) -> None:
    """Stop being root, who may read everything. Late, for the interpreter may lie where nobody else may read."""
    if os.getuid() == 0:
        for path in (home, *home.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)


async def main(base: str, what: str) -> None:
    home, root = Path(base, "home"), Path(base, "root")
    async with Harness.start(home, only={"localfs"}) as harness:
        context = await harness.instance("localfs", {"paths": [str(root)]})
        if what == "crawl":
            drop(home)
            print("ready", flush=True)
            async for chunk in crawl(context, CrawlRequest(trigger="manual")):
                await tell(chunk)
            return
        begun = asyncio.Event()

        async def emit(operations: Sequence[FileOperation]) -> None:
            await tell(operations)
            begun.set()

        if what == "watch as nobody":
            importlib.import_module("mosaicfs_plugins.localfs.inotify")  # as nobody it may not be found
            drop(home)
            print("ready", flush=True)
            await watch.Watcher(context, emit).run()
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.Watcher(context, emit).run())
            await begun.wait()
            drop(home)
            print("ready", flush=True)
