"""What a target could not take for the moment, or a source not give: it stands beside the position, and is offered
until it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from ..errors import Unavailable

MOST: Final = 1_000
"""So many documents may be owed: they stand in the log of either side."""


class Owed:
    """The ids of such documents with the reason, in the order in which they came to be owed.

    A position may be recorded past a document only if that is taken, refused for good, or in here. ``some`` is set
    while there are any.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self.some = asyncio.Event()

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._reasons

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def ids(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._reasons)

    @property
    def told(self) -> str | None:
        """A sentence about them, None when there are none."""
        if not self._reasons:
            return None
        count, reason = len(self._reasons), next(iter(self._reasons.values()))
        return f"{count} document{'s' if count > 1 else ''} not taken yet, and offered again: {reason}"

    def remember(self, identifiers: Iterable[str]) -> None:
        """They were owed when a log was written."""
        for identifier in identifiers:
            self._reasons.setdefault(identifier, "it was not taken before")
            self.some.set()

    def add(self, identifier: str, reason: str) -> None:
        """One more, or another reason. Raises ``Unavailable`` when they are too many to be remembered."""
        if identifier not in self._reasons and len(self._reasons) >= MOST:
            raise Unavailable(f"{MOST} documents could not be written there; the last: {reason}")
        self._reasons[identifier] = reason
        self.some.set()

    def remove(self, identifier: str) -> None:
        """It is owed no more."""
        self._reasons.pop(identifier, None)
        if not self._reasons:
            self.some.clear()
