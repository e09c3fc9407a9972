"""What the tests of localfs have in common: a watcher whose words are kept, and a disk to mount."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mosaicfs_core.hooks import Directory, FileOperation
from mosaicfs_core.testing import Harness
from mosaicfs_plugins.localfs.watch import Watcher


class Heard:
    """What a watcher emits; ``until`` waits for it."""

    def __init__(self) -> None:
        self.operations: list[FileOperation] = []
        self.ready = asyncio.Event()
        self._news = asyncio.Event()

    async def emit(self, operations: Sequence[FileOperation]) -> None:
        self.operations += operations
        self.ready.set()
        self._news.set()

    async def until(self, condition: Callable[[FileOperation], bool]) -> FileOperation:
        async with asyncio.timeout(15):
            while True:
                for operation in self.operations:
                    if condition(operation):
                        return operation
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def watching(harness: Harness, root: Path, **settings: Any) -> AsyncIterator[tuple[Watcher, Heard]]:
    context = await harness.instance("localfs", {"paths": [str(root)], **settings})
    heard = Heard()
    watcher = Watcher(context, heard.emit)
    task = asyncio.create_task(watcher.run())
    try:
        async with asyncio.timeout(10):
            await heard.ready.wait()
        yield watcher, heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def is_listing(path: str) -> Callable[[FileOperation], bool]:
    """Whether an operation lists the directory at ``path``."""
    return lambda found: isinstance(found, Directory) and found.export_path == path


class Disk:
    """An empty filesystem of its own for ``where``; another one each time it is mounted."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self._mounted = 0

    def mount(self) -> None:
        """Mount it, over what is there."""
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(self.where)], check=True, capture_output=True)
        self._mounted += 1

    def mount_again(self, other: Disk) -> None:
        """Mount the same filesystem as another one that is mounted elsewhere."""
        subprocess.run(["mount", "--bind", str(other.where), str(self.where)], check=True)
        self._mounted += 1

    def unmount(self) -> None:
        """Unmount what was mounted last."""
        subprocess.run(["umount", str(self.where)], check=True)
        self._mounted -= 1

    def close(self) -> None:
        """Unmount all of it."""
        while self._mounted:
            self.unmount()


@contextmanager
def disk(where: Path) -> Iterator[Disk]:
    """A disk, mounted at ``where``, which is made."""
    where.mkdir(parents=True, exist_ok=True)
    made = Disk(where)
    try:
        made.mount()
    except subprocess.CalledProcessError:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield made
    finally:
        made.close()
