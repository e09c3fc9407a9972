"""The tree as the event loop sees it: one thread does what may take long, the loop never waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mosaicfs_core.errors import NotFound
from mosaicfs_vfs.fuse.ahead import Batch, Walks, list_ahead
from mosaicfs_vfs.fuse.tree import Listing, Tree

T = TypeVar("T")


class Source:
    """Runs a ``Tree``'s methods one after another in its own thread.

    Listing a filtered directory for the first time may scan the whole replica; meanwhile the mount goes on answering
    from the listings it holds. Callers that want the same listing share one.
    """

    def __init__(self, make: Callable[[], Tree]) -> None:
        """``make`` is called in the thread that will use the tree."""
        self._make = make
        self._tree: Tree | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="mosaicfs-tree")
        self._listing: dict[str, asyncio.Future[Batch]] = {}
        self._walks = Walks()
        self._working = 0

    @property
    def busy(self) -> bool:
        """Whether the thread is at work."""
        return self._working > 0

    async def listing(self, path: str, following: Callable[[int], Sequence[str]]) -> list[Listing]:
        """The directory at a virtual path, and after it those that a walk which came here would list next.

        ``following`` names up to so many directories that come after this one and all beneath it. Raises ``NotFound``.
        """
        pending = self._listing.get(path)
        if pending is None:
            ahead = self._walks.asked(path)
            after = following(ahead + 1)
            pending = self._listing[path] = self._submit(lambda tree: list_ahead(tree, path, after, ahead))
            pending.add_done_callback(lambda _: self._listing.pop(path, None))
        batch = await asyncio.shield(pending)
        self._walks.given(batch)
        return batch.listings

    async def listings(self, paths: Sequence[str]) -> list[tuple[str, Listing | None]]:
        """Several directories in one go; None for what is none."""

        def work(tree: Tree) -> list[tuple[str, Listing | None]]:
            listings: list[tuple[str, Listing | None]] = []
            for path in paths:
                try:
                    listings.append((path, tree.list(path)))
                except NotFound:
                    listings.append((path, None))
            return listings

        return await self.run(work)

    async def run(self, work: Callable[[Tree], T]) -> T:
        """Run something over the tree in its thread."""
        return await self._submit(work)

    async def open(self) -> None:
        """Make the tree. Raises what making it raises."""
        await self._submit(lambda _: None)

    async def close(self) -> None:
        """Close the tree in its thread and end the thread."""
        if self._tree is not None:
            await self._submit(lambda tree: tree.close())
        self._executor.shutdown(wait=True)

    def _submit(self, work: Callable[[Tree], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, self._work, work)

    def _work(self, work: Callable[[Tree], T]) -> T:
        self._working += 1
        try:
            if self._tree is None:
                self._tree = self._make()
            return work(self._tree)
        finally:
            self._working -= 1
