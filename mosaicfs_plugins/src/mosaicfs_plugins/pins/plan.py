"""What is wanted, what is here, and what to fetch next: the pins' state, and the rules of trying again. Pure.

Times are seconds of any clock that does not jump; the caller says what time it is.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from mosaicfs_core.hooks import FilePlace, FileRecord, SelectedFile

State: TypeAlias = Literal["present", "waiting", "fetching", "failed", "no_room"]

NODE_PAUSES_S: Final = (5.0, 300.0)
"""How long a node that does not answer is left alone: at first, and at most; doubled each time."""
FILE_PAUSES_S: Final = (30.0, 3600.0)
"""The same of a file that its owner does not give."""
ROOM_PAUSE_S: Final = 60.0
"""How long after one file did not fit no other of its size or above is tried."""
KEPT_FAILURES: Final = 20
"""Failures of one pin that are told with file and reason; more are only counted."""


@dataclass(eq=False)
class Item:
    """A wanted file in one version. ``pins`` want it; ``here`` bytes of it are on this node."""

    file: FileRecord
    pins: tuple[str, ...]
    state: State = "waiting"
    here: int = 0
    reason: str = ""
    attempts: int = 0


@dataclass
class Tally:
    """Figures of one pin: how many files are in each state, and their bytes."""

    files: dict[str, int] = field(default_factory=dict)
    wanted: int = 0
    here: int = 0
    lacking: int = 0

    def count(self, item: Item, sign: int) -> None:
        """Add an item (1) or take it out again (-1)."""
        self.files[item.state] = self.files.get(item.state, 0) + sign
        self.wanted += sign * item.file.size
        self.here += sign * item.here
        if item.state == "no_room":
            self.lacking += sign * (item.file.size - item.here)


@dataclass
class _Node:
    """The files of one owner that wait: (time, rank, number, item), and until when it is left alone."""

    waiting: list[tuple[float, int, int, Item]] = field(default_factory=list)
    until: float = 0.0
    attempts: int = 0


class Plan:
    """The files that some pins want. ``names`` are the pins, the most important first; ``node_id`` is this node, whose
    own files are here anyway."""

    def __init__(self, names: Sequence[str], node_id: str) -> None:
        self._ranks = {name: rank for rank, name in enumerate(names)}
        self._node_id = node_id
        self._nodes: dict[str, _Node] = {}
        self._numbers = itertools.count()
        self._too_large: tuple[int, float] = (0, 0.0)
        self.items: dict[str, Item] = {}
        self.tallies: dict[str, Tally] = {name: Tally() for name in names}
        # Those of the items that have a reason not to be here.
        self._troubled: dict[str, Item] = {}

    # What is wanted.

    def take(self, selected: SelectedFile, *, here: int, whole: bool, now: float) -> FilePlace | None:
        """A file came, changed, went, or is wanted by other pins: the place to let go of, if any.

        ``here`` bytes of its present version are on this node; ``whole``: all, and they will stay.
        """
        former = self.items.get(selected.file_id)
        file = selected.file
        if former is not None and file is not None and selected.selections and _same(former.file, file):
            self._uncount(former)
            former.pins = selected.selections
            self._count(former)
            return None
        if former is not None:
            del self.items[selected.file_id]
            self._uncount(former)
        if file is not None and selected.selections:
            item = Item(file, selected.selections, here=here)
            self.items[selected.file_id] = item
            if whole or file.node_id == self._node_id:
                item.state, item.here = "present", file.size
            else:
                self._queue(item, now)
            self._count(item)
        if former is None or former.file.node_id == self._node_id:
            return None
        place = FilePlace(former.file.node_id, former.file.export_path)
        stays = file is not None and selected.selections and place == (file.node_id, file.export_path)
        return None if stays else place

    def holds(self, item: Item) -> bool:
        """Whether this version of the file is still wanted."""
        return self.items.get(item.file.file_id) is item

    def places(self) -> set[FilePlace]:
        """Where the wanted files of other nodes are."""
        return {
            FilePlace(item.file.node_id, item.file.export_path)
            for item in self.items.values()
            if item.file.node_id != self._node_id
        }

    # What to do next.

    def next(self, now: float) -> Item | None:
        """The file to fetch now, which is ``fetching`` from here on; None when there is none."""
        while True:
            node = self._first_due(now)
            if node is None:
                return None
            item = heapq.heappop(node.waiting)[3]
            if not self.holds(item) or item.state in ("present", "fetching"):
                continue
            size, until = self._too_large
            if now < until and item.file.size - item.here >= size:
                self._set(item, "no_room", reason=item.reason or "there is no room for it")
                self._queue(item, until)
                continue
            self._set(item, "fetching", reason=item.reason)
            return item

    def wait(self, now: float) -> float | None:
        """Seconds until there may be something to fetch, None when only a change can bring that."""
        moments = [max(node.waiting[0][0], node.until) for node in self._nodes.values() if node.waiting]
        return max(0.0, min(moments) - now) if moments else None

    def _first_due(self, now: float) -> _Node | None:
        due = [
            node for node in self._nodes.values() if node.waiting and node.until <= now and node.waiting[0][0] <= now
        ]
        return min(due, key=lambda node: node.waiting[0][1:3], default=None)

    # What came of it.

    def done(self, item: Item) -> None:
        """All of it is here."""
        self._node_of(item).attempts = 0
        if self.holds(item):
            item.attempts = 0
            self._set(item, "present", here=item.file.size)

    def progress(self, item: Item, here: int) -> None:
        """So much of it is here by now."""
        if self.holds(item) and item.state == "fetching":
            self._set(item, "fetching", here=here, reason=item.reason)

    def unreachable(self, item: Item, reason: str, now: float) -> None:
        """Its owner does not answer: it is asked for nothing until a pause has passed."""
        node = self._node_of(item)
        if node.until <= now:  # several were under way: they tell of the same
            node.until = now + _pause(NODE_PAUSES_S, node.attempts)
            node.attempts += 1
        self._again(item, "waiting", reason, now)

    def refused(self, item: Item, reason: str, now: float) -> None:
        """There was no room for it."""
        left = item.file.size - item.here
        size, until = self._too_large
        self._too_large = (min(size, left) if now < until else left, now + ROOM_PAUSE_S)
        self._again(item, "no_room", reason, now + ROOM_PAUSE_S)

    def failed(self, item: Item, reason: str, now: float) -> None:
        """Its owner does not give it."""
        item.attempts += 1
        self._again(item, "failed", reason, now + _pause(FILE_PAUSES_S, item.attempts - 1))

    def lost(self, item: Item, here: int, now: float) -> None:
        """It was here and is not any more, whoever took it."""
        if self.holds(item) and item.state == "present":
            self._set(item, "waiting", here=here)
            self._queue(item, now)

    def freed(self) -> None:
        """There may be room again."""
        self._too_large = (0, 0.0)

    # Figures.

    def figures(self, name: str) -> dict[str, Any]:
        """What is told of a pin; bytes and numbers of files."""
        tally = self.tallies[name]
        return {
            "name": name,
            "files_wanted": sum(tally.files.values()),
            "files_present": tally.files.get("present", 0),
            "files_fetching": tally.files.get("fetching", 0),
            "files_failed": tally.files.get("failed", 0),
            "files_without_room": tally.files.get("no_room", 0),
            "bytes_wanted": tally.wanted,
            "bytes_present": tally.here,
            "bytes_without_room": tally.lacking,
            "failures": [
                {"node_id": item.file.node_id, "export_path": item.file.export_path, "reason": item.reason}
                for item in itertools.islice(self._troubled_of(name), KEPT_FAILURES)
            ],
        }

    def _troubled_of(self, name: str) -> Iterator[Item]:
        return (item for item in self._troubled.values() if name in item.pins)

    # Parts.

    def _again(self, item: Item, state: State, reason: str, at: float) -> None:
        if self.holds(item):
            self._set(item, state, reason=reason)
            self._queue(item, at)

    def _set(self, item: Item, state: State, *, here: int | None = None, reason: str = "") -> None:
        self._uncount(item)
        item.state, item.reason = state, reason
        item.here = item.here if here is None else here
        self._count(item)

    def _count(self, item: Item) -> None:
        for name in item.pins:
            self.tallies[name].count(item, 1)
        if item.reason:
            self._troubled[item.file.file_id] = item

    def _uncount(self, item: Item) -> None:
        for name in item.pins:
            self.tallies[name].count(item, -1)
        self._troubled.pop(item.file.file_id, None)

    def _queue(self, item: Item, at: float) -> None:
        rank = min(self._ranks[name] for name in item.pins)
        heapq.heappush(self._node_of(item).waiting, (at, rank, next(self._numbers), item))

    def _node_of(self, item: Item) -> _Node:
        return self._nodes.setdefault(item.file.node_id, _Node())


def summary(figures: Mapping[str, Any], complete: bool) -> str:
    """The state of a pin in a word: ``looking``, ``complete``, ``fetching``, ``no_room``, ``failed``, or ``waiting``
    for an owner that does not answer."""
    if not complete:
        return "looking"
    if figures["files_present"] == figures["files_wanted"]:
        return "complete"
    for count, state in (("files_without_room", "no_room"), ("files_failed", "failed"), ("files_fetching", "fetching")):
        if figures[count]:
            return state
    return "waiting"


def _same(one: FileRecord, other: FileRecord) -> bool:
    """Whether two records are of one version of a file."""
    return (one.node_id, one.export_path, one.size, one.mtime) == (
        other.node_id,
        other.export_path,
        other.size,
        other.mtime,
    )


def _pause(bounds: tuple[float, float], attempts: int) -> float:
    first, longest = bounds
    return min(first * 2.0 ** min(attempts, 32), longest)
