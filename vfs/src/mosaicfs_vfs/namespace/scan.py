"""Looking at every file once: which pass a combination of chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mosaicfs_core.documents.paths import join
from mosaicfs_core.rules import Chains, FactsLookup, FileFacts
from mosaicfs_core.store import DirRow, Reader

_REMEMBERED: Final = 16_384


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


def passing_files(
    reader: Reader, places: Places, chains: Chains, lookup: FactsLookup, now: int
) -> Iterator[Sequence[int]]:
    """The document numbers of the files that pass, batch by batch. SQL answers what it can."""
    narrowed = chains.sql(now)
    where, parameters = ("", ()) if narrowed is None else (narrowed.where, narrowed.parameters)
    verdict = chains.verdict if len(chains.chains) > 1 else chains.chains[0].verdict
    for batch in reader.scan_files(where, parameters):
        if narrowed is not None and narrowed.exact:
            yield batch.docs
            continue
        found: list[int] = []
        current, node_id, path = 0, "", ""
        for document, directory, name, size, mtime, mime in zip(*batch, strict=True):
            if directory != current:
                place = places[directory]
                current, node_id, path = directory, place.node_id, join(place.path, "")
            if verdict(FileFacts(node_id, path + name, name, size, mtime, mime), lookup, now):
                found.append(document)
        yield found
