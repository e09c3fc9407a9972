"""Which blocks of a file are there: a sorted list of disjoint, non-adjacent, half-open intervals. Pure."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise

Interval = tuple[int, int]


class BlockMap:
    """A set of non-negative integers (block numbers, or bytes) kept as intervals.

    Its cost grows with the number of intervals, not with the numbers in them. Arguments are half-open: ``start`` is
    in, ``stop`` is not; an empty range is had by every map, lacks nothing and adds nothing.
    """

    __slots__ = ("_starts", "_stops")

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in intervals:
            self.add(start, stop)

    def __len__(self) -> int:
        """The number of intervals."""
        return len(self._starts)

    def __iter__(self) -> Iterator[Interval]:
        return iter(zip(self._starts, self._stops, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockMap) and (self._starts, self._stops) == (other._starts, other._stops)

    def __repr__(self) -> str:
        return f"BlockMap({list(self)})"

    @property
    def total(self) -> int:
        """How many numbers are in it."""
        return sum(self._stops) - sum(self._starts)

    def has(self, start: int, stop: int) -> bool:
        """Whether the whole range is there."""
        if start >= stop:
            return True
        position = bisect_right(self._starts, start) - 1
        return position >= 0 and stop <= self._stops[position]

    def missing(self, start: int, stop: int) -> list[Interval]:
        """The parts of a range that are not there, in order."""
        found: list[Interval] = []
        position = bisect_right(self._stops, start)
        while start < stop:
            if position == len(self._starts) or self._starts[position] >= stop:
                found.append((start, stop))
                break
            if start < self._starts[position]:
                found.append((start, self._starts[position]))
            start = self._stops[position]
            position += 1
        return found

    def add(self, start: int, stop: int) -> None:
        """Put a range in, joining what it touches. Raises ``ValueError`` for a negative start."""
        if start < 0:
            raise ValueError(f"a negative block: {start}")
        if start >= stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def remove(self, start: int, stop: int) -> None:
        """Take a range out."""
        if start >= stop:
            return
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        if first >= last:
            return
        kept = [(self._starts[first], start), (stop, self._stops[last - 1])]
        kept = [part for part in kept if part[0] < part[1]]
        self._starts[first:last] = [part[0] for part in kept]
        self._stops[first:last] = [part[1] for part in kept]

    def clear(self) -> None:
        """Take everything out."""
        self._starts.clear()
        self._stops.clear()

    def to_bytes(self) -> bytes:
        """The intervals as pairs of little-endian unsigned 64-bit integers."""
        flat = [number for interval in self for number in interval]
        return struct.pack(f"<{len(flat)}Q", *flat)

    @classmethod
    def from_bytes(cls, data: bytes) -> BlockMap:
        """Read ``to_bytes``. Raises ``ValueError`` for anything that it did not write."""
        if len(data) % 16:
            raise ValueError("a block map is made of 16-byte pairs")
        flat = struct.unpack(f"<{len(data) // 8}Q", data)
        if any(left >= right for left, right in pairwise(flat)):
            raise ValueError("the intervals of a block map are sorted and apart")
        made = cls()
        made._starts, made._stops = list(flat[::2]), list(flat[1::2])
        return made
