"""What becomes of a waiting job when its file changes again: one job per file and instance waits, whatever happened.

Pure. Events are numbers, as the tables have them.
"""

from __future__ import annotations

from typing import Final

ADDED: Final = 1
MODIFIED: Final = 2
DELETED: Final = 3


def collapse(waiting: int | None, new: int, *, known: bool) -> int | None:
    """The event that waits from now on, None when none does.

    ``known`` says whether the plugin may know the file: it was given to it, or is at this moment.

    * added, then modified: added; modified, then modified: modified
    * added, then deleted: nothing when the plugin never heard of the file, else deleted
    * anything else, then deleted: deleted
    * deleted, then back: added, which tells all there is to tell of the file
    """
    if waiting is None:
        return new
    if new == DELETED:
        return None if waiting == ADDED and not known else DELETED
    if waiting == DELETED:
        return ADDED
    return waiting


def back(events: frozenset[int]) -> int | None:
    """How an instance with these subscriptions is told that a file whose deletion it was to be told of is back; None
    when it is not, and the deletion is off."""
    if ADDED in events:
        return ADDED
    return MODIFIED if MODIFIED in events else None


def widens(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    """Whether a list of globs lets more through than another one, as far as names tell; the empty one lets all
    through."""
    return bool(old) and (not new or not set(new) <= set(old))


def place_known(before: str | None, previous: str | None, now: str) -> str | None:
    """Where the plugin knows a file that is at ``now``: ``previous`` of the waiting job, else where it was before; None
    when that is the same place."""
    known = previous or before
    return None if known == now else known
