"""Folders that this machine was started with, until the control plane, whose they are to write down, has done so.

They are kept in the replica, which is not replicated there: the agent may end before it has reached the control plane
for the first time, and is started again without naming them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mosaicfs_core.store import Store

_PLACE: Final = "folders-to-watch"


class WantedFolders:
    """The folders, as native paths, in the order in which they were named. Whoever starts an agent adds them before it
    runs, and its link takes them away."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, folders: Collection[str]) -> None:
        """Remember further ones; durable when this returns."""
        await self._keep([*await self.waiting(), *folders])

    async def waiting(self) -> list[str]:
        """Those that the control plane is to be told of."""
        kept = await self._store.local_get(_PLACE)
        return [] if kept is None else [str(folder) for folder in kept["folders"]]

    async def told(self, folders: Collection[str]) -> None:
        """The control plane has these, or will never have them."""
        await self._keep([folder for folder in await self.waiting() if folder not in folders])

    async def _keep(self, folders: Collection[str]) -> None:
        kept = await self._store.local_get(_PLACE) or {}
        wanted = list(dict.fromkeys(folders))
        if wanted != kept.get("folders", []):
            await self._store.local_put(_PLACE, {**kept, "folders": wanted})
