"""A stored document as one reader sees it: which leaves, in which form, and which of them wins.

Everything that is sent goes through here. For those who see all of it as it is stored, and for plain files, which are
most, nothing is read that need not be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mosaicfs_core.replication.flows import Access
from mosaicfs_core.store import Entry, Reader, exchange
from mosaicfs_core.store.revtree import parse_rev


class Seen(NamedTuple):
    """A leaf as the reader sees it; ``document`` when it had to be looked at."""

    rev: str
    deleted: bool
    document: Mapping[str, Any] | None


class View:
    """One reader's eyes."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def as_stored(self, entry: Entry) -> bool:
        """Whether the reader sees the whole entry as it is stored."""
        return self.access.unlimited or (self.access.reads_files and entry.plain_file)

    def entries(self, reader: Reader, identifiers: Sequence[str]) -> dict[str, Entry]:
        """The documents of these that the reader may know of."""
        access = self.access
        return reader.entries([name for name in identifiers if access.covers(name)])

    def leaves(self, entry: Entry) -> list[Seen]:
        """The leaves, the one that wins for this reader first; empty for what is not covered."""
        if self.as_stored(entry):
            return [Seen(leaf.rev, leaf.deleted, None) for leaf in entry.leaves()]
        found = []
        for leaf in entry.leaves():
            document = self.document(entry, leaf.rev)
            if document is None:
                return []
            found.append(Seen(leaf.rev, bool(document.get("_deleted")), document))
        return sorted(found, key=lambda seen: (not seen.deleted, parse_rev(seen.rev)), reverse=True)

    def document(self, entry: Entry, rev: str) -> Mapping[str, Any] | None:
        """The document at a leaf; None when it is no leaf, or not for this reader."""
        document = entry.document(rev)
        return document if document is None or self.as_stored(entry) else self.access.shown(document)

    def winner(self, entry: Entry, leaves: Sequence[Seen], *, conflicts: bool = False) -> dict[str, Any]:
        """The document that wins for this reader, deleted or not."""
        first = leaves[0]
        document = first.document or self.document(entry, first.rev)
        assert document is not None
        losers = [leaf.rev for leaf in leaves[1:] if not leaf.deleted] if conflicts else []
        return {**document, "_conflicts": losers} if losers else dict(document)

    def open_revs(
        self, entry: Entry, revs: Sequence[str] | None, *, latest: bool = False, history: bool = True
    ) -> list[Mapping[str, Any]]:
        """``exchange.leaves_of`` as the reader sees it."""
        found = exchange.leaves_of(entry, revs, latest=latest, history=history)
        if self.as_stored(entry):
            return list(found)
        shown = [self.access.shown(one) if "_id" in one else one for one in found]
        return [one for one in shown if one is not None]

    def bulk_get(
        self, entries: Mapping[str, Entry], wanted: Mapping[str, str], *, revs: bool, latest: bool
    ) -> dict[str, Any]:
        """One row of ``_bulk_get``."""
        entry = entries.get(wanted["id"])
        row = exchange.bulk_get_one(entry, wanted, revs=revs, latest=latest)
        if entry is not None and not self.as_stored(entry):
            row["docs"] = [{"ok": self.access.shown(one["ok"])} if "ok" in one else one for one in row["docs"]]
        return row
