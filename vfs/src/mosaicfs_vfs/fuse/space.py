"""How large the disks behind the tree are, as ``df`` asks: those of this machine's sources of files, each once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from mosaicfs_core.mount_table import own_points

BLOCK: Final = 4096
"""Bytes of a block in ``Space``."""
WAIT_S: Final = 1.0
"""A disk that does not answer, as one of a network may not, keeps nobody waiting for longer."""


class Space(NamedTuple):
    """Blocks of ``BLOCK`` bytes and files: how many there are, and how many of them are free. ``available`` are the
    blocks that are free to users."""

    blocks: int = 0
    free: int = 0
    available: int = 0
    files: int = 0
    files_free: int = 0


def space_of(roots: Collection[bytes], own: Collection[bytes]) -> Space:
    """The filesystems that hold these folders. What is missing has none; what lies in ``own``, the mount points of
    MosaicFS, is not asked, for the answer would come from whoever waits for it. Blocks."""
    found: dict[int, Space] = {}
    for root in roots:
        if any(root == point or root.startswith(point + b"/") for point in own):
            continue
        try:
            device, facts = os.stat(root).st_dev, os.statvfs(root)
        except OSError:
            continue
        counts = (facts.f_blocks, facts.f_bfree, facts.f_bavail)
        blocks, free, available = (count * facts.f_frsize // BLOCK for count in counts)
        found[device] = Space(blocks, free, available, facts.f_files, facts.f_ffree)
    return Space(*(sum(figures) for figures in zip(*found.values(), strict=True)))


class Disks:
    """``roots`` are this machine's folders; ``home`` is asked about where none of them is there."""

    def __init__(self, roots: Callable[[], Collection[bytes]], home: bytes) -> None:
        self._roots = roots
        self._home = home
        self._known = Space()
        self._looking: asyncio.Task[None] | None = None

    async def space(self) -> Space:
        """The space as of now; as it was last when a disk does not answer."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        await asyncio.wait({self._looking}, timeout=WAIT_S)
        return self._known

    async def _look(self) -> None:
        self._known = await asyncio.to_thread(self._measure)

    def _measure(self) -> Space:
        own = [os.fsencode(point) for point in own_points()]
        space = space_of(self._roots(), own)
        return space if space.blocks else space_of([self._home], own)
