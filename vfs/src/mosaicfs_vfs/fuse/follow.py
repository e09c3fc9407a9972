"""Following the replica: refresh the tree when it changed, and correct the kernel."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol

from mosaicfs_vfs.fuse.operations import MountOperations
from mosaicfs_vfs.fuse.source import Source
from mosaicfs_vfs.fuse.tree import Changes, Tree

_log = logging.getLogger(__name__)
# How often the replica is looked at: while no agent tells of changes, and while one does.
_POLL_S: Final = 0.5
_POLL_WITH_AGENT_S: Final = 2.0
# The least time between two refreshes: a crawl commits many times a second.
_PACE_S: Final = 0.1


class Pings(Protocol):
    """Who tells of changes. ``connected`` false: nobody does now."""

    connected: bool
    changed: asyncio.Event

    def shown(self, seq: int) -> None:
        """Hear that the mount shows everything up to this sequence from now on."""


@dataclass(frozen=True, slots=True)
class _Everything:
    """``Changes`` that may be anywhere in the tree, these files' bytes among them."""

    seq: int
    inodes: AbstractSet[int]
    directories: AbstractSet[str] = frozenset()
    subtrees: AbstractSet[str] = frozenset({"/"})


async def follow(source: Source, operations: MountOperations, pings: Pings) -> None:
    """Refresh on every ping, at every border of an age step, and when a poll finds a commit, until cancelled."""
    version, expiry = await source.run(_look)
    pings.shown(await source.run(_seq))
    missed = False
    while True:
        await _wait(pings, expiry)
        pings.changed.clear()
        try:
            seen, expiry = await source.run(_look)
            if missed or seen != version or (expiry is not None and expiry <= _now()):
                changes = await source.run(_refresh)
                await operations.apply(_Everything(changes.seq, changes.inodes) if missed else changes)
                pings.shown(changes.seq)
                version, missed = seen, False
                _, expiry = await source.run(_look)
        except Exception:  # noqa: BLE001 - one failure must not end following
            # The mount goes on with what it knows. Changes are told once: the next look makes up for what got lost.
            missed = True
            _log.exception("The tree could not be refreshed")
        await asyncio.sleep(_PACE_S)


async def _wait(pings: Pings, expiry: int | None) -> None:
    wait = _POLL_WITH_AGENT_S if pings.connected else _POLL_S
    if expiry is not None:
        wait = min(wait, max(0.0, (expiry - _now()) / 1e6))
    try:
        async with asyncio.timeout(wait):
            await pings.changed.wait()
    except TimeoutError:
        return


def _look(tree: Tree) -> tuple[int, int | None]:
    return tree.data_version(), tree.next_expiry()


def _seq(tree: Tree) -> int:
    return tree.seq()


def _refresh(tree: Tree) -> Changes:
    return tree.refresh()


def _now() -> int:
    return time.time_ns() // 1000
