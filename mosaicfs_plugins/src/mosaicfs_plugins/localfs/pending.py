"""Changes that wait to settle: a pure record of what a watcher heard and when it is due.

Times are seconds of any monotonic clock; paths are native text. A path is due ``DEBOUNCE_S`` after it was last heard
of, or ``PATIENCE_S`` after it was first, for files that never rest.
"""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from typing import Final, NamedTuple

DEBOUNCE_S: Final = 0.5
PATIENCE_S: Final = 5.0


class Settled(NamedTuple):
    """What is due: ``moves`` (from, to, whether a directory) in the order heard. One of a file that went from name to
    name is followed by a move from each name between: there may have been a file that it was renamed onto.
    ``touched`` maps paths to whether a directory's content must be looked at."""

    moves: list[tuple[str, str, bool]]
    touched: dict[str, bool]


class _Times:
    __slots__ = ("content", "first", "gone", "last", "path")

    def __init__(self, path: str, now: float, content: bool) -> None:
        self.path = path
        self.first = self.last = now
        self.content = content
        self.gone = False

    @property
    def due(self) -> float:
        return min(self.last + DEBOUNCE_S, self.first + PATIENCE_S)


class _Move(NamedTuple):
    source: str
    directory: bool
    serial: int
    between: dict[str, None]  # names that a file had on its way, in order

    def ends(self, target: str) -> tuple[str, ...]:
        return self.source, *self.between, target


class _Queue:
    """Which times are due first. What is due later than it was when it was put in is found out when its turn comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Times]] = []
        self._serial = 0  # of two that are due at once the first goes first

    def put(self, times: _Times, due: float) -> None:
        """Each of them once."""
        self._serial += 1
        heappush(self._heap, (due, self._serial, times))

    def first(self) -> float | None:
        while self._heap:
            due, serial, times = self._heap[0]
            if times.gone:
                heappop(self._heap)
            elif times.due > due:
                heapreplace(self._heap, (times.due, serial, times))
            else:
                return due
        return None

    def take(self, now: float) -> list[_Times]:
        """Take out what is due."""
        found: list[_Times] = []
        while (due := self.first()) is not None and due <= now:
            found.append(heappop(self._heap)[2])
        return found


class _Tree:
    """A set of paths, kept by the directory each lies in: what is beneath one is found without a look at all others."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._entries: dict[str, set[str]] = {}  # of a directory: paths in it that are ours or lead to ours

    def add(self, path: str) -> None:
        self._paths.add(path)
        while path:
            parent = path.rpartition("/")[0]
            entries = self._entries.setdefault(parent, set())
            if path in entries:
                return
            entries.add(path)
            path = parent

    def discard(self, path: str) -> None:
        self._paths.discard(path)
        while path and path not in self._paths and path not in self._entries:
            parent = path.rpartition("/")[0]
            entries = self._entries.get(parent, set())
            entries.discard(path)
            if entries:
                return
            self._entries.pop(parent, None)
            path = parent

    def beneath(self, directory: str) -> list[str]:
        found: list[str] = []
        stack = list(self._entries.get(directory, ()))
        while stack:
            path = stack.pop()
            stack.extend(self._entries.get(path, ()))
            if path in self._paths:
                found.append(path)
        return found


class Pending:
    """Changes heard and not yet settled. For one thread. What one event costs, and a look at what is due next, does not
    grow with what is pending, but for a moved directory with what is pending in it."""

    def __init__(self) -> None:
        self._touched: dict[str, _Times] = {}
        self._queue = _Queue()  # of the same
        self._tree = _Tree()  # of what is touched
        self._moves: dict[str, _Move] = {}  # by the new path, which is touched, too
        self._serial = 0

    def __len__(self) -> int:
        """How many paths wait."""
        return len(self._touched)

    def touch(self, path: str, now: float, content: bool = False) -> None:
        """Something happened at ``path``; ``content`` asks to look at all a directory holds."""
        times = self._touched.get(path)
        if times is None:
            times = self._touched[path] = _Times(path, now, content)
            self._queue.put(times, times.due)
            self._tree.add(path)
        else:
            times.last = now
            times.content = times.content or content

    def move(self, source: str, target: str, now: float, directory: bool) -> None:
        """``source`` is now called ``target``. What was pending beneath a moved directory moves along."""
        if self._told(source, target):
            return
        if directory:
            self._rebase(source, target)
        known = self._moves.pop(source, None)
        origin, between = (source, {}) if known is None else (known.source, known.between)
        if known is not None and not directory:
            between[source] = None
            self.touch(source, now)
        between.pop(target, None)
        if origin != target:
            self._serial += 1
            self._moves[target] = _Move(origin, directory, self._serial, between)
        self.touch(origin, now)
        self.touch(target, now, content=directory)

    def _told(self, source: str, target: str) -> bool:
        """Whether the move is part of that of a directory above it, of which all entries are told."""
        above = target.rpartition("/")[0]
        while above:
            move = self._moves.get(above)
            if move is not None and move.directory and _beneath(source, move.source):
                return True
            above = above.rpartition("/")[0]
        return False

    def _rebase(self, source: str, target: str) -> None:
        moves: list[tuple[str, _Move]] = []
        for path in self._tree.beneath(source):
            now_at = target + path[len(source) :]
            if now_at in self._touched:
                self._touched[now_at].gone = True
            times = self._touched[now_at] = self._touched.pop(path)
            times.path = now_at
            self._tree.discard(path)
            self._tree.add(now_at)
            if path in self._moves:
                moves.append((now_at, self._moves.pop(path)))
        self._moves.update(sorted(moves, key=lambda item: item[1].serial))

    def next_due(self) -> float | None:
        """When something settles next."""
        return self._queue.first()

    def settle(self, now: float) -> Settled:
        """Take out what is due. A move is due with the last of its ends, and the names between them."""
        due = {times.path: times for times in self._queue.take(now)}
        for target, move in self._moves.items():
            ends = move.ends(target)
            waiting = [self._touched[end].due for end in ends if end in self._touched and end not in due]
            for end in ends if waiting else ():
                held = due.pop(end, None)
                if held is not None:
                    self._queue.put(held, max(waiting))
        settled = [target for target in self._moves if target in due]
        moves = [
            (source, target, move.directory)
            for target, move in ((target, self._moves.pop(target)) for target in settled)
            for source in (move.source, *move.between)
        ]
        touched = {path: times.content for path, times in due.items()}
        for path in touched:
            del self._touched[path]
            self._tree.discard(path)
        return Settled(moves, touched)


def _beneath(path: str, directory: str) -> bool:
    return path.startswith(directory + "/")
