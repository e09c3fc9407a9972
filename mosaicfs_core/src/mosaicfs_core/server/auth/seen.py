"""When callers were heard of last: noted in memory with every request, and handed over for the disk now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class Seen:
    """The last moments of callers, by the id of an access key or a node, in Unix seconds. Only who has proved himself
    is noted: there are as many as there are keys and nodes."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}
        self._unkept: set[str] = set()

    def note(self, caller: str) -> None:
        """It is there at this moment."""
        self._last[caller] = self._clock()
        self._unkept.add(caller)

    def recall(self, kept: Mapping[str, float]) -> None:
        """Take over what an earlier process had kept."""
        self._last = {**kept, **self._last}

    def last(self, caller: str) -> float | None:
        """When it was heard of last, as far as that is known here."""
        return self._last.get(caller)

    def unkept(self) -> dict[str, float]:
        """What has changed since the last ``kept``."""
        return {caller: self._last[caller] for caller in self._unkept}

    def kept(self, moments: Mapping[str, float]) -> None:
        """These moments are on disk. Who was heard of since is still to be kept."""
        self._unkept -= {caller for caller, at in moments.items() if self._last[caller] == at}
