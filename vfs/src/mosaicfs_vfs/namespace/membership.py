"""Which files pass a combination of chains: one bit per file and, per directory, how many of them lie beneath it.

Whether a sub-directory is to be shown cannot be known without looking at every file in it; so that is done once, in one
scan, and from then on only the files that changed are looked at again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from mosaicfs_core.rules import FactsLookup, FileFacts, labels_named, plugins_named
from mosaicfs_core.rules.tree import Mount
from mosaicfs_vfs.namespace.positions import NONE, Positions, Tally


class Membership:
    """The files that pass the chains of a mount, and of every other mount of the same key. ``as_of`` is the time that
    ``age`` steps were last evaluated for.

    ``expires_at`` is when the next file crosses the border of an ``age`` step, as far as known; None for never.
    """

    def __init__(self, mount: Mount, positions: Positions, now: int) -> None:
        self.key = mount.key
        self.chains = mount.chains
        self.as_of = now
        self.expires_at: int | None = None
        self.tally = Tally(positions.parents)
        self.needs_labels = "labels" in mount.chains.needs
        steps = [step for link in mount.links for step in link.steps]
        self.plugins = plugins_named(steps)
        self.labels = labels_named(steps)
        self._positions = positions
        self._bits = bytearray()

    def __contains__(self, document: int) -> bool:
        """Whether the file with this document number passes."""
        index = document >> 3
        return index < len(self._bits) and bool(self._bits[index] >> (document & 7) & 1)

    def passing(self, documents: Iterable[int]) -> list[bool]:
        """``in`` for many."""
        bits, size = self._bits, len(self._bits) * 8
        return [document < size and bool(bits[document >> 3] >> (document & 7) & 1) for document in documents]

    def count(self, directory: int) -> int:
        """How many files beneath the directory pass."""
        return self.tally.count(directory)

    def verdict(self, facts: FileFacts, lookup: FactsLookup) -> bool:
        """Whether a file with these facts passes every chain at ``as_of``."""
        return self.chains.verdict(facts, lookup, self.as_of)

    def fill(self, batches: Iterable[Iterable[int]]) -> None:
        """Begin with the files that a scan found to pass; those whose position is not known yet come with the next
        refresh.
        """
        positions, direct = self._positions.directories, array("I", bytes(4 * len(self._positions.parents)))
        bits = self._bits = bytearray((len(positions) >> 3) + 1)
        known = len(positions)
        for found in batches:
            for document in found:
                if document < known and (directory := positions[document]):
                    bits[document >> 3] |= 1 << (document & 7)
                    direct[directory] += 1
        self.tally.fill(direct)

    def move(self, document: int, before: int, after: int, passes: bool, flipped: set[int]) -> tuple[bool, bool]:
        """A file changed, from one directory to another perhaps: whether it passed before, and does now."""
        was = document in self
        passes = passes and after != NONE
        if was and (not passes or before != after):
            self.tally.remove(before, flipped)
        if passes and (not was or before != after):
            self.tally.add(after, flipped)
        if was != passes:
            index = document >> 3
            if index >= len(self._bits):
                self._bits.extend(bytes(index + 1 - len(self._bits)))
            self._bits[index] ^= 1 << (document & 7)
        return was, passes

    def expect(self, mtime: int) -> None:
        """Note when a file with this modification time crosses a border next."""
        for offset in self.chains.age_offsets:
            crossing = mtime + offset
            if crossing > self.as_of and (self.expires_at is None or crossing < self.expires_at):
                self.expires_at = crossing

    def crossed_by(self, now: int) -> list[tuple[int, int]]:
        """The ranges of modification times, both ends included, whose files crossed a border since ``as_of``."""
        return [(self.as_of - offset, now - offset) for offset in self.chains.age_offsets]
