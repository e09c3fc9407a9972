"""Which files must stay in the cache, and for whom: in memory for every decision, in the index for the next start."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from mosaicfs_core.hooks import FilePlace


class PinRow(NamedTuple):
    """A pin as the index keeps it. ``holder`` is a plugin instance."""

    holder: str
    cache_key: str
    node_id: str
    export_path: str


class Pins:
    """The pins of a cache, by the key of a file's entry. An entry may have several holders, and goes with the last."""

    def __init__(self) -> None:
        self._places: dict[str, FilePlace] = {}
        self._holders: dict[str, tuple[str, ...]] = {}

    def __contains__(self, key: str) -> bool:
        """Whether the entry of that key must stay."""
        return key in self._holders

    def __len__(self) -> int:
        """How many files are pinned."""
        return len(self._holders)

    def __iter__(self) -> Iterator[PinRow]:
        """All of them."""
        for key, holders in self._holders.items():
            for holder in holders:
                yield PinRow(holder, key, *self._places[key])

    def load(self, rows: Iterable[PinRow]) -> None:
        """Take what the index knows."""
        for row in rows:
            self.add(row)

    def has(self, holder: str, key: str) -> bool:
        """Whether this holder wants it to stay."""
        return holder in self._holders.get(key, ())

    def add(self, row: PinRow) -> None:
        """It must stay for this holder."""
        if not self.has(row.holder, row.cache_key):
            self._places[row.cache_key] = FilePlace(row.node_id, row.export_path)
            self._holders[row.cache_key] = (*self._holders.get(row.cache_key, ()), row.holder)

    def remove(self, holder: str, key: str) -> None:
        """It need not stay for this holder."""
        left = tuple(one for one in self._holders.get(key, ()) if one != holder)
        if left:
            self._holders[key] = left
        elif key in self._holders:
            del self._holders[key], self._places[key]

    def of(self, holder: str) -> list[FilePlace]:
        """What a holder has pinned."""
        return [self._places[key] for key, holders in self._holders.items() if holder in holders]

    def holders(self) -> Collection[str]:
        """Everybody who has pinned something."""
        return {holder for holders in self._holders.values() for holder in holders}
