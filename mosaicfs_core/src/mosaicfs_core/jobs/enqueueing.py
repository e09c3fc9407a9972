"""From writes of files to jobs, inside the transaction that writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from mosaicfs_core.hooks import StepOp
from mosaicfs_core.jobs import annotating, rows, syncing
from mosaicfs_core.jobs.collapse import ADDED, DELETED, MODIFIED, back, collapse, place_known
from mosaicfs_core.jobs.instances import Instance, Tally, all_instances
from mosaicfs_core.jobs.matching import Matcher, Matchers
from mosaicfs_core.jobs.rows import Row
from mosaicfs_core.jobs.schema import BEHIND, READY
from mosaicfs_core.rules import FactsLookup
from mosaicfs_core.store import FileWrite, WriteTransaction
from mosaicfs_core.store.lookup import ReplicaLookup
from mosaicfs_core.store.rows import FileParts, join_path

_ADD_NEW: Final = f"""INSERT INTO jobs(instance, doc, sequence, event, status, attempts, due, delivered, created_at)
    SELECT ?1, value, ?2 + key, {ADDED}, {READY}, 0, 0, 0, ?3 FROM json_each(?4)"""


class Happening(NamedTuple):
    """What happened to a file by one write; ``event`` None: nothing that a plugin is told of."""

    write: FileWrite
    event: int | None


class Known(NamedTuple):
    """What is there of some files: waiting jobs, those in flight, and which files the ledger has."""

    waiting: Mapping[int, Row]
    flying: Mapping[int, Row]
    ledger: set[int]


class Enqueuer:
    """Takes in what is written. ``node_id`` is this node's; ``clock`` tells microseconds."""

    def __init__(self, node_id: str, step_ops: Mapping[str, StepOp], clock: Callable[[], int]) -> None:
        self._node_id = node_id
        self._clock = clock
        self.matchers = Matchers(node_id, step_ops)

    def files_written(self, tx: WriteTransaction, writes: Sequence[FileWrite]) -> None:
        """Have this node's annotations follow, and enqueue what every instance is to be told."""
        old = [write for write in writes if not write.new]
        if old:
            annotating.follow(tx, self._node_id, writes)
        instances = all_instances(tx)
        if instances:
            now = self._clock()
            new = [write for write in writes if write.new]
            happened = [Happening(write, what_happened(write.before, write.after)) for write in old]
            for instance in instances:
                part = _Part(tx, instance, self.matchers.of(instance), now)
                if new and instance.enabled:
                    part.new_files(new)
                if happened:
                    part.changed_files(happened)
                part.tally.write(tx)
        tx.execute("UPDATE job_state SET value = ? WHERE key = 'seq'", (tx.seq,))


def what_happened(before: FileParts | None, after: FileParts | None) -> int | None:
    """The event that a write of a file amounts to, None when plugins see no difference. One that writes the same again
    says that the file has changed in a way which its document does not tell (its fingerprint did)."""
    was, present = before is not None and bool(before.shown), after is not None and bool(after.shown)
    if was != present:
        return ADDED if present else DELETED
    if not present or before is None or after is None:
        return None
    return MODIFIED if before == after or _facts(before) != _facts(after) else None


def _facts(parts: FileParts) -> tuple[object, ...]:
    return parts[2:8]


def path_of(parts: FileParts) -> str:
    """The export path."""
    return join_path(parts.parent, parts.name)


class _Stand(NamedTuple):
    """Between a file and an instance: whether it was given a job of it that the ledger does not tell of, whether it may
    know the file, whether a job of it is in flight."""

    delivered: bool
    known: bool
    behind: bool


