"""Where every shown file was when the namespace last looked: four bytes a file, eight a directory.

The changes feed says where a file *is*; what a listing showed before follows from where it *was*. Document and
directory numbers are small, dense and never reused, so plain arrays do.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from mosaicfs_core.store.by_directory import DirectoryFiles

NONE = 0  # no directory: numbers begin at 1


class Tally:
    """How many files each directory holds at any depth, of those that were added.

    Adding and removing walk up to the node's root; a directory that became empty or ceased to be is put into
    ``flipped``.
    """

    def __init__(self, parents: array[int]) -> None:
        self._parents = parents
        self.counts = array("I")

    def count(self, directory: int) -> int:
        """How many files lie in the directory or beneath it."""
        return self.counts[directory] if directory < len(self.counts) else 0

    def fill(self, direct: array[int]) -> None:
        """Begin with the files directly in each directory."""
        counts = array("I", direct)
        parents = self._parents
        for directory in _children_first(parents):
            if counts[directory]:
                counts[parents[directory]] += counts[directory]
        counts[NONE] = 0
        self.counts = counts

    def add(self, directory: int, flipped: set[int]) -> None:
        """A file came to be in the directory."""
        missing = len(self._parents) - len(self.counts)
        if missing > 0:
            self.counts.extend([0] * missing)
        while directory:
            self.counts[directory] += 1
            if self.counts[directory] == 1:
                flipped.add(directory)
            directory = self._parents[directory]

    def remove(self, directory: int, flipped: set[int]) -> None:
        """A file left the directory."""
        while directory:
            self.counts[directory] -= 1
            if self.counts[directory] == 0:
                flipped.add(directory)
            directory = self._parents[directory]


class Positions:
    """The directory of each shown file (``NONE``: not shown), the parent of each directory, and the tally of all
    files.
    """

    def __init__(self) -> None:
        self.parents = array("I", [NONE])
        self.directories = array("I", [NONE])
        self.all = Tally(self.parents)

    def load(self, parents: Iterable[tuple[int, int]], files: Iterable[DirectoryFiles]) -> None:
        """Read everything: ``parents`` as pairs of a directory and its parent, ``files`` directory by directory."""
        for directory, parent in parents:
            self.learn(directory, parent)
        direct = array("I", bytes(4 * len(self.parents)))
        for found in files:
            top = max(found.docs)
            if top >= len(self.directories):
                self.directories.extend(array("I", bytes(4 * (top + 1 - len(self.directories)))))
            directories, directory = self.directories, found.dir
            for document in found.docs:
                directories[document] = directory
            direct[directory] = len(found.docs)
        self.all.fill(direct)

    def learn(self, directory: int, parent: int | None) -> None:
        """Note a directory's parent."""
        if directory >= len(self.parents):
            self.parents.extend([NONE] * (directory + 1 - len(self.parents)))
        self.parents[directory] = parent or NONE

    def knows(self, directory: int) -> bool:
        """Whether the directory's parent was noted; a root's is noted as ``NONE`` and looks unknown, which costs a
        query.
        """
        return directory < len(self.parents) and self.parents[directory] != NONE

    def of(self, document: int) -> int:
        """The directory the file was in, or ``NONE``."""
        return self.directories[document] if document < len(self.directories) else NONE

    def put(self, document: int, directory: int) -> None:
        """The file is now in this directory (``NONE``: shown no more)."""
        if document >= len(self.directories):
            self.directories.extend([NONE] * (document + 1 - len(self.directories)))
        self.directories[document] = directory


def _children_first(parents: array[int]) -> Iterable[int]:
    """Directory numbers, each before its parent. A parent is usually numbered before its children, but not by
    contract.
    """
    numbers = range(len(parents) - 1, 0, -1)
    if all(parents[number] < number for number in numbers):
        return numbers
    depths = [0] * len(parents)
    for number in numbers:
        current, depth = number, 0
        while current:
            current, depth = parents[current], depth + 1
        depths[number] = depth
    return sorted(numbers, key=lambda number: -depths[number])
