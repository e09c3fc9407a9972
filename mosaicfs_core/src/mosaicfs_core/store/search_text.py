"""Text of name searches, pure: folding, trigrams, patterns."""

from __future__ import annotations

import re
from functools import cache

_WILD = frozenset("*?[")


def fold(text: str) -> str:
    """Text as comparisons see it: without case."""
    return text.lower() if text.isascii() else text.casefold()


@cache
def _folding_to(letter: str) -> str:
    """The characters beyond ASCII whose folded form has this letter, such as ß for s."""
    return "".join(found for found in map(chr, range(0x80, 0xFFFF)) if letter in found.casefold())


def ascii_condition(part: str) -> tuple[str, list[str]]:
    """SQL over ``d.name`` that every name containing the folded ASCII text satisfies, and its parameters."""
    escaped = re.sub(r"([%_\\])", r"\\\1", part)
    # Without ESCAPE the test takes half the time.
    like = "d.name LIKE ?" if escaped == part else "d.name LIKE ? ESCAPE '\\'"
    others = "".join(dict.fromkeys("".join(_folding_to(letter) for letter in part if letter.isalpha())))
    if not others:
        return like, [f"%{escaped}%"]
    return f"({like} OR d.name GLOB ?)", [f"%{escaped}%", f"*[{others}]*"]


def is_pattern(text: str) -> bool:
    """Whether a search text is a glob over the whole name rather than a part of it."""
    return not _WILD.isdisjoint(text)


def literals(pattern: str) -> list[str]:
    """The parts of a glob that every matching name contains. What stands in brackets, or after a brace or a backslash,
    is left out: it need not be in every name."""
    plain = re.split(r"[{\\]", pattern, maxsplit=1)[0]
    plain = re.sub(r"\[[!^]?\]?[^\]]*(\]|$)", "*", plain)
    return [part for part in re.split(r"[*?]+", plain) if part]


def match_expression(parts: list[str]) -> str | None:
    """An FTS5 expression that every name with all these (folded) parts satisfies; None when no part has a trigram."""
    terms: dict[str, None] = {}
    for part in parts:
        for start in range(len(part) - 2):
            terms['"' + part[start : start + 3].replace('"', '""') + '"'] = None
    return " AND ".join(terms) if terms else None
