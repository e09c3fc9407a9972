"""Looking at every file once: which pass a combination of chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mosaicfs_core.documents.paths import join
from mosaicfs_core.rules import FactsLookup, FileFacts
from mosaicfs_core.store import DirRow, Reader
from mosaicfs_vfs.namespace.tree import Link

_REMEMBERED: Final = 16_384


class Places:
    """Directories by number. What is used of them never changes (node, path, parent), so they are remembered, up to a bound."""

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


def prefilter(links: Sequence[Link]) -> tuple[str, list[Any]]:
    """A SQL condition that every file passing the chains meets; empty when nothing can be said."""
    conditions: list[str] = []
    parameters: list[Any] = []
    return " AND ".join(f"({condition})" for condition in conditions), parameters


def passing_files(
    reader: Reader, places: Places, links: Sequence[Link], lookup: FactsLookup, now: int
) -> Iterator[list[int]]:
    """The document numbers of the files that pass, batch by batch."""
    where, parameters = prefilter(links)
    verdicts = [link.chain.verdict for link in links]
    for batch in reader.scan_files(where, parameters):
        found: list[int] = []
        current, node_id, path = 0, "", ""
        for document, directory, name, size, mtime, mime in zip(*batch, strict=True):
            if directory != current:
                place = places[directory]
                current, node_id, path = directory, place.node_id, join(place.path, "")
            facts = FileFacts(node_id, path + name, name, size, mtime, mime)
            for verdict in verdicts:
                if not verdict(facts, lookup, now):
                    break
            else:
                found.append(document)
        yield found
