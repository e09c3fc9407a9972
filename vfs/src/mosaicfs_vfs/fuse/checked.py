"""Blocks of the cache that were compared with their checksums after they had been read.

While the agent writes to a data file, or somebody else does, its change time says nothing about a range that is read at
that moment. What agrees with its checksum in memory is right whatever becomes of the file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from mosaicfs_core.content.cache.layout import BLOCK, blocks_of, checksum, read_block

# A reader of a file that is coming reads each block in several requests.
_HELD: Final = 16


class CheckedBlocks:
    """The blocks checked last, of all open files together. A block is named by its file's version and its number."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def read(self, descriptor: int, version: str, span: tuple[int, int], sums: Mapping[int, int]) -> bytes | None:
        """The bytes of a ``span`` (from, to) of a version's data file. None when one of its blocks does not agree with
        the checksum that ``sums`` has of it, or has none there. Blocks. Raises OSError."""
        start, stop = span
        first = start // BLOCK
        parts = []
        for number in range(first, blocks_of(stop)):
            block = self._block(descriptor, version, number, sums)
            if block is None:
                return None
            parts.append(block)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        wanted = data[start - first * BLOCK : stop - first * BLOCK]
        return wanted if len(wanted) == stop - start else None

    def _block(self, descriptor: int, version: str, number: int, sums: Mapping[int, int]) -> bytes | None:
        key = version, number
        block = self._held.get(key)
        if block is not None:
            self._held.move_to_end(key)
            return block
        block = read_block(descriptor, number)
        if checksum(block) != sums.get(number):
            return None
        self._held[key] = block
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        return block