class _Part:
    """What one batch of writes means to one instance."""

    def __init__(self, tx: WriteTransaction, instance: Instance, matcher: Matcher, now: int) -> None:
        self._tx, self._instance, self._matcher, self._now = tx, instance, matcher, now
        self._lookup: FactsLookup = ReplicaLookup(tx.files)
        self.tally = Tally(instance)

    def new_files(self, writes: Sequence[FileWrite]) -> None:
        """Files that the replica did not know: nothing waits for them, nothing was done, so they are only added."""
        if ADDED not in self._matcher.events:
            return
        docs = self._matcher.among_new(writes, self._lookup, self._now)
        self._tx.execute(_ADD_NEW, (self._instance.number, self.tally.sequence + 1, self._now, rows.numbers(docs)))
        self.tally.sequence += len(docs)
        self.tally.count(READY, len(docs))

    def changed_files(self, happened: Sequence[Happening]) -> None:
        """Files that the replica knew: each meets what waits for it."""
        tx, number = self._tx, self._instance.number
        docs = rows.numbers(one.write.doc for one in happened)
        known = Known(*rows.of_files(tx, number, docs), rows.in_ledger(tx, number, docs))
        gone = [(number, one.write.doc) for one in happened if one.event == DELETED and one.write.doc in known.ledger]
        made = [job for one in happened if (job := self._meet(one, known)) is not None]
        rows.insert(tx, made)
        for key in gone:
            if DELETED in self._matcher.events:
                # Its annotation is gone: should it come back as it was, it is to be processed again.
                tx.execute("UPDATE job_ledger SET mtime = NULL WHERE instance = ? AND doc = ?", key)
            else:
                tx.execute("DELETE FROM job_ledger WHERE instance = ? AND doc = ?", key)
        # What a full sync waited for may have come to nothing.
        syncing.complete(tx, self._instance, self._matcher.subscription, self.tally, self._now)

    def _meet(self, one: Happening, known: Known) -> Row | None:
        """Take away what waited for the file, unless it may stay; returns what waits instead."""
        write, doc = one.write, one.write.doc
        waiting, flying = known.waiting.get(doc), known.flying.get(doc)
        if one.event is None:
            self._remember(write)
            return None
        if not self._instance.enabled and waiting is None and (flying is None or one.event != DELETED):
            return None  # nothing more is taken in; but what there is stays true
        delivered = flying is not None or (waiting is not None and bool(waiting.delivered))
        stand = _Stand(delivered, delivered or doc in known.ledger, flying is not None)
        event = self._told(one, waiting, known=stand.known)
        if event is not None and waiting is not None and event == waiting.event == ADDED and not stand.known:
            return None  # it says nothing of the file but that it is there, wherever and however
        if event is None and (waiting is None or (one.event == MODIFIED and self._takes(write))):
            return None
        if waiting is not None:
            rows.remove(self._tx, waiting)
            self.tally.count(waiting.status, -1)
        return None if event is None else self._row(event, write, waiting, stand)

    def _takes(self, write: FileWrite) -> bool:
        return self._matcher.takes(write.after, self._lookup, self._now)

    def _told(self, one: Happening, waiting: Row | None, *, known: bool) -> int | None:
        """The event that is to wait from now on; None for none."""
        write, events = one.write, self._matcher.events
        before = None if waiting is None else waiting.event
        if one.event == DELETED or not self._takes(write):
            # What passes no more is as good as gone to an instance that knows it, and nothing to one that does not.
            was = one.event == DELETED and self._matcher.takes(write.before, self._lookup, self._now)
            if not known and not was:
                return None
            event = collapse(before, DELETED, known=known)
            return event if event is not None and event in events else None
        if before == DELETED:
            return back(events)
        event = one.event
        assert event is not None
        if event == MODIFIED and not known and not self._matcher.takes(write.before, self._lookup, self._now):
            event = ADDED  # it passes only now
        return collapse(before, event, known=known) if event in events else None

    def _row(self, event: int, write: FileWrite, waiting: Row | None, stand: _Stand) -> Row:
        """The job that waits, at the place in the queue of the one it takes the place of, unless that was delivered."""
        stays = waiting is not None and not stand.delivered
        status = BEHIND if stand.behind else READY
        self.tally.count(status, 1)
        before, after = write.before, write.after
        here = after if after is not None else before
        assert here is not None
        was_at = None if before is None else path_of(before)
        previous = place_known(was_at, None if waiting is None else waiting.previous, path_of(here))
        return Row(
            instance=self._instance.number,
            doc=write.doc,
            sequence=waiting.sequence if stays and waiting is not None else self.tally.next(),
            event=event,
            status=status,
            delivered=int(stand.delivered),
            created_at=waiting.created_at if stays and waiting is not None else self._now,
            previous=previous if stand.known else None,
            record=record_of(before) if event == DELETED and after is None and before is not None else None,
        )

    def _remember(self, write: FileWrite) -> None:
        """Nothing happened; but when the document tells nothing any more, a deletion that is to be told has to."""
        if write.after is None and write.before is not None:
            sql = "UPDATE jobs SET record = ? WHERE instance = ? AND doc = ? AND record IS NULL"
            self._tx.execute(sql, (record_of(write.before), self._instance.number, write.doc))


def record_of(parts: FileParts) -> bytes:
    """What is kept of a file whose document is about to tell nothing any more."""
    return msgspec.json.encode([path_of(parts), parts.name, parts.size, parts.mtime, parts.mime_type])
