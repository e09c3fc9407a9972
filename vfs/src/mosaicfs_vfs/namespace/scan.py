"""Looking at every file once: which pass a combination of chains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, repeat
from typing import Any, Final

from mosaicfs_core.documents.paths import join
from mosaicfs_core.rules import FactsLookup, FileFacts
from mosaicfs_core.rules.tree import Mount
from mosaicfs_core.store import DirRow, FileBatch, Reader
from mosaicfs_core.store.by_directory import scan_by_directory

_REMEMBERED: Final = 16_384

_COLUMNS: Final[Mapping[Any, tuple[str, ...]]] = {
    "glob": (),
    "regex": (),
    "node": (),
    "label": (),
    "annotation": (),
    "size": ("sizes",),
    "age": ("mtimes",),
    "mime": ("mimes",),
}
"""What each op of the core looks at, besides where a file is."""


class Places:
    """Directories by number. What is used of them never changes (node, path, parent), so they are remembered, up to a
    bound.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[int, DirRow] = {}

    def __getitem__(self, number: int) -> DirRow:
        row = self._known.get(number)
        if row is None:
            row = self._reader.directory_by_no(number)
            if row is None:
                raise KeyError(number)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[number] = row
        return row


def passing_files(reader: Reader, places: Places, mount: Mount, lookup: FactsLookup, now: int) -> Iterator[list[int]]:
    """The document numbers of the files that pass a mount's chains, batch by batch. SQL answers what it can."""
    narrowed = mount.chains.sql(now)
    if narrowed is None:
        yield from _by_directory(reader, places, mount, lookup, now)
    else:
        for batch in reader.scan_files(narrowed.where, narrowed.parameters):
            yield list(batch.docs) if narrowed.exact else _passing(batch, places, mount, lookup, now)


def _passing(batch: FileBatch, places: Places, mount: Mount, lookup: FactsLookup, now: int) -> list[int]:
    files: list[FileFacts] = []
    for directory, name, size, mtime, mime in zip(*batch[1:], strict=True):
        place = places[directory]
        files.append(FileFacts(place.node_id, join(place.path, name), name, size, mtime, mime))
    return list(compress(batch.docs, _verdicts(mount)(files, lookup, now)))


def _by_directory(reader: Reader, places: Places, mount: Mount, lookup: FactsLookup, now: int) -> Iterator[list[int]]:
    """Every file, a directory at a time; its facts are read only where a step may ask for them."""
    verdicts = _verdicts(mount)
    for found in scan_by_directory(reader, {"names", *_columns(mount)}):
        place = places[found.dir]
        node_id, path = place.node_id, join(place.path, "")
        columns = zip(
            found.names,
            found.sizes or repeat(0),
            found.mtimes or repeat(0),
            found.mimes or repeat(None),
            strict=False,
        )
        files = [FileFacts(node_id, path + name, name, size, mtime, mime) for name, size, mtime, mime in columns]
        yield list(compress(found.docs, verdicts(files, lookup, now)))


def _columns(mount: Mount) -> set[str]:
    """The facts that the steps may look at; a plugin's op may look at all."""
    ops = {step.get("op") for link in mount.links for step in link.steps}
    columns = {column for op in ops for column in _COLUMNS.get(op, ())}
    return columns if ops <= _COLUMNS.keys() else {"sizes", "mtimes", "mimes"}


def _verdicts(mount: Mount) -> Callable[[Sequence[FileFacts], FactsLookup, int], list[bool]]:
    chains = mount.chains
    return chains.verdicts if len(chains.chains) > 1 else chains.chains[0].verdicts
