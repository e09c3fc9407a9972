"""What stands under a file's path follows the file when it moves: its labels, and this node's annotations.

The agent notes the path where a file was before in ``moved_from``. Here the change is followed, what stands under the
old path is taken to the new one, and ``moved_from`` goes in the same transaction: killed at any moment, either all of
it was done or the next start does it.

Labels are the control plane's to move, annotations their annotator's; where there is a job queue, this node's went
in the transaction that moved the file (``jobs.annotating``). Where the control plane is another process than the
file's agent, each moves what is its own and remembers that it did; ``moved_from`` goes when the control plane has
told the agent that the labels have followed.

Where several control planes share a hub, each of them sees every move. Those of its own node's files a control plane
follows itself, as only it can clear their ``moved_from``; those of other nodes' files are followed by the one that
holds the lease, and the others remember them in case they get it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple

from mosaicfs_core.documents import ids
from mosaicfs_core.lease import Lease, SoleLease
from mosaicfs_core.store import Store, WriteTransaction
from mosaicfs_core.store.moves import annotators, moved_files, settled
from mosaicfs_core.supervision import first_of

logger = logging.getLogger(__name__)

CHECKPOINT: Final = "moves"
_OF_A_TOMBSTONE: Final = ("_id", "_rev", "type", "node_id", "export_path", "plugin_name", "annotated_by")
PER_TRANSACTION: Final = 250
"""Files that moved, in one transaction; those that took one another's places are never parted."""
HOPS: Final = 32
"""Renames of a file onto another, of that one onto a third, and so on, that are followed at once: a node may write any
number, of files of its own."""
_NOTE_EVERY: Final = 10_000
"""Changes after which the checkpoint is written although nothing moved."""
_PAUSE_S: Final = 0.05
"""Between looks: a crawl commits more often than anybody moves files."""


class Move(NamedTuple):
    """A file whose labels are at ``old``, and that is at ``new``. ``noted`` is its ``moved_from``, ``renamed_onto`` the
    id of the file that it was renamed onto, ``onto`` where that one is by now."""

    file_id: str
    rev: str
    node_id: str
    old: str
    new: str
    noted: str | None = None
    renamed_onto: str | None = None
    onto: str | None = None

    @property
    def place(self) -> str:
        """Where its labels belong."""
        return self.new if self.onto is None else self.onto


Followed = Mapping[str, Sequence[str]]
"""Moves that were followed and whose ``moved_from`` is still there: file id → that, and where the labels are now."""


def move_of(document: Mapping[str, Any]) -> Move:
    """The move that a file document with ``moved_from`` tells of."""
    return _move_from(document["moved_from"], document)


def _move_from(old: str, document: Mapping[str, Any]) -> Move:
    source, noted = document["source"], document.get("moved_from")
    onto = document.get("renamed_onto")
    return Move(document["_id"], document["_rev"], source["node_id"], old, source["export_path"], noted, onto)


def placed(get: Callable[[str], Mapping[str, Any] | None], moves: Iterable[Move]) -> list[Move]:
    """The moves with their ``onto`` as of now. ``get`` is asked once for each document."""
    known = cache(get)
    return [move._replace(onto=_end_of(move, known)) for move in moves]


def _end_of(move: Move, get: Callable[[str], Mapping[str, Any] | None]) -> str | None:
    """Where the file is that a move's was renamed onto, which may in turn have been renamed onto another one of its
    node; None where there is none."""
    place, onto, seen = None, move.renamed_onto, {move.file_id}
    while onto is not None and onto not in seen and len(seen) <= HOPS:
        seen.add(onto)
        document = get(onto)
        if document is None or document["type"] != "file" or document["source"]["node_id"] != move.node_id:
            break
        place, onto = document["source"]["export_path"], document.get("renamed_onto")
    return place


def moved_on(document: Mapping[str, Any], noted: str, at: str) -> Move | None:
    """The move still to be followed of a file whose move from ``noted`` to ``at`` was followed already: its agent did
    not know that yet when it moved on, or back to where it came from."""
    if document["source"]["export_path"] == at or document.get("moved_from") not in (noted, None):
        return None
    return _move_from(at, document)


def groups(moves: Sequence[Move]) -> Iterator[list[Move]]:
    """Moves in groups that must be done together: where one file came to the place that another one left."""
    at_place: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for number, move in enumerate(moves):
        at_place[move.node_id, move.old].add(number)
        at_place[move.node_id, move.place].add(number)
    seen: set[int] = set()
    for first in range(len(moves)):
        if first in seen:
            continue
        seen.add(first)
        together, waiting = [first], [first]
        while waiting:
            move = moves[waiting.pop()]
            for place in ((move.node_id, move.old), (move.node_id, move.place)):
                near = at_place.pop(place, set()) - seen
                seen |= near
                together += near
                waiting += near
        yield [moves[number] for number in sorted(together)]


