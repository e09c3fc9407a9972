"""What somebody may have meant by a name that there is not. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_LIKENESS: Final = 0.7
"""difflib's ratio of two names that a slip turns into one another; at its usual 0.6 ``nosuch`` is ``couchdb``."""
_BEGINNING: Final = 3
"""So many letters that a name begins with are as good as it."""


def similar(name: str, known: Collection[str], most: int = 1) -> list[str]:
    """The names among ``known`` that may be meant, the likeliest first."""
    from difflib import get_close_matches  # for a mistake alone: it takes its time to import

    near = get_close_matches(name, sorted(known), most, _LIKENESS)
    begun = [one for one in sorted(known) if len(name) >= _BEGINNING and one.startswith(name) and one not in near]
    return [*near, *begun][:most]
