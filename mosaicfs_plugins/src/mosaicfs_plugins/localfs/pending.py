"""Changes that wait to settle: a pure record of what a watcher heard and when it is due.

Times are seconds of any monotonic clock; paths are native text. A path is due ``DEBOUNCE_S`` after it was last heard
of, or ``PATIENCE_S`` after it was first, for files that never rest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

DEBOUNCE_S: Final = 0.5
PATIENCE_S: Final = 5.0


class Settled(NamedTuple):
    """What is due: ``moves`` (from, to, whether a directory) in the order heard; ``touched`` maps paths to whether a
    directory's content must be looked at."""

    moves: list[tuple[str, str, bool]]
    touched: dict[str, bool]


class _Times:
    __slots__ = ("content", "first", "last")

    def __init__(self, now: float, content: bool) -> None:
        self.first = self.last = now
        self.content = content

    @property
    def due(self) -> float:
        return min(self.last + DEBOUNCE_S, self.first + PATIENCE_S)


class Pending:
    """Changes heard and not yet settled. For one thread."""

    def __init__(self) -> None:
        self._touched: dict[str, _Times] = {}
        self._moves: dict[str, tuple[str, bool]] = {}  # to -> (from, whether a directory)

    def __bool__(self) -> bool:
        return bool(self._touched)

    def touch(self, path: str, now: float, content: bool = False) -> None:
        """Something happened at ``path``; ``content`` asks to look at all a directory holds."""
        times = self._touched.get(path)
        if times is None:
            self._touched[path] = _Times(now, content)
        else:
            times.last = now
            times.content = times.content or content

    def move(self, source: str, target: str, now: float, directory: bool) -> None:
        """``source`` is now called ``target``. What was pending beneath a moved directory moves along."""
        if directory:
            if any(
                moved and was != source and _beneath(source, was) and _beneath(target, to)
                for to, (was, moved) in self._moves.items()
            ):
                return  # told along with the directory above it
            self._rebase(source, target)
        elif any(moved and _beneath(source, was) and _beneath(target, to) for to, (was, moved) in self._moves.items()):
            return
        origin, _ = self._moves.pop(source, (source, directory))
        if origin != target:
            self._moves[target] = (origin, directory)
        self.touch(origin, now)
        self.touch(target, now, content=directory)

    def _rebase(self, source: str, target: str) -> None:
        for path in [path for path in self._touched if _beneath(path, source)]:
            self._touched[target + path[len(source) :]] = self._touched.pop(path)
        for path in [path for path in self._moves if _beneath(path, source)]:
            self._moves[target + path[len(source) :]] = self._moves.pop(path)

    def next_due(self) -> float | None:
        """When something settles next."""
        return min((times.due for times in self._touched.values()), default=None)

    def settle(self, now: float) -> Settled:
        """Take out what is due. A move is due with the last of its two ends."""
        due = {path for path, times in self._touched.items() if times.due <= now}
        for target, (source, _) in self._moves.items():
            ends = (source, target)
            if any(end in self._touched and end not in due for end in ends):
                due.difference_update(ends)
        moves = [(source, target, moved) for target, (source, moved) in self._moves.items() if target in due]
        for _, target, _ in moves:
            del self._moves[target]
        return Settled(moves, {path: self._touched.pop(path).content for path in list(self._touched) if path in due})


def _beneath(path: str, directory: str) -> bool:
    return path.startswith(directory + "/")