def merged_labels(assignments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The assignment at a place, of the one that is there, if any, and those that come: for each label the newest of
    added and removed."""
    if len(assignments) == 1:
        return dict(assignments[0])
    times: dict[str, dict[str, str]] = {}
    for one in assignments:
        for label, known in (one.get("label_times") or {}).items():
            kept = times.setdefault(label, {})
            for field, moment in known.items():
                if moment is not None:
                    kept[field] = max(moment, kept.get(field, ""))
    labels = [
        label
        for label in dict.fromkeys(label for one in assignments for label in one["labels"])
        if times.get(label, {}).get("removed", "") <= times.get(label, {}).get("added", "")
    ]
    newest = max(assignments, key=lambda one: str(one["updated_at"]))
    merged = {key: value for one in assignments for key, value in one.items()}
    return {**merged, "labels": labels, "label_times": times} | {
        key: newest[key] for key in ("updated_at", "updated_by") if key in newest
    }


def newest_annotation(annotations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which of the annotations of one file by one annotator holds."""
    return dict(max(annotations, key=lambda one: str(one["annotated_at"])))


class Mover:
    """Follows moves from where it last was. ``run`` goes on until cancelled.

    ``control`` is whether this is the control plane, which moves labels. ``followed`` is told, after each round and at
    every ``tell``, of the moves of other processes' files that were followed. ``lease`` says whether it is this control
    plane that follows the moves of other nodes' files.
    """

    def __init__(
        self,
        store: Store,
        node_id: str,
        *,
        control: bool = True,
        followed: Callable[[Followed], Awaitable[None]] | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._store = store
        self._node_id = node_id
        self._control = control
        self._followed = followed
        self._elsewhere: dict[str, list[str]] = {}
        self._lease = lease or SoleLease()
        self._waiting: dict[str, str] = {}
        """Moves (file id → old path) that wait for the lease, or for another control plane to follow them."""
        self._withheld = False

    async def tell(self) -> None:
        """Tell ``followed`` of everything that was followed and whose ``moved_from`` is still there."""
        if self._followed is not None and self._elsewhere:
            await self._followed(dict(self._elsewhere))

    async def run(self) -> None:
        """Follow until cancelled or the store closes."""
        kept = await self._store.local_get(CHECKPOINT) or {}
        rev: str | None = kept.get("_rev")
        since = noted = int(kept.get("seq", 0))
        noted_before = kept.get("elsewhere", {})
        elsewhere = self._elsewhere = {key: value for key, value in noted_before.items() if isinstance(value, list)}
        self._waiting = dict(kept.get("waiting", {}))
        while True:
            before = dict(elsewhere), dict(self._waiting)
            seen = await self._round(since, elsewhere)
            while seen is None:
                seen = await self._round(since, elsewhere)
            since = seen
            if (elsewhere, self._waiting) != before or since - noted >= _NOTE_EVERY:
                body = {"seq": since, "elsewhere": elsewhere, "waiting": self._waiting} | ({"_rev": rev} if rev else {})
                rev, noted = await self._store.local_put(CHECKPOINT, body), since
            if elsewhere != before[0]:
                await self.tell()
            await self._wait(since)
            if self._store.closed:
                return
            await asyncio.sleep(_PAUSE_S)

    async def _wait(self, since: int) -> None:
        """Until something changes, the lease is ours where that is waited for, or the store closes."""
        waits: list[Awaitable[Any]] = [self._store.wait(since)]
        if self._withheld:
            waits.append(self._lease.wait())
        await first_of(*waits)

    async def _round(self, since: int, elsewhere: dict[str, list[str]]) -> int | None:
        """Do what moved since; the sequence up to which all is done, or None when something changed meanwhile, so that
        it must be looked at again.

        ``elsewhere`` remembers moves of other processes' files that were followed, as ``Followed``.
        """
        documents, until = await self._store.read(lambda reader: moved_files(reader, since))
        moves = await self._moved_on(elsewhere)
        moves += [move_of(document) for document in documents if document["_id"] not in elsewhere]
        moves = await self._allowed(list({move.file_id: move for move in moves}.values()), elsewhere)
        parts = await self._store.read(lambda reader: list(_parts(groups(placed(reader.get, moves)))))
        complete = True
        for part in parts:
            work = partial(
                _follow_all, groups=part, node_id=self._node_id, control=self._control, held=self._lease.held
            )
            done = await self._store.transaction(work)
            complete = complete and len(done) == sum(map(len, part))
            for move in done:
                self._waiting.pop(move.file_id, None)
                if move.noted is None:
                    del elsewhere[move.file_id]
                elif move.node_id != self._node_id or not self._control:
                    elsewhere[move.file_id] = [move.noted, move.new]
        if moves:
            logger.info("%d files moved, their labels with them", len(moves), extra={"operation": "moves"})
        return until if complete else None

    async def _allowed(self, moves: list[Move], elsewhere: Followed) -> list[Move]:
        """Those of the moves that are ours to follow now, with those that have waited for it; the others wait."""
        waiting = zip(self._waiting.items(), await self._store.get_many(self._waiting), strict=True)
        still = {
            file_id: document
            for (file_id, old), document in waiting
            if document is not None and document.get("moved_from") == old
        }
        self._waiting = {file_id: self._waiting[file_id] for file_id in still}
        if not self._lease.held():
            foreign = [move for move in moves if move.node_id != self._node_id]
            self._waiting.update((move.file_id, move.old) for move in foreign if move.file_id not in elsewhere)
            self._withheld = bool(foreign or self._waiting)
            return [move for move in moves if move.node_id == self._node_id]
        self._withheld = False
        known = {move.file_id for move in moves}
        return moves + [move_of(document) for file_id, document in still.items() if file_id not in known]

    async def _moved_on(self, elsewhere: dict[str, list[str]]) -> list[Move]:
        """The moves of files whose earlier move was followed; what need not be remembered any more is forgotten."""
        moves: list[Move] = []
        for file_id, document in zip(list(elsewhere), await self._store.get_many(list(elsewhere)), strict=True):
            noted, at = elsewhere[file_id]
            if document is not None and (move := moved_on(document, noted, at)) is not None:
                moves.append(move)  # one that went back is forgotten once its labels are back as well
            elif document is None or document.get("moved_from") != noted:
                del elsewhere[file_id]
        return moves


def _parts(found: Iterable[list[Move]]) -> Iterator[list[list[Move]]]:
    """Groups in portions of about ``PER_TRANSACTION`` files."""
    part: list[list[Move]] = []
    size = 0
    for group in found:
        part.append(group)
        size += len(group)
        if size >= PER_TRANSACTION:
            yield part
            part, size = [], 0
    if part:
        yield part


def _follow_all(
    tx: WriteTransaction,
    groups: Sequence[Sequence[Move]],
    node_id: str,
    control: bool,
    held: Callable[[], bool],
) -> list[Move]:
    """Follow the groups in which nothing has changed since they were read, and of other nodes only while the lease is
    ``held``; returns the moves that were followed."""
    done: list[Move] = []
    # Before any of them is done: what was followed does not say any more what it was renamed onto.
    present = set(placed(tx.get, itertools.chain.from_iterable(groups)))
    for group in groups:
        if group[0].node_id != node_id and not held():
            continue
        documents = tx.get_many([move.file_id for move in group])
        if any(
            document is None or document["_rev"] != move.rev or move not in present
            for move, document in zip(group, documents, strict=True)
        ):
            continue
        # All leave their places before any arrives.
        taken = [(move, _take(tx, move, node_id, control)) for move in group]
        _place(tx, [_at_place(document, move) for move, found in taken for document in found])
        own = [document for document in documents if document and document["source"]["node_id"] == node_id]
        for document in own if control else ():
            tx.put(settled(document))
        done += group
    return done


def _take(tx: WriteTransaction, move: Move, node_id: str, control: bool) -> list[dict[str, Any]]:
    """Remove what stands under the old path, and return it."""
    wanted = [ids.label_assignment_id(move.node_id, move.old)] if control else []
    if not tx.observed:  # else they went with the write that moved the file, and what is there is another file's
        plugins = annotators(tx, move.node_id, move.old)
        wanted += [ids.annotation_id(move.node_id, move.old, plugin, node_id) for plugin in plugins]
    found = [document for document in tx.get_many(wanted) if document is not None]
    for document in found:
        tx.put({**{key: document[key] for key in _OF_A_TOMBSTONE if key in document}, "_deleted": True})
    return found


def _at_place(document: Mapping[str, Any], move: Move) -> tuple[str, dict[str, Any]]:
    """The id and the body that what was taken has under the new path."""
    moved = {key: value for key, value in document.items() if not key.startswith("_")} | {"export_path": move.place}
    if document["type"] == "label_assignment":
        return ids.label_assignment_id(move.node_id, move.place), moved
    plugin, by = document["plugin_name"], document["annotated_by"]
    return ids.annotation_id(move.node_id, move.place, plugin, by), moved


def _place(tx: WriteTransaction, arriving: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Put what was taken under the new paths, with what is there: once under each, however much comes to it."""
    together: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for identifier, moved in arriving:
        together[identifier].append(moved)
    for identifier, moved_there in together.items():
        merge = merged_labels if moved_there[0]["type"] == "label_assignment" else newest_annotation
        tx.update(identifier, partial(_with_present, moved_there, merge))


def _with_present(
    moved: Sequence[Mapping[str, Any]],
    merge: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]],
    present: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return merge(moved if present is None else [present, *moved])
