"""Annotations of this node taken away, and the jobs made due again that make them anew: one transaction for each page
of them, so that a kill in the middle leaves no file without its annotation and without a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from mosaicfs_core.documents import name_of, parent_of
from mosaicfs_core.jobs import rows
from mosaicfs_core.jobs.annotating import Place, annotation_tombstone, put_all
from mosaicfs_core.jobs.collapse import back
from mosaicfs_core.jobs.instances import Instance, Tally, named
from mosaicfs_core.jobs.matching import Matcher, facts_of_row
from mosaicfs_core.jobs.rows import Row
from mosaicfs_core.jobs.schema import FAILED, READY
from mosaicfs_core.store import Reader, Store, WriteTransaction
from mosaicfs_core.store.lookup import ReplicaLookup

PAGE: Final = 1_000
"""Annotations taken away in one transaction, at most."""

_AT_PLACES: Final = """SELECT d.doc FROM json_each(?1) AS wanted
    CROSS JOIN nodes n ON n.node_id = json_extract(wanted.value, '$[0]')
    CROSS JOIN directories p ON p.node = n.node AND p.path = json_extract(wanted.value, '$[1]')
    CROSS JOIN documents d ON d.dir = p.dir AND d.name = json_extract(wanted.value, '$[2]') AND d.shown = 1"""
_UNDO: Final = """UPDATE job_ledger SET mtime = NULL, annotated = 0
    WHERE instance = ?1 AND doc IN (SELECT value FROM json_each(?2))"""
_AGAIN: Final = """UPDATE jobs SET status = ?, attempts = 0, postponed = 0, due = 0
    WHERE instance = ? AND doc = ? AND sequence = ?"""

Documents: TypeAlias = Sequence[Mapping[str, Any]]


class WhichAnnotations(msgspec.Struct, frozen=True, kw_only=True):
    """Which annotations: of a node's files, of one file (``path``, which needs ``node_id``), of one instance."""

    node_id: str | None = None
    path: str | None = None
    plugin: str | None = None

    def lookup(self) -> tuple[str, tuple[str, ...]]:
        """The store's index that has them, and the key in it."""
        if self.path is None and self.plugin is not None:
            return "annotation.plugin", tuple(part for part in (self.plugin, self.node_id) if part is not None)
        parts = (self.node_id, self.path, self.plugin if self.path is not None else None)
        return "annotation", tuple(part for part in parts if part is not None)


async def forget(
    store: Store, mine: str, which: WhichAnnotations, then: Callable[[WriteTransaction, Documents], None] | None = None
) -> int:
    """Take away what the node ``mine`` has annotated; what others did stays, and so does what is made while this goes
    on: nothing is made twice. ``then`` is called with each page of it, in the transaction that takes it away. Returns
    how many there were."""
    until = await store.read(lambda reader: reader.seq())
    count = 0
    after: tuple[Any, ...] | None = ()
    while after is not None:
        page = await store.read(partial(_page, which=which, after=after, until=until))
        ours = [document for document in page.documents if document["annotated_by"] == mine]
        if ours:
            count += await store.transaction(partial(_take_away, found=ours, then=then))
        after = page.after
    return count


class _Page(NamedTuple):
    """Annotations that were there in time, and the place in the index to go on from, None at the end."""

    documents: Documents
    after: tuple[Any, ...] | None


def _page(reader: Reader, which: WhichAnnotations, after: tuple[Any, ...], until: int) -> _Page:
    """The next ones, of which those that were written after the sequence ``until`` are passed over."""
    with reader.snapshot():
        found = list(islice(reader.walk(*which.lookup(), after), PAGE))
        entries = reader.entries([document["_id"] for _, document in found])
        documents = [document for _, document in found if entries[document["_id"]].seq <= until]
    return _Page(documents, found[-1][0] if len(found) == PAGE else None)


def _take_away(
    tx: WriteTransaction, found: Documents, then: Callable[[WriteTransaction, Documents], None] | None
) -> int:
    present = tx.get_many([document["_id"] for document in found])
    same = [now for now, was in zip(present, found, strict=True) if now is not None and now["_rev"] == was["_rev"]]
    put_all(tx, [annotation_tombstone(document) for document in same])
    if then is not None:
        then(tx, same)
    return len(same)


def make_due(tx: WriteTransaction, gone: Documents, matcher_of: Callable[[Instance], Matcher], now: int) -> None:
    """Have the files whose annotations are ``gone`` processed again by the instances that made them."""
    places: dict[str, set[Place]] = {}
    for document in gone:
        places.setdefault(document["plugin_name"], set()).add(Place(document["node_id"], document["export_path"]))
    for name, its in places.items():
        instance = named(tx, name)
        if instance is not None:
            _make_due(tx, instance, matcher_of(instance), its, now)


def _make_due(tx: WriteTransaction, instance: Instance, matcher: Matcher, places: set[Place], now: int) -> None:
    wanted = [[place.node_id, parent_of(place.export_path), name_of(place.export_path)] for place in sorted(places)]
    docs = [doc for (doc,) in tx.execute(_AT_PLACES, (msgspec.json.encode(wanted).decode(),)).fetchall()]
    listed, tally = rows.numbers(docs), Tally(instance)
    # Should it take nothing in now, the full sync that comes when it does finds them undone.
    tx.execute(_UNDO, (instance.number, listed))
    waiting, flying = rows.of_files(tx, instance.number, listed)
    for row in waiting.values():
        if row.status == FAILED:
            tx.execute(_AGAIN, (READY, row.instance, row.doc, row.sequence))
            tally.move(FAILED, READY)
    # What is in flight answers after this, and by that makes the annotation anew.
    idle = [doc for doc in docs if doc not in waiting and doc not in flying]
    event, lookup = back(matcher.events), ReplicaLookup(tx.files)
    if instance.enabled and event is not None:
        files = [(file.doc, facts_of_row(file)) for file in tx.files.file_rows(idle)]
        its = sorted(matcher.among(files, lookup, now))
        rows.insert(tx, [Row(instance.number, doc, tally.next(), event, READY, created_at=now) for doc in its])
        tally.count(READY, len(its))
    tally.write(tx)
