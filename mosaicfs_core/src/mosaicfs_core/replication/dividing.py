"""A request about many things that is refused as a whole: divided until those are found that are to blame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from ..errors import MosaicError, NotAllowed, NotSignedIn, UserError
from .batching import BatchSize
from .http_errors import TOO_LARGE
from .peer import Choked

HOPELESS: Final = 5
"""So many in a row that fail are not to blame: it is the request, or the other side."""

T = TypeVar("T")
R = TypeVar("R")


class Divided(Generic[T, R]):
    """Asks for many at once, and for halves of them where that is refused or the other side fails at it, until those
    are found that are to blame: ``hopeless``, with the error (``Choked`` for what may work later).

    When the first ``HOPELESS`` ones all are, the request itself is, or the other side: the error is raised, unless they
    are ``suspects``, known to have failed before.
    """

    def __init__(
        self, request: Callable[[Sequence[T]], Awaitable[R]], size: BatchSize, *, suspects: bool = False
    ) -> None:
        self._request, self._size, self._suspects = request, size, suspects
        self._some, self._shrunk = False, False
        self.hopeless: list[tuple[T, MosaicError]] = []

    async def run(self, items: Sequence[T]) -> list[R]:
        """The answers for all that there are answers for."""
        try:
            found = await self._request(items)
        except (NotAllowed, NotSignedIn):
            raise
        except (UserError, Choked) as error:
            if len(items) == 1:
                self._failed_at(items[0], error)
                return []
            self._note_size(error)
        else:
            self._some = True
            return [found]
        middle = len(items) // 2
        return await self.run(items[:middle]) + await self.run(items[middle:])

    def _failed_at(self, item: T, error: MosaicError) -> None:
        self.hopeless.append((item, error))
        if len(self.hopeless) >= HOPELESS and not self._some and not self._suspects:
            raise error

    def _note_size(self, error: MosaicError) -> None:
        if error.details.get("status") == TOO_LARGE and not self._shrunk:
            self._shrunk = True
            self._size.too_heavy()
